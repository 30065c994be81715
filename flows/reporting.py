"""Write everything a run leaves in reports/RUN: page, summary, tables, configuration, environment, and the list of runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import yaml

from flows.deduplicate import Deduplicated
from flows.environment import describe_environment
from flows.examine import Examined
from flows.locks import locked
from flows.records import write_records
from flows.run import Run
from flows.score import Scored
from pipeline import store
from pipeline.dedup.curve import band_curve
from pipeline.places import locate
from pipeline.release.filtering import FilteredData
from pipeline.release.overruling import count_kept_copies, removals_in_force
from pipeline.report.applied import Applied
from pipeline.report.markdown import render_markdown
from pipeline.report.render import index_entry, render_index, render_report, unfinished_entry
from pipeline.report.summary import VERSION, SummaryInputs, build_summary, wanted_excerpts
from pipeline.rows import read_texts
from pipeline.store import Artifact
from pipeline.tables import (
    CLUSTERS,
    DECISIONS,
    DUPLICATE_PAIRS,
    LANGUAGES,
    OVERRULED,
    PROXIES,
    REFERENCE_DOCUMENTS,
    REMOVALS,
    REPEATED_SPANS,
    SENSITIVE_PATTERNS,
    SINK_SCORES,
    Decisions,
)

SUMMARY, PAGE, LOG = "summary.json", "index.html", "log.jsonl"


def write_report(
    run: Run,
    documents: Artifact,
    copies: Deduplicated,
    scored: Scored,
    decisions: Artifact,
    filtered: FilteredData,
    examined: Examined,
    gates: Sequence[Mapping[str, Any]],
    verdict: str,
    parents: Mapping[str, Any],
    overruled: Artifact | None = None,
) -> None:
    """Write the report's files; `index.html` and the list of runs come last."""
    with run.stage("report") as stage:
        environment = describe_environment()
        write_tables(run, copies, scored, decisions, overruled)
        run.write("config.resolved.yaml", yaml.safe_dump(run.config.model_dump(mode="json"), sort_keys=False))
        run.write("environment.json", _json(environment))
        stage.advance()
    summary = summarise(run, documents, copies, scored, decisions, filtered, examined, gates, verdict, environment, parents, overruled)
    page = draw_page(summary, documents)
    # not sorted: who reads it back draws the very same page
    run.write(SUMMARY, json.dumps(summary, indent=1, allow_nan=False) + "\n")
    write_records(run, documents, filtered, summary, parents)
    run.write("summary.md", render_markdown(summary))
    run.write(PAGE, page)
    write_index(run)


def draw_page(summary: Mapping[str, Any], documents: Artifact) -> str:
    """Draw the page of a summary with as much of the documents' texts as the summary's excerpts allow."""
    texts = read_texts(documents, wanted_excerpts(summary))
    return render_report(summary, [{"doc_id": doc_id, "text": text} for doc_id, text in texts])


def write_tables(run: Run, copies: Deduplicated, scored: Scored, decisions: Artifact, overruled: Artifact | None) -> None:
    """Write decisions, clusters and scores, one row per input document, each with the document's own id; and who overruled what."""
    names = store.read_frame(copies.profiles, ["doc_id", "source", "source_id"])
    if overruled is not None:
        rows = names.join(store.read_frame(overruled), on="doc_id", maintain_order="right")
        store.write_part(run.reports, overruled.table, rows)
    for artifact in (decisions, copies.clusters, scored.scores):
        store.write_part(run.reports, artifact.table, names.join(store.read_frame(artifact), on="doc_id", maintain_order="left"))


