"""Judge a run: each gate has a value, an interval, a limit and one line that says what it means.

Shares of the corpus are counts of everything there is, so the value itself is judged; its Wilson interval says how far the share of a
like corpus could be. Estimates (the predictor's) are judged by their interval. A gate without enough data is `not_measured`, and that
is said rather than passed. Duplication alone fails nothing, unless a guard (`release.guards`) was told to: finding it is the point.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import polars as pl

from pipeline.config import ReleaseConfig
from pipeline.release.decisions import is_released, is_transitive_only
from pipeline.release.gate import Gate, Measure, Status, count_gate, not_measured, share_gate, with_severity
from pipeline.release.guards import bucket_cap, largest_cluster, source_loss, transitive_only
from pipeline.tables import Clusters, Decisions, SinkScores

MIN_POSITIVES = 50  # labels, before calibration is judged
MIN_POSITIVES_OF_DIFFERENCE = 150  # before a difference in average precision is


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
    kept_secrets: int | None = None,
) -> tuple[Gate, ...]:
    """Judge every gate, in the order of the report.

    ids: one row a document with `doc_id, source, is_empty`. written_by_source: rows in the filtered shards, counted while they were
    written. num_candidates, num_skipped: comparisons proposed, and left out by the caps. rival_margin: the predictor's
    average precision less that of the logistic on copies, loss and zlib, over the proxies' own held-out labels; brier_skill: on
    held-out clusters; `n` of both counts positive labels. removal_recall: share of planted pairs at or above the Jaccard threshold of
    which one was removed; `n` counts those pairs. kept_secrets: secret-like patterns found in kept rows of high risk; None: nobody looked.

    The severities are the user's; waivers are `pipeline.release.waivers`' business.
    """
    rows = ids.select("doc_id", "source", "is_empty").join(decisions, on="doc_id", how="left", validate="1:1")
    sources = _by_source(rows, written_by_source, config)
    return (
        _balance(sources),
        _filtered_rows(sources),
        source_loss(sources, config),
        largest_cluster(clusters, rows, config),
        transitive_only(decisions.filter(is_transitive_only()).height, decisions.height, config),
        bucket_cap(num_candidates, num_skipped, config),
        _outside_support(rows, scores, config),
        _predictor_beats_rival(rival_margin, config),
        _calibration(brier_skill, config),
        _removal_recall(removal_recall, config),
        _secrets_in_kept_rows(kept_secrets, config),
    )


def _weighed(gate: Gate, config: ReleaseConfig) -> Gate:
    return with_severity(gate, getattr(config.gates, gate.name), f"release.gates.{gate.name}")


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
    return count_gate("rows_balance", off.height, off.height == 0, meaning)


def _filtered_rows(sources: pl.DataFrame) -> Gate:
    written = int(sources["rows_written"].sum())
    return count_gate("filtered_rows", written, written > 0, "rows in the filtered data; more than 0")


def _removal_recall(measure: Measure | None, config: ReleaseConfig) -> Gate:
    """Judge recall by its lower bound."""
    meaning = "share of made-up copies that deduplication removed, by its lower bound"
    limit, min_n = config.min_removal_recall, config.min_gate_plants
    if measure is None or measure.n < min_n:
        meaning += "" if measure is None else f"; not enough made-up pairs ({measure.n})"
        return _weighed(not_measured("removal_recall", limit, "share", meaning, min_n), config)
    status: Status = "pass" if measure.low >= limit else "warn"
    gate = Gate("removal_recall", measure.value, measure.low, measure.high, limit, "warn", status, meaning, min_n, "share")
    return _weighed(gate, config)


def _outside_support(rows: pl.DataFrame, scores: SinkScores, config: ReleaseConfig) -> Gate:
    with_text = rows.filter(pl.col("is_empty").not_()).select("doc_id").join(scores.select("doc_id", "is_supported"), on="doc_id")
    outside = with_text.filter(pl.col("is_supported").not_()).height
    meaning = "share of rows with text on which the predictor abstains, being unlike what it was fitted on"
    gate = share_gate("outside_support", outside, with_text.height, config.max_unsupported_share, meaning, config.min_gate_rows)
    return _weighed(gate, config)


def _predictor_beats_rival(measure: Measure | None, config: ReleaseConfig) -> Gate:
    meaning = "average precision less that of the logistic on copies, loss and zlib, on the proxies' own held-out labels"
    gate = _above("predictor_beats_rival", measure, config.min_rival_margin, MIN_POSITIVES_OF_DIFFERENCE, meaning)
    return _weighed(gate, config)


def _calibration(measure: Measure | None, config: ReleaseConfig) -> Gate:
    meaning = "Brier skill of the sink score over the base rate on held-out clusters"
    return _weighed(_above("calibration", measure, config.min_brier_skill, MIN_POSITIVES, meaning), config)


def _above(name: str, measure: Measure | None, limit: float, min_n: int, meaning: str) -> Gate:
    """Judge an estimate by whether its whole interval lies above a limit."""
    if measure is None or not all(map(math.isfinite, (measure.value, measure.low, measure.high))):
        return not_measured(name, limit, "", meaning, min_n)
    status: Status = "pass" if measure.low > limit else "warn"
    if measure.n < min_n:
        status, meaning = "not_measured", f"{meaning}; not enough positive labels ({measure.n})"
    return Gate(name, measure.value, measure.low, measure.high, limit, "warn", status, meaning, min_n)


def _secrets_in_kept_rows(count: int | None, config: ReleaseConfig) -> Gate:
    name, limit, meaning = "secrets_in_kept_rows", float(config.max_kept_secrets), "secret-like patterns in kept rows of high risk"
    if count is None:
        return _weighed(not_measured(name, limit, "count", meaning), config)
    status: Status = "pass" if count <= limit else "warn"
    return _weighed(Gate(name, float(count), None, None, limit, "warn", status, meaning, unit="count"), config)
