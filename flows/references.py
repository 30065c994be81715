"""What an audit compares its documents with beyond themselves: each reference with its name, and the digest of what is in it.

Names are for people, and places for reading. The digests decide: they enter the run's id and the keys of what is made with references.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from flows.runs import read_run
from flows.series import series_of
from pipeline import store
from pipeline.config import AuditConfig, InputConfig, canonical_json
from pipeline.corpus.documents import input_digest
from pipeline.dedup.compatibility import refuse_unlike
from pipeline.dedup.references import Corpus
from pipeline.errors import ConfigError, InputError, IntegrityError
from pipeline.store import Artifact

COMPARED = ("documents", "signatures", "removals")


@dataclass(frozen=True)
class Named:
    """Name one reference: files to read (`input`, and the digest of their bytes), or the folders of an earlier run's tables.

    is_completed: the run is one of the same series, so that the release made now completes that one's.
    """

    name: str
    digest: str
    input: InputConfig | None = None
    input_digest: str = ""
    folders: tuple[str, ...] = ()
    is_completed: bool = False

    def described(self) -> dict[str, str]:
        """Return the reference as the report tells it: name, kind and digest."""
        return {"name": self.name, "kind": "files" if self.input else "run", "digest": self.digest}


def find_references(config: AuditConfig) -> tuple[Named, ...]:
    """Return the references of a configuration in order of their digests, each once, without reading any document.

    Raises: ConfigError for a run whose signatures cannot be compared with or whose data was held back; InputError for files or a run that
    are not there.
    """
    found = [_of_files(config, path) for path in config.reference.paths] + [_of_run(config, run) for run in config.reference.runs]
    known = {reference.digest: reference for reference in sorted(found, key=lambda reference: reference.name)}
    return tuple(known[digest] for digest in sorted(known))


def stored_corpus(reference: Named) -> Corpus:
    """Return an earlier run's tables, every byte of which is as it was written.

    Raises: IntegrityError naming the table that is not.
    """
    return Corpus(reference.digest, *(_intact(folder, reference.name) for folder in reference.folders))


@contextmanager
def told_of(name: str) -> Iterator[None]:
    """Let what is wrong with a reference's files be told of that reference, not of the input."""
    try:
        yield
    except InputError as error:
        where = f"reference.paths: {name}" + (f", {error.where}" if error.where else "")
        do = error.do.replace("input.", "reference.")
        raise InputError(error.what, where=where, wanted=error.wanted, got=error.got, do=do) from error


def _of_files(config: AuditConfig, path: str) -> Named:
    settings = config.reference
    columns = {name: getattr(settings, name) for name in ("format", "text_column", "id_column", "source_column")}
    section = config.input.model_copy(update={**columns, "paths": (path,), "dataset": None, "files": (), "new_only": False})
    with told_of(path):
        files = input_digest(section)
    name = path.rstrip("/*").rsplit("/", 1)[-1] or path
    return Named(name, store.digest_of(files, canonical_json(section.model_copy(update={"paths": ()}))), section, files)


def _of_run(config: AuditConfig, name: str) -> Named:
    run = read_run(name, config.runtime.ledger)
    if run.result["verdict"] == "FAIL":
        raise ConfigError(
            "a gate of the reference run failed, so the rows it kept were never released",
            where=f"reference.runs: {name}",
            do="mend that audit and run it again, or leave it out",
        )
    tables = run.tables(*COMPARED)
    refuse_unlike(tables["signatures"].facts.get("minhash"), config.dedup, f"reference.runs: {name}")
    digest = store.digest_of(tables["documents"].digest, tables["removals"].digest)
    completed = run.membership.get("series") == series_of(config)
    return Named(run.result["run"], digest, folders=tuple(tables[table].folder for table in COMPARED), is_completed=completed)


def _intact(folder: str, name: str) -> Artifact:
    found = store.find(folder)
    if found is None:
        raise IntegrityError(
            "a table of a reference run is missing or was changed", where=f"{name}, {folder}", do="run that audit again, then this one"
        )
    return found
