"""Say what was decided, whom it hits, and what another threshold would have done."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from pipeline.config import ReleaseConfig
from pipeline.report.ledger import reached_policy
from pipeline.report.measures import share, tidy
from pipeline.report.samples import is_undecided
from pipeline.report.shifts import shifts
from pipeline.tables import ACTIONS, REASONS, Languages

THRESHOLDS = np.linspace(0.0, 1.0, 51)


def effects(ledger: pl.DataFrame, config: ReleaseConfig, languages: Languages | None) -> dict[str, Any]:
    """Return decisions counted by action and reason, whom they hit, the what-if curve and how many rows are undecided."""
    judged = reached_policy(ledger)
    undecided = judged.filter(is_undecided(config.sink_threshold)).height
    weighed = ledger.with_columns(effective=pl.when(pl.col("fate") == "kept").then(pl.col("weight")).otherwise(0.0))
    return {
        "policy": {
            key: getattr(config, key)
            for key in ("policy", "sink_threshold", "sink_bound", "drop_threshold", "max_drop_share", "min_weight", "hold_review", "spans")
        },
        "counts": _counts(weighed),
        "shift": shifts(weighed, languages),
        "rows_by_action": {action: weighed.filter(pl.col("action") == action).height for action in ACTIONS},
        "effective_rows": tidy(float(weighed["effective"].sum())),
        "what_if": _what_if(judged),
        "num_near_threshold": undecided,
        "share_near_threshold": share(undecided, judged.filter(pl.col("sink_score").is_not_null()).height),
    }


def _counts(weighed: pl.DataFrame) -> list[dict[str, Any]]:
    counted = weighed.group_by("action", "reason").agg(
        rows=pl.len(), bytes=pl.col("num_bytes").sum(), mean_weight=pl.col("weight").mean(), effective_rows=pl.col("effective").sum()
    )
    rows = [tidy(row) for row in counted.iter_rows(named=True)]
    return sorted(rows, key=lambda row: (ACTIONS.index(row["action"]), REASONS.index(row["reason"])))


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
                "share_tokens": share(float(tokens), float(above["tokens"][0])) if np.isfinite(above["tokens"][0]) else None,
                "share_memorized": share(float(above["expected_memorized"][first]), float(above["expected_memorized"][0])),
            }
        )
    return rows
