"""Write everything a run leaves in reports/RUN: page, summary, tables, configuration, environment, and the list of runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import fsspec
import yaml

from flows.deduplicate import Deduplicated
from flows.environment import describe_environment
from flows.run import Run
from flows.score import Scored
from pipeline import store
from pipeline.dedup.curve import band_curve
from pipeline.release.filtering import FilteredData
from pipeline.report.markdown import render_markdown
from pipeline.report.render import index_entry, render_index, render_report
from pipeline.report.summary import VERSION, SummaryInputs, build_summary, wanted_excerpts
from pipeline.rows import read_texts
from pipeline.store import Artifact
from pipeline.tables import CLUSTERS, DECISIONS, DUPLICATE_PAIRS, PROXIES, REFERENCE_DOCUMENTS, REMOVALS, REPEATED_SPANS, SINK_SCORES

SUMMARY, PAGE = "summary.json", "index.html"


def write_report(
    run: Run,
    documents: Artifact,
    copies: Deduplicated,
    scored: Scored,
    decisions: Artifact,
    filtered: FilteredData,
    gates: Sequence[Mapping[str, Any]],
    verdict: str,
    parents: Mapping[str, Any],
) -> None:
    """Write the report's files; `index.html` and the list of runs come last."""
    with run.stage("report") as stage:
        environment = describe_environment()
        write_tables(run, copies, scored, decisions)
        run.write("config.resolved.yaml", yaml.safe_dump(run.config.model_dump(mode="json"), sort_keys=False))
        run.write("environment.json", _json(environment))
        stage.advance()
    summary = summarise(run, documents, copies, scored, decisions, filtered, gates, verdict, environment, parents)
    texts = read_texts(documents, wanted_excerpts(summary))
    page = render_report(summary, [{"doc_id": doc_id, "text": text} for doc_id, text in texts])
    run.write(SUMMARY, _json(summary))
    run.write("summary.md", render_markdown(summary))
    run.write(PAGE, page)
    write_index(run)


def write_tables(run: Run, copies: Deduplicated, scored: Scored, decisions: Artifact) -> None:
    """Write decisions, clusters and scores, one row per input document, each with the document's own id."""
    names = store.read_frame(copies.profiles, ["doc_id", "source", "source_id"])
    for artifact in (decisions, copies.clusters, scored.scores):
        store.write_part(run.reports, artifact.table, names.join(store.read_frame(artifact), on="doc_id", maintain_order="left"))


def summarise(
    run: Run,
    documents: Artifact,
    copies: Deduplicated,
    scored: Scored,
    decisions: Artifact,
    filtered: FilteredData,
    gates: Sequence[Mapping[str, Any]],
    verdict: str,
    environment: Mapping[str, Any],
    parents: Mapping[str, Any],
) -> dict[str, Any]:
    """Build summary.json from the ledger's tables."""
    config = run.config
    tokens = store.read_frame(scored.document_signals, ["content_hash", "num_tokens"])
    tables = {
        artifact.table: artifact for artifact in (documents, decisions, copies.clusters, copies.removals, copies.spans, scored.scores)
    }
    return build_summary(
        SummaryInputs(
            run=run.run_id,
            config=config,
            ids=store.read_frame(copies.profiles).join(tokens, on="content_hash", how="left"),
            clusters=CLUSTERS.check(store.read_frame(copies.clusters)),
            removals=REMOVALS.check(store.read_frame(copies.removals)),
            duplicate_pairs=DUPLICATE_PAIRS.check(store.read_frame(copies.duplicate_pairs)),
            scores=SINK_SCORES.check(store.read_frame(scored.scores)),
            decisions=DECISIONS.check(store.read_frame(decisions)),
            proxies=PROXIES.check(store.read_frame(scored.runs["proxies"])),
            spans=REPEATED_SPANS.check(store.read_frame(copies.spans)) if config.dedup.find_spans else None,
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
            command="sinkaudit run config.resolved.yaml",
            previous=previous_summary(run),
        )
    )


def previous_summary(run: Run) -> dict[str, Any] | None:
    """Return the summary of the last other run of the same name, or None."""
    earlier = [
        summary for folder, summary in _summaries(run.config.runtime.reports) if folder != run.run_id and summary["name"] == run.config.name
    ]
    return max(earlier, key=lambda summary: str(summary["timing"]["finished"]), default=None)


def write_index(run: Run) -> None:
    """Write the list of all runs beside their folders, the newest first, and the pointer to this one."""
    root = run.config.runtime.reports
    entries = [index_entry(summary, f"{folder}/{PAGE}") for folder, summary in _summaries(root)]
    entries.sort(key=lambda entry: (str(entry.get("finished", "")), str(entry["run"])), reverse=True)
    store.write_bytes(f"{root}/{PAGE}", render_index(entries).encode())
    store.write_bytes(f"{root}/latest.json", _json({"run": run.run_id, "report": f"{run.run_id}/{PAGE}"}).encode())


def _summaries(root: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield folder and summary of every run in the reports' folder that this version wrote; the committed example is not a run."""
    filesystem, plain = fsspec.core.url_to_fs(root)
    for path in sorted(filesystem.glob(f"{plain}/*/{SUMMARY}")):
        summary, folder = json.loads(filesystem.cat_file(path)), path.rsplit("/", 2)[1]
        if summary.get("version") == VERSION and summary["run"] == folder:
            yield folder, summary


def _json(value: object) -> str:
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n"
