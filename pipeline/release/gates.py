"""Judge a run: each gate has a value, an interval, a limit and one line that says what it means.

Shares of the corpus are counts of everything there is, so the value itself is judged; its Wilson interval says how far the share of a
like corpus could be. Estimates (the predictor's) are judged by their interval. A gate without enough data is `not_measured`, and that
is said rather than passed. Duplication alone fails nothing: finding it is the point.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import polars as pl

from pipeline.config import ReleaseConfig
from pipeline.release.decisions import is_released, is_transitive_only
from pipeline.statistics import wilson_interval
from pipeline.tables import Clusters, Decisions, SinkScores

Severity = Literal["error", "warn"]
Status = Literal["pass", "warn", "fail", "not_measured"]
Unit = Literal["share", "count", ""]
Verdict = Literal["PASS", "WARN", "FAIL"]

MIN_POSITIVES = 50  # labels, before calibration is judged
MIN_POSITIVES_OF_DIFFERENCE = 150  # before a difference in average precision is
MIN_PLANTS = 100  # planted pairs, before recall on them is: of fewer even a full score leaves the limit in doubt


@dataclass(frozen=True)
class Measure:
    """Hold an estimate with its 95% interval and the number of observations behind it."""

    value: float
    low: float
    high: float
    n: int


def measured(value: float | None, low: float | None, high: float | None, n: int | None) -> Measure | None:
    """Return an estimate, or None if any of its numbers is missing."""
    if value is None or low is None or high is None or n is None:
        return None
    return Measure(value, low, high, n)


@dataclass(frozen=True)
class Gate:
    """State one gate's outcome; `value`, `low`, `high` and `limit` share one unit, and None is not measured."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    limit: float | None
    severity: Severity
    status: Status
    meaning: str
    min_n: int = 0
    unit: Unit = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the gate as JSON values."""
        return asdict(self)


def judge(
    ids: pl.DataFrame,
    clusters: Clusters,
    scores: SinkScores,
    decisions: Decisions,
    written_by_source: Mapping[str, int],
    config: ReleaseConfig,
    *,
    num_candidates: int | None = None,
    num_skipped: int | None = None,
    rival_margin: Measure | None = None,
    brier_skill: Measure | None = None,
    removal_recall: Measure | None = None,
) -> tuple[Gate, ...]:
    """Judge every gate, in the order of the report.

    ids: one row a document with `doc_id, source, is_empty`. written_by_source: rows in the filtered shards, counted while they were
    written. num_candidates, num_skipped: comparisons proposed, and left out by the bucket cap. rival_margin: the predictor's
    average precision less that of the logistic on copies, loss and zlib, over the proxies' own held-out labels; brier_skill: on
    held-out clusters; `n` of both counts positive labels. removal_recall: share of planted pairs at or above the Jaccard threshold of
    which one was removed; `n` counts those pairs.
    """
    rows = ids.select("doc_id", "source", "is_empty").join(decisions, on="doc_id", how="left", validate="1:1")
    sources = _by_source(rows, written_by_source, config)
    return (
        _balance(sources),
        _filtered_rows(sources),
        _source_loss(sources, config),
        _largest_cluster(clusters, rows, config),
        _transitive_only(decisions, config),
        _bucket_cap(num_candidates, num_skipped, config),
        _outside_support(rows, scores, config),
        _above_zero(
            "predictor_beats_rival",
            rival_margin,
            MIN_POSITIVES_OF_DIFFERENCE,
            "average precision less that of the logistic on copies, loss and zlib, on the proxies' own held-out labels",
        ),
        _above_zero("calibration", brier_skill, MIN_POSITIVES, "Brier skill of the sink score over the base rate on held-out clusters"),
        _removal_recall(removal_recall, config),
        _not_measured("secrets_in_kept_rows", 0.0, "count", "secret-like patterns in kept rows of high risk"),
    )


def verdict_of(gates: Sequence[Gate]) -> Verdict:
    """Return FAIL if a gate failed, WARN if one warns, else PASS; what was not measured changes nothing and is listed instead."""
    statuses = {gate.status for gate in gates}
    return "FAIL" if "fail" in statuses else "WARN" if "warn" in statuses else "PASS"


def _by_source(rows: pl.DataFrame, written: Mapping[str, int], config: ReleaseConfig) -> pl.DataFrame:
    counted = rows.group_by("source").agg(
        rows_in=pl.len().cast(pl.Int64),
        rows_decided=pl.col("action").is_not_null().sum().cast(pl.Int64),
        rows_released=is_released(config).fill_null(False).sum().cast(pl.Int64),
    )
    found = pl.DataFrame(
        {"source": list(written), "rows_written": list(written.values())}, schema={"source": pl.String, "rows_written": pl.Int64}
    )
    return counted.join(found, on="source", how="full", coalesce=True).fill_null(0).sort("source")


def _balance(sources: pl.DataFrame) -> Gate:
    off = sources.filter((pl.col("rows_in") != pl.col("rows_decided")) | (pl.col("rows_released") != pl.col("rows_written")))
    meaning = "sources whose rows in differ from rows written plus rows removed by reason"
    return _count("rows_balance", off.height, off.height == 0, meaning)


def _filtered_rows(sources: pl.DataFrame) -> Gate:
    written = int(sources["rows_written"].sum())
    return _count("filtered_rows", written, written > 0, "rows in the filtered data; more than 0")


def _source_loss(sources: pl.DataFrame, config: ReleaseConfig) -> Gate:
    meaning = "largest share of one source's rows that is not in the filtered data"
    judged = sources.filter(pl.col("rows_in") >= config.min_gate_rows).with_columns(lost=pl.col("rows_in") - pl.col("rows_written"))
    if judged.is_empty():
        meaning += "; no source has enough rows"
        return _not_measured("source_loss", config.max_source_loss, "share", meaning, config.min_gate_rows)
    worst = judged.sort([-(pl.col("lost") / pl.col("rows_in")), "source"]).row(0, named=True)
    return _share("source_loss", worst["lost"], worst["rows_in"], config.max_source_loss, meaning, config.min_gate_rows)


def _largest_cluster(clusters: Clusters, rows: pl.DataFrame, config: ReleaseConfig) -> Gate:
    with_text = clusters.join(rows.filter(pl.col("is_empty").not_()), on="doc_id", how="semi")  # empty texts resemble nothing
    largest = int(with_text["cluster_size"].max() or 0)  # type: ignore[arg-type]
    meaning = "share of all rows in the largest cluster of documents with text"
    return _share("largest_cluster", largest, clusters.height, config.max_cluster_share, meaning, config.min_gate_rows)


def _transitive_only(decisions: Decisions, config: ReleaseConfig) -> Gate:
    count = decisions.filter(is_transitive_only()).height
    meaning = "share of all rows that a cluster holds by a chain alone, kept for want of a direct copy"
    return _share("transitive_only", count, decisions.height, config.max_transitive_share, meaning, config.min_gate_rows)


def _bucket_cap(num_candidates: int | None, num_skipped: int | None, config: ReleaseConfig) -> Gate:
    meaning = "share of proposed comparisons that the bucket cap left out"
    if num_candidates is None or num_skipped is None:
        return _not_measured("bucket_cap", config.max_skipped_share, "share", meaning)
    if num_candidates + num_skipped == 0:
        return Gate("bucket_cap", 0.0, None, None, config.max_skipped_share, "warn", "pass", f"{meaning}; none were proposed", unit="share")
    return _share("bucket_cap", num_skipped, num_candidates + num_skipped, config.max_skipped_share, meaning, 0)


def _removal_recall(measure: Measure | None, config: ReleaseConfig) -> Gate:
    """Judge recall by its lower bound."""
    meaning = "share of planted copies that deduplication removed, by its lower bound"
    if measure is None or measure.n < MIN_PLANTS:
        meaning += "" if measure is None else f"; not enough planted pairs ({measure.n})"
        return _not_measured("removal_recall", config.min_removal_recall, "share", meaning, MIN_PLANTS)
    status: Status = "pass" if measure.low >= config.min_removal_recall else "warn"
    limit = config.min_removal_recall
    return Gate("removal_recall", measure.value, measure.low, measure.high, limit, "warn", status, meaning, MIN_PLANTS, "share")


def _outside_support(rows: pl.DataFrame, scores: SinkScores, config: ReleaseConfig) -> Gate:
    with_text = rows.filter(pl.col("is_empty").not_()).select("doc_id").join(scores.select("doc_id", "is_supported"), on="doc_id")
    outside = with_text.filter(pl.col("is_supported").not_()).height
    meaning = "share of rows with text on which the predictor abstains, being unlike what it was fitted on"
    return _share("outside_support", outside, with_text.height, config.max_unsupported_share, meaning, config.min_gate_rows)


def _count(name: str, count: int, is_passed: bool, meaning: str) -> Gate:
    """State a count that fails the audit unless it holds."""
    return Gate(name, float(count), None, None, 0.0, "error", "pass" if is_passed else "fail", meaning, unit="count")


def _share(name: str, count: int, n: int, limit: float, meaning: str, min_n: int) -> Gate:
    """Judge a share against an upper limit."""
    if n < min_n:
        return _not_measured(name, limit, "share", f"{meaning}; not enough rows ({n})", min_n)
    low, high = wilson_interval(count, n)
    return Gate(name, count / n, low, high, limit, "warn", "pass" if count / n <= limit else "warn", meaning, min_n, "share")


def _above_zero(name: str, measure: Measure | None, min_n: int, meaning: str) -> Gate:
    """Judge an estimate by whether its whole interval lies above 0."""
    if measure is None or not all(map(math.isfinite, (measure.value, measure.low, measure.high))):
        return _not_measured(name, 0.0, "", meaning, min_n)
    status: Status = "pass" if measure.low > 0.0 else "warn"
    if measure.n < min_n:
        status, meaning = "not_measured", f"{meaning}; not enough positive labels ({measure.n})"
    return Gate(name, measure.value, measure.low, measure.high, 0.0, "warn", status, meaning, min_n)


def _not_measured(name: str, limit: float, unit: Unit, meaning: str, min_n: int = 0) -> Gate:
    return Gate(name, None, None, None, limit, "warn", "not_measured", meaning, min_n, unit)
