"""Gather everything the report says into one JSON value: the page is drawn from it, and nothing else has numbers.

Ledger frames come in, facts and gates as plain mappings. Whatever a stage did not measure is None and reads "not measured" on the page.
Times live under `timing` alone, so that two runs of the same audit differ nowhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from pipeline.config import AuditConfig
from pipeline.report.applied import Applied, applied, on_applied
from pipeline.report.changes import changes
from pipeline.report.duplication import duplication
from pipeline.report.effects import effects
from pipeline.report.ledger import LABEL, join_ledger, name, with_tokens
from pipeline.report.limits import limits, not_examined
from pipeline.report.measures import tidy
from pipeline.report.opinion import answers, opinion
from pipeline.report.references import references
from pipeline.report.rows import flow
from pipeline.report.samples import samples
from pipeline.report.sensitive import sensitive
from pipeline.report.sinks import sinks
from pipeline.report.spans import repeated_spans
from pipeline.report.verdict import judge
from pipeline.tables import (
    Clusters,
    Decisions,
    DuplicatePairs,
    Languages,
    Proxies,
    ReferenceDocuments,
    Removals,
    RepeatedSpans,
    SensitivePatterns,
    SinkScores,
)

VERSION = 1


@dataclass(frozen=True)
class SummaryInputs:
    """Hold what a summary is made of.

    ids: one row a document with `doc_id, source, source_id, content_hash, row_hash, num_bytes` and, if known, `num_tokens`.
    facts: what stages recorded, under `documents, candidates, verification, clusters, removals, samples, scores`; `scores` is the
    predictor's evaluation, or holds it under `evaluation`. Also read when there:
    `samples.tokens_per_byte`, `planted.recall`, `spans`, `sensitive`, and `filtered`: what the release did to repeated spans.
    spans, languages, sensitive: None where nobody looked for them.
    references: `name, kind` (files or run), `digest`, `num_documents` of each corpus that was compared with; reference_documents: those of
    its documents that had to do with one of the corpus.
    gates: name, value, low, high, limit, severity, status, meaning (and unit "share" or "count", waiver). verdict: theirs, if drawn.
    timing: stage, seconds, rows, bytes, peak_memory_bytes, was_cached. previous: the last run's summary, to tell what changed.
    applied: for a run that was decided again, from which and by whose orders.
    """

    run: str
    config: AuditConfig
    ids: pl.DataFrame
    clusters: Clusters
    removals: Removals
    duplicate_pairs: DuplicatePairs
    scores: SinkScores
    decisions: Decisions
    proxies: Proxies
    spans: RepeatedSpans | None = None
    languages: Languages | None = None
    sensitive: SensitivePatterns | None = None
    references: Sequence[Mapping[str, Any]] = ()
    reference_documents: ReferenceDocuments | None = None
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    gates: Sequence[Mapping[str, Any]] = ()
    verdict: str = ""
    band_curve: Sequence[Sequence[float]] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)
    timing: Sequence[Mapping[str, Any]] = ()
    finished: str = ""
    digests: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    previous: Mapping[str, Any] | None = None
    applied: Applied | None = None


def build_summary(inputs: SummaryInputs) -> dict[str, Any]:
    """Return the audit's findings as JSON values, in the shape of summary.schema.json."""
    config, facts = inputs.config, inputs.facts
    ids, basis = with_tokens(inputs.ids, _tokens_per_byte(facts.get("samples", {})))
    ledger = join_ledger(ids, inputs.clusters, inputs.scores, inputs.decisions, config.release.hold_review)
    scores = facts.get("scores", {})
    compared = references(inputs.references, inputs.reference_documents, inputs.removals, ledger)
    repeated = repeated_spans(inputs.spans, ledger, config.dedup, facts.get("filtered"), config.report.max_rows // 10)
    summary: dict[str, Any] = {
        "version": VERSION,
        "run": inputs.run,
        "name": config.name,
        "gates": judge(inputs.gates, inputs.verdict),
        "scope": _scope(inputs),
        "flow": flow(ledger, basis),
        "duplication": duplication(
            ledger,
            inputs.clusters,
            inputs.duplicate_pairs,
            inputs.removals,
            config.dedup,
            inputs.band_curve,
            facts,
            repeated,
            compared,
        ),
        "sinks": sinks(ledger, inputs.proxies, scores.get("evaluation", scores), config.proxy, config.risk),
        "decisions": effects(ledger, config.release, inputs.languages),
        "samples": samples(
            ledger, inputs.removals, repeated, inputs.reference_documents, config.release.sink_threshold, config.report.max_rows
        ),
        "sensitive": sensitive(inputs.sensitive, ledger, facts.get("sensitive", {})),
        "reproduce": _reproduce(inputs),
        "timing": {"finished": inputs.finished, "stages": tidy(list(inputs.timing))},
    }
    summary["applied"] = applied(inputs.applied, ids)
    summary["limits"] = limits(summary)
    summary["opinion"] = [*opinion(summary), *on_applied(summary["applied"])]
    summary["answers"] = answers(summary)
    summary["changes"] = changes(summary, inputs.previous)
    return summary


def wanted_excerpts(summary: Mapping[str, Any]) -> list[int]:
    """Return the documents whose text the page would show, ascending: samples, the copies kept instead, spans; none if off."""
    if summary["scope"]["excerpts"] == "none":
        return []
    kept = (row["kept"] for row in summary["samples"] if row["kept"] is not None and row["kept"]["doc_id"] >= 0)
    return sorted({row["doc_id"] for row in (*summary["samples"], *kept, *shown_spans(summary))})


def shown_spans(summary: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the repeated spans whose text the page would show, none if excerpts are off."""
    repeated = summary["duplication"]["repeated_spans"]
    if repeated is None or summary["scope"]["excerpts"] == "none":
        return []
    return [span for span in repeated["top"] if span["is_shown"]]


def _tokens_per_byte(samples: Mapping[str, Any]) -> float | None:
    rate = samples.get("tokens_per_byte")
    if rate is None and samples.get("bytes_per_token"):
        rate = 1.0 / samples["bytes_per_token"]
    return None if rate is None else float(rate)


def _scope(inputs: SummaryInputs) -> dict[str, Any]:
    documents = inputs.facts.get("documents", {})
    origin = [inputs.config.input.dataset] if inputs.config.input.dataset else list(inputs.config.input.paths)
    return {
        "origin": [name(path) for path in origin],
        "split": inputs.config.input.split if inputs.config.input.dataset else None,
        "text_column": _text(documents.get("text_column") or inputs.config.input.text_column),
        "id_column": _text(documents.get("id_column") or inputs.config.input.id_column),
        "source_column": _text(documents.get("source_column") or inputs.config.input.source_column),
        "num_documents": inputs.ids.height,
        "num_texts": inputs.ids["content_hash"].n_unique(),
        "num_sources": inputs.ids["source"].n_unique(),
        "num_files": tidy(documents.get("num_files")),
        "num_null_texts": tidy(documents.get("num_null_texts")),
        "skipped": {name(str(key)): value for key, value in (documents.get("skipped") or {}).items() if isinstance(value, int)},
        "num_bytes": int(inputs.ids["num_bytes"].sum()),
        "excerpts": inputs.config.report.excerpts,
        "not_examined": not_examined(inputs.config, inputs.facts),
    }


def _text(value: Any) -> str | None:
    return name(value) if isinstance(value, str) else None


def _reproduce(inputs: SummaryInputs) -> dict[str, Any]:
    config = inputs.config
    return {
        "command": inputs.command,
        "seeds": {"audit": config.seed, "dedup.permutations": config.dedup.seed},
        "config": tidy(config.model_dump(mode="json")),
        "digests": dict(sorted((str(key), str(value)) for key, value in inputs.digests.items())),
        "environment": tidy(inputs.environment),
        "facts": {stage: _scalars(values) for stage, values in sorted(inputs.facts.items()) if stage != "scores"},
    }


def _scalars(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the plain numbers, flags and short names among a stage's facts."""
    kept = {
        key: tidy(value)
        for key, value in values.items()
        if isinstance(value, (int, float, bool)) or (isinstance(value, str) and len(value) <= LABEL)
    }
    return {name(key): name(value) if isinstance(value, str) else value for key, value in sorted(kept.items())}
