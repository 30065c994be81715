"""The audits of one corpus as a series: a whole one, and then the new files of each night, each compared with all before it.

`input.new_only` asks for the next link: the files whose bytes no released audit of the series has read, with those audits as references.
What was removed there is not compared with, so the links together release what one audit over all files, oldest first, would, if one copy
is kept. A link's manifest names the releases that it completes (`parents.completes`); a whole audit completes none, and once it is there,
the next night goes on from it, because of the series that cover the most of what is there the shortest is taken. So a weekly whole audit
replaces the nights before it.

What belongs to a series, and in which order, follows from what finished runs recorded (`run.json`): no clock, and no list kept by hand.
One ledger and the same files give the same next link. A run whose gates failed released nothing: its files are new the next night again.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from flows.runs import RUN_FILE
from pipeline import store
from pipeline.config import AuditConfig
from pipeline.corpus.documents import input_files
from pipeline.corpus.files import digest_files
from pipeline.dedup.compatibility import signature_settings
from pipeline.errors import InputError
from pipeline.places import locate

COSTS = ("block_bytes", "partition_bytes", "num_partitions", "find_spans", "min_span_words", "min_span_documents", "num_plants")
"""Settings of deduplication that decide no removal."""
READING = ("format", "text_column", "id_column", "source_column")


@dataclass(frozen=True)
class Link:
    """Hold one released run of a series: digests of the files it read, the runs it completes, the run it was decided again from."""

    run: str
    files: frozenset[str]
    completes: frozenset[str]
    parent: str | None = None


@dataclass(frozen=True)
class Resolved:
    """Hold an explicit configuration, the digest of the input it names, and what run.json records of it.

    last: where `input.new_only` found nothing new, the last run of the series.
    """

    config: AuditConfig
    input_digest: str
    membership: Mapping[str, Any]
    last: str | None = None


def resolve(config: AuditConfig) -> Resolved:
    """Return a configuration with `input.new_only` carried out: the new files by name, the runs to complete as references.

    Raises: InputError as `input_files` does.
    """
    files = input_files(config.input)
    chain: list[Link] = []
    if config.input.new_only:
        chain = next_chain(read_links(config), {str(file["digest"]) for file in files})
        known = frozenset[str]().union(*(link.files for link in chain))
        new = [file for file in files if file["digest"] not in known]
        if not new:
            return Resolved(config, digest_files(files), {}, chain[-1].run)
        config, files = _explicit(config, chain, new if len(new) < len(files) else []), new
    membership = {"series": series_of(config), "files": sorted({str(file["digest"]) for file in files})}
    return Resolved(config, digest_files(files), membership)


def resolve_new(config: AuditConfig) -> Resolved:
    """Return what `resolve` does.

    Raises: as `resolve`; InputError where `input.new_only` finds nothing new.
    """
    resolved = resolve(config)
    if resolved.last is not None:
        raise InputError(
            "there are no new files", where="input.new_only", wanted=f"a file that {resolved.last} and the runs before it have not read"
        )
    return resolved


def series_of(config: AuditConfig) -> str:
    """Return the digest of what audits of one series share: the name, how files are read, and what decides which copies go."""
    reading = {name: getattr(config.input, name) for name in READING}
    deciding = config.dedup.model_dump(mode="json", exclude=set(COSTS))
    return store.digest_of(config.name, reading, deciding, signature_settings(config.dedup))


def read_links(config: AuditConfig) -> list[Link]:
    """Return the released runs in the ledger that belong to the configuration's series."""
    series, links = series_of(config), []
    filesystem, plain = locate(config.runtime.ledger)
    for path in sorted(filesystem.glob(f"{plain}/*/{RUN_FILE}")):
        raw = json.loads(filesystem.cat_file(path))
        if raw.get("membership", {}).get("series") == series and raw["result"]["verdict"] != "FAIL":
            parents = raw["parents"]
            files = frozenset(raw["membership"]["files"])
            links.append(Link(raw["result"]["run"], files, frozenset(parents.get("completes", [])), parents.get("parent")))
    return links


def next_chain(links: Iterable[Link], present: Iterable[str]) -> list[Link]:
    """Return the links that the next one completes, in order: of those chains that no link continues the one that covers the most of
    the present files, among such the shortest, then the one that covers the most files of any time, then by name.

    A run that was decided again stands for the run that it was decided again from, in the links after it, too.
    """
    standing = _standing(links)
    chains = [chain for root in sorted(standing) if (chain := _chain_to(root, standing))]
    continued = {link for chain in chains for link in chain[:-1]}
    ends = [chain for chain in chains if chain[-1] not in continued]
    here = set(present)

    def rank(chain: Sequence[str]) -> tuple[int, int, int, str]:
        covered = frozenset[str]().union(*(standing[root].files for root in chain))
        return len(covered & here), -len(chain), len(covered), chain[-1]

    return [standing[root] for root in max(ends, key=rank)] if ends else []


def _standing(links: Iterable[Link]) -> dict[str, Link]:
    """Return by its first run each link as it was decided last, the links before it named by their first runs, too."""
    named = {link.run: link for link in links}

    def ancestors(run: str) -> list[str]:
        line = [run]
        while (link := named.get(line[-1])) is not None and link.parent is not None:
            line.append(link.parent)
        return line

    standing: dict[str, tuple[int, str, Link]] = {}
    for link in named.values():
        line = ancestors(link.run)
        rooted = Link(link.run, link.files, frozenset(ancestors(run)[-1] for run in link.completes), link.parent)
        standing[line[-1]] = max(standing.get(line[-1], (0, "", rooted)), (len(line), link.run, rooted), key=lambda found: found[:2])
    return {root: link for root, (_, _, link) in standing.items()}


def _chain_to(root: str, standing: Mapping[str, Link]) -> list[str]:
    """Return the links up to this one, in order; none if one is missing, or if they are not each other's continuations."""
    before, chain = standing[root].completes, [root]
    while before:
        last = [run for run in before if run in standing and standing[run].completes == before - {run}]
        if len(last) != 1:
            return []
        chain.append(last[0])
        before = standing[last[0]].completes
    return chain[::-1]


def _explicit(config: AuditConfig, chain: Sequence[Link], new: Sequence[Mapping[str, Any]]) -> AuditConfig:
    """Return the configuration that reads the new files alone, all if none is named, and compares them with the chain's runs."""
    chosen = config.input.model_copy(update={"new_only": False, "files": tuple(str(file["path"]) for file in new)})
    runs = tuple(dict.fromkeys((*config.reference.runs, *(link.run for link in chain))))
    return config.model_copy(update={"input": chosen, "reference": config.reference.model_copy(update={"runs": runs})})