def summarise(
    run: Run,
    documents: Artifact,
    copies: Deduplicated,
    scored: Scored,
    decisions: Artifact,
    filtered: FilteredData,
    examined: Examined,
    gates: Sequence[Mapping[str, Any]],
    verdict: str,
    environment: Mapping[str, Any],
    parents: Mapping[str, Any],
    overruled: Artifact | None = None,
) -> dict[str, Any]:
    """Build summary.json from the ledger's tables."""
    config = run.config
    removals, decided = REMOVALS.check(store.read_frame(copies.removals)), DECISIONS.check(store.read_frame(decisions))
    tokens = store.read_frame(scored.document_signals, ["content_hash", "num_tokens"])
    found = (documents, decisions, copies.clusters, copies.removals, copies.spans, scored.scores, examined.languages, examined.sensitive)
    tables = {artifact.table: artifact for artifact in found}
    return build_summary(
        SummaryInputs(
            run=run.run_id,
            config=config,
            ids=store.read_frame(copies.profiles).join(tokens, on="content_hash", how="left"),
            clusters=CLUSTERS.check(store.read_frame(copies.clusters)),
            removals=removals if overruled is None else removals_in_force(removals, decided),
            duplicate_pairs=DUPLICATE_PAIRS.check(store.read_frame(copies.duplicate_pairs)),
            scores=SINK_SCORES.check(store.read_frame(scored.scores)),
            decisions=decided,
            proxies=PROXIES.check(store.read_frame(scored.runs["proxies"])),
            spans=REPEATED_SPANS.check(store.read_frame(copies.spans)) if config.dedup.find_spans else None,
            languages=LANGUAGES.check(store.read_frame(examined.languages)),
            sensitive=SENSITIVE_PATTERNS.check(store.read_frame(examined.sensitive)),
            references=[
                {**reference.described(), "num_documents": copies.references.facts[reference.digest]} for reference in run.references
            ],
            reference_documents=REFERENCE_DOCUMENTS.check(store.read_frame(copies.references)),
            facts={
                "documents": documents.facts,
                "candidates": copies.candidates.facts,
                "verification": copies.duplicate_pairs.facts,
                "clusters": copies.clusters.facts,
                "removals": copies.removals.facts,
                "planted": copies.quality.facts,
                **({"spans": copies.spans.facts} if config.dedup.find_spans else {}),
                "filtered": asdict(filtered.spans),
                "samples": scored.samples.facts,
                "sensitive": examined.sensitive.facts,
                "scores": scored.scores.facts["evaluation"],
            },
            gates=gates,
            verdict=verdict,
            band_curve=band_curve(config.dedup.num_bands, config.dedup.rows_per_band),
            environment=environment,
            timing=[timing.as_dict() for timing in run.meter.timings],
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
            digests={
                "input": str(parents["input_digest"]),
                "configuration": str(parents["config_digest"]),
                **{name: artifact.digest for name, artifact in sorted(tables.items())},
            },
            command=run.origin.command if run.origin else "sinkaudit run config.resolved.yaml",
            previous=run.origin.summary if run.origin else previous_summary(run),
            applied=applied_of(run, copies, decided, overruled),
        )
    )


def applied_of(run: Run, copies: Deduplicated, decisions: Decisions, overruled: Artifact | None) -> Applied | None:
    """Return what the report says of a run that was decided again, None of any other."""
    if run.origin is None:
        return None
    rows = OVERRULED.check(store.read_frame(overruled)) if overruled is not None else OVERRULED.empty()
    ids = store.read_frame(copies.profiles, ["doc_id", "content_hash"])
    return Applied(run.origin.parent, run.origin.files, rows, count_kept_copies(ids, decisions, rows))


def previous_summary(run: Run) -> dict[str, Any] | None:
    """Return the summary of the last other run of the same name, or None."""
    name = run.config.name
    named = (summary for folder, summary in _summaries(run.config.runtime.reports, f"{name}-*") if folder != run.run_id)
    earlier = (summary for summary in named if summary["name"] == name)
    return max(earlier, key=lambda summary: str(summary["timing"]["finished"]), default=None)


def write_index(run: Run) -> None:
    """Write the list of all runs beside their folders, the newest first, and the pointer to this one.

    A run that has a log and no report ended before it had one, or is under way; it is listed as unfinished.
    """
    root = run.config.runtime.reports
    with locked(f"{root}/.lock-index", is_patient=True):
        _write_index(run, root)


def _write_index(run: Run, root: str) -> None:
    entries = [index_entry(summary, f"{folder}/{PAGE}") for folder, summary in _summaries(root)]
    listed = {entry["run"] for entry in entries}
    entries += [unfinished_entry(folder, told) for folder, told in _logs(root) if folder not in listed]
    entries.sort(key=lambda entry: (str(entry["finished"]), str(entry["run"])), reverse=True)
    store.write_bytes(f"{root}/{PAGE}", render_index(entries).encode())
    store.write_bytes(f"{root}/latest.json", _json({"run": run.run_id, "report": f"{run.run_id}/{PAGE}"}).encode())


def _summaries(root: str, folders: str = "*") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield folder and summary of every run in the reports' folder that this version wrote; the committed example is not a run."""
    for folder, raw in _files(root, f"{folders}/{SUMMARY}"):
        summary = _parsed(raw)
        if summary.get("version") == VERSION and summary.get("run") == folder:
            yield folder, summary


def _logs(root: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield folder and last whole line of the log of every run that did not end."""
    for folder, raw in _files(root, f"*/{LOG}"):
        told = [line for line in map(_parsed, raw.splitlines()) if "event" in line]
        if told and told[-1]["event"] != "end":
            yield folder, told[-1]


def _files(root: str, pattern: str) -> Iterator[tuple[str, bytes]]:
    filesystem, plain = locate(root)
    for path in sorted(filesystem.glob(f"{plain}/{pattern}")):
        yield path.rsplit("/", 2)[1], filesystem.cat_file(path)


def _parsed(raw: bytes) -> dict[str, Any]:
    """Return a JSON object, an empty one for what is none: one damaged file of another run must not stop this one."""
    try:
        value = json.loads(raw)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _json(value: object) -> str:
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n"
