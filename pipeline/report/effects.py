"""Say what was decided, whom it hits, and what another threshold would have done."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from pipeline.config import ReleaseConfig
from pipeline.report.ledger import TIES, describe_rows, name, reached_policy
from pipeline.report.measures import share, tidy
from pipeline.report.rows import MAX_SOURCES
from pipeline.tables import ACTIONS, REASONS

THRESHOLDS = np.linspace(0.0, 1.0, 51)


def effects(ledger: pl.DataFrame, config: ReleaseConfig, num_listed: int) -> dict[str, Any]:
    """Return decisions counted by action, reason and source, the what-if curve and the cases nearest to the threshold."""
    weighed = ledger.with_columns(effective=pl.when(pl.col("fate") == "kept").then(pl.col("weight")).otherwise(0.0))
    return {
        "policy": {
            key: getattr(config, key)
            for key in ("policy", "sink_threshold", "sink_bound", "drop_threshold", "max_drop_share", "min_weight", "hold_review", "spans")
        },
        "counts": _counts(weighed),
        "by_source": _by_source(weighed),
        "effective_rows": tidy(float(weighed["effective"].sum())),
        "what_if": _what_if(reached_policy(ledger)),
        "near_threshold": _near_threshold(reached_policy(ledger), config.sink_threshold, num_listed),
        "num_near_threshold": _undecided(reached_policy(ledger), config.sink_threshold).height,
    }


def _counts(weighed: pl.DataFrame) -> list[dict[str, Any]]:
    counted = weighed.group_by("action", "reason").agg(
        rows=pl.len(), bytes=pl.col("num_bytes").sum(), mean_weight=pl.col("weight").mean(), effective_rows=pl.col("effective").sum()
    )
    rows = [tidy(row) for row in counted.iter_rows(named=True)]
    return sorted(rows, key=lambda row: (ACTIONS.index(row["action"]), REASONS.index(row["reason"])))


def _by_source(weighed: pl.DataFrame) -> list[dict[str, Any]]:
    """Return each source's share of rows before, and of effective rows (rows times weight) after."""
    grouped = weighed.group_by("source").agg(
        rows=pl.len(),
        effective=pl.col("effective").sum(),
        mean_score=pl.col("sink_score").mean(),
        **{action: (pl.col("action") == action).sum() for action in ACTIONS},
    )
    top = grouped.sort(["rows", "source"], descending=[True, False]).head(MAX_SOURCES)
    before, after = weighed.height, float(weighed["effective"].sum())
    return [
        {
            **{key: tidy(row[key]) for key in ("rows", "effective", "mean_score", *ACTIONS)},
            "source": name(row["source"]),
            "share_before": share(row["rows"], before),
            "share_after": share(row["effective"], after),
        }
        for row in top.iter_rows(named=True)
    ]


def _what_if(judged: pl.DataFrame) -> list[dict[str, Any]]:
    """Return, for each threshold, what a policy that removes every row at or above it would touch and take away.

    `expected_memorized` is the sum of scores: the expected number of memorized rows, if scores are calibrated.
    """
    scored = judged.filter(pl.col("sink_score").is_not_null()).sort("sink_score", "content_hash")
    scores = scored["sink_score"].to_numpy()
    sums = {
        "bytes": scored["num_bytes"].to_numpy().astype(np.float64),
        "tokens": scored["num_tokens"].fill_null(np.nan).to_numpy(),
        "expected_memorized": scores,
        "low": scored["sink_score_low"].to_numpy(),
        "high": scored["sink_score_high"].to_numpy(),
    }
    above = {key: np.append(np.cumsum(values[::-1])[::-1], 0.0) for key, values in sums.items()}
    rows = []
    for threshold in THRESHOLDS:
        first = int(np.searchsorted(scores, threshold - 1e-12))
        row = {key: tidy(float(total[first])) for key, total in above.items()}
        tokens = above["tokens"][first]
        rows.append(
            {
                "threshold": tidy(float(threshold)),
                "rows": len(scores) - first,
                **row,
                "bytes": int(above["bytes"][first]),
                "tokens": round(tokens) if np.isfinite(tokens) else None,
                "share_rows": share(len(scores) - first, len(scores)),
                "share_bytes": share(float(above["bytes"][first]), float(above["bytes"][0])),
                "share_memorized": share(float(above["expected_memorized"][first]), float(above["expected_memorized"][0])),
            }
        )
    return rows


def _undecided(judged: pl.DataFrame, threshold: float) -> pl.DataFrame:
    return judged.filter((pl.col("sink_score_low") < threshold) & (pl.col("sink_score_high") >= threshold))


def _near_threshold(judged: pl.DataFrame, threshold: float, limit: int) -> list[dict[str, Any]]:
    """List rows whose interval holds the threshold, nearest first: here one more look is worth most."""
    cases = _undecided(judged, threshold).with_columns(distance=(pl.col("sink_score") - threshold).abs().round(6))
    return describe_rows(cases.sort("distance", *TIES).head(limit))
