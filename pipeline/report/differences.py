"""Say which decisions differ between two runs, and why each does: counts, settings, and the first rows in full."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from pipeline.report.causes import CAUSES, tell_cause, with_causes
from pipeline.report.changes import differing_settings
from pipeline.report.ledger import name
from pipeline.report.matching import KINDS, match_rows
from pipeline.report.measures import interval, tidy
from pipeline.tables import Decisions, Overruled, SinkScores

MAX_ROWS = 200
_ENDS = ("before", "after")


@dataclass(frozen=True)
class ComparedRun:
    """Hold one of the runs.

    ids: `doc_id, source, source_id, content_hash, row_hash`. config: the resolved settings as JSON values. code_versions: by package.
    """

    run: str
    verdict: str
    ids: pl.DataFrame
    decisions: Decisions
    scores: SinkScores
    overruled: Overruled
    config: Mapping[str, Any]
    input_digest: str = ""
    parent: str | None = None
    code_versions: Mapping[str, str] = field(default_factory=dict)


def compare_runs(before: ComparedRun, after: ComparedRun) -> dict[str, Any]:
    """Return what differs between two runs as JSON values; at most 200 rows are listed, those whose action differs first."""
    rows = with_causes(match_rows(_rows_of(before), _rows_of(after)), before.config["release"], after.config["release"])
    changed = rows.filter(pl.col("kind") != "same")
    place = pl.col("kind").replace_strict({kind: index for index, kind in enumerate(KINDS)}, return_dtype=pl.Int64)
    listed = changed.sort(place, "content_hash", "row_hash", "doc_id_before", "doc_id_after").head(MAX_ROWS)
    kinds, causes = (dict(changed[key].value_counts().iter_rows()) for key in ("kind", "cause"))
    settings = differing_settings(before.config, after.config)
    return {
        "format": "sinkaudit-diff",
        "version": 1,
        "before": _described(before),
        "after": _described(after),
        "num_matched": rows.height - kinds.get("added", 0) - kinds.get("removed", 0),
        "num_same": rows.height - changed.height,
        "num_changed": changed.height,
        "kinds": {kind: kinds.get(kind, 0) for kind in KINDS},
        "causes": {cause: causes.get(cause, 0) for cause in CAUSES},
        "transitions": _transitions(changed),
        "settings": [row for row in settings if not row["setting"].startswith("runtime.")],
        "code": sorted(key for key, version in before.code_versions.items() if after.code_versions.get(key) != version),
        "is_same_input": before.input_digest == after.input_digest,
        "rows": [_told(row, before.config["release"], after.config["release"]) for row in listed.iter_rows(named=True)],
    }


def wanted_documents(found: Mapping[str, Any]) -> dict[str, list[int]]:
    """Return the documents of either run whose text a listed row would show: of the later run where the row is in both."""
    later = [row["doc_id"]["after"] for row in found["rows"] if row["doc_id"]["after"] is not None]
    earlier = [row["doc_id"]["before"] for row in found["rows"] if row["doc_id"]["after"] is None]
    return {"before": sorted(earlier), "after": sorted(later)}


def differences_text(found: Mapping[str, Any]) -> str:
    """Return the differences as lines for a terminal, without names from the corpus and without notes."""
    before, after = found["before"]["run"], found["after"]["run"]
    lines = [f"{before} -> {after}: {found['num_same']:,} of {found['num_matched']:,} matched rows are decided alike"]
    lines += [f"  {row['before'] or 'not there'} -> {row['after'] or 'not there'}: {row['rows']:,}" for row in found["transitions"]]
    for title, counts in (("what differs", found["kinds"]), ("why", found["causes"])):
        told = ", ".join(f"{key.replace('_', ' ')} {rows:,}" for key, rows in counts.items() if rows)
        lines += [f"{title}: {told}"] if told else []
    lines += [f"setting {row['setting']}: {row['before']} -> {row['now']}" for row in found["settings"]]
    lines += [f"code that differs: {', '.join(found['code'])}"] if found["code"] else []
    return "\n".join(lines)


def _described(run: ComparedRun) -> dict[str, Any]:
    return {"run": run.run, "verdict": run.verdict, "parent": run.parent, "rows": run.ids.height}


def _rows_of(run: ComparedRun) -> pl.DataFrame:
    """Return a run's rows with their decisions; `kept` names the copy kept instead by its content, in a reference by its id there."""
    named = run.ids.select(kept_doc_id="doc_id", kept_content=pl.col("content_hash").bin.encode("hex"))
    orders = run.overruled.filter("is_in_force").select("doc_id", "reviewer", "note", is_followed=pl.col("followed_doc_id").is_not_null())
    scores = run.scores.select("doc_id", "sink_score", "sink_score_low", "sink_score_high", "is_supported")
    elsewhere = pl.col("evidence").str.json_path_match("$.reference_source_id")
    return (
        run.ids.select("doc_id", "source", "source_id", "content_hash", "row_hash")
        .join(run.decisions, on="doc_id")
        .join(named, on="kept_doc_id", how="left")
        .join(scores, on="doc_id", how="left")
        .join(orders, on="doc_id", how="left")
        .with_columns(weight=pl.col("weight").round(9), kept=pl.coalesce("kept_content", elsewhere))
        .drop("kept_doc_id", "kept_content")
        .sort("content_hash", "row_hash", "doc_id")
    )


def _transitions(changed: pl.DataFrame) -> list[dict[str, Any]]:
    """Count rows by action before and after, None where a run does not have the row; most rows first."""
    counted = changed.group_by(before="action_before", after="action_after").agg(rows=pl.len())
    return counted.sort([-pl.col("rows").cast(pl.Int64), pl.col("before"), pl.col("after")], nulls_last=True).to_dicts()


def _told(row: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    there = _ENDS[1] if row["doc_id_after"] is not None else _ENDS[0]
    return {
        "kind": row["kind"],
        "cause": row["cause"],
        "why": tell_cause(row, before, after),
        "source": name(row[f"source_{there}"]),
        "source_id": name(row[f"source_id_{there}"]),
        "content_hash": row["content_hash"].hex(),
        "row_hash": row["row_hash"].hex(),
        "doc_id": {end: row[f"doc_id_{end}"] for end in _ENDS},
        **{end: _decision(row, end) for end in _ENDS},
    }


def _decision(row: Mapping[str, Any], end: str) -> dict[str, Any] | None:
    if row[f"doc_id_{end}"] is None:
        return None
    score = {key: row[f"sink_score{column}_{end}"] for key, column in (("value", ""), ("low", "_low"), ("high", "_high"))}
    return {
        "action": row[f"action_{end}"],
        "weight": tidy(row[f"weight_{end}"]),
        "reason": row[f"reason_{end}"],
        "score": interval(score),
        "kept": name(row[f"kept_{end}"]) if row[f"kept_{end}"] is not None else None,
    }
