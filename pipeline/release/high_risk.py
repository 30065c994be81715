"""Choose the released rows whose text is worth a closer look: those of high risk, and the riskiest of the rest if these are few.

High risk is wider than what the policy acts on: also a row whose score reaches the threshold only by its point value, and one on which
the predictor abstains, because nothing says that it is harmless.
"""

from __future__ import annotations

import polars as pl

from pipeline.config import ReleaseConfig
from pipeline.release.decisions import is_released
from pipeline.tables import SECRET_KINDS, Decisions, SensitivePatterns, SinkScores


def choose_high_risk(
    ids: pl.DataFrame, scores: SinkScores, decisions: Decisions, config: ReleaseConfig, min_rows: int, max_rows: int
) -> tuple[pl.DataFrame, dict[str, int]]:
    """Return `doc_id, is_high_risk` of the rows to examine, and how many rows of high risk there are.

    ids: `doc_id, content_hash, row_hash, is_empty` of every document. Of rows of high risk at most `max_rows` are examined, and of all
    with text at least `min_rows`, the highest scores first.
    """
    by_risk = pl.col("reason").is_in(["sink_risk", "outside_support"])
    rows = (
        ids.filter(~pl.col("is_empty"))
        .join(decisions.filter(is_released(config)).select("doc_id", "reason"), on="doc_id")
        .join(scores.select("doc_id", "sink_score"), on="doc_id")
        .with_columns(is_high_risk=by_risk | (pl.col("sink_score") >= config.sink_threshold))
        .sort("is_high_risk", "sink_score", "content_hash", "row_hash", descending=[True, True, False, False])
    )
    num_high_risk = int(rows["is_high_risk"].sum())
    chosen = rows.head(min(max_rows, max(min_rows, num_high_risk))).select("doc_id", "is_high_risk")
    return chosen, {"num_released": rows.height, "num_high_risk": num_high_risk}


def count_kept_secrets(patterns: SensitivePatterns) -> int | None:
    """Count the secrets in rows of high risk; None where no such row was examined."""
    risky = patterns.filter("is_high_risk")
    return int(risky.filter(pl.col("kind").is_in(SECRET_KINDS))["count"].sum()) if risky.height else None
