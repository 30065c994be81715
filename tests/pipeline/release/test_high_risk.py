"""Which released rows are worth a closer look."""

from __future__ import annotations

import polars as pl
import pytest

from pipeline.config import ReleaseConfig
from pipeline.release.high_risk import choose_high_risk, count_kept_secrets
from pipeline.tables import DECISIONS, SENSITIVE_PATTERNS, SINK_SCORES, Decisions, SinkScores

# doc_id, action, reason, score, is_empty
ROWS = (
    (0, "keep", "unique", 0.9, False),  # reaches the threshold by its point value only
    (1, "downweight", "sink_risk", 0.7, False),
    (2, "review", "outside_support", 0.1, False),
    (3, "keep", "unique", 0.4, False),
    (4, "keep", "representative", 0.3, False),
    (5, "drop", "near_duplicate", 0.95, False),
    (6, "drop", "empty", 0.9, True),
    (7, "mask", "repeated_span", 0.4, False),
)


def _tables(rows: tuple[tuple[int, str, str, float, bool], ...] = ROWS) -> tuple[pl.DataFrame, SinkScores, Decisions]:
    frame = pl.DataFrame(rows, schema=["doc_id", "action", "reason", "sink_score", "is_empty"], orient="row")
    ids = frame.select(
        "doc_id",
        "is_empty",
        # falls as doc_id rises: ties must not go to the id
        content_hash=pl.Series([(99 - doc).to_bytes(16, "big") for doc in frame["doc_id"]], dtype=pl.Binary),
        row_hash=pl.Series([doc.to_bytes(16, "big") for doc in frame["doc_id"]], dtype=pl.Binary),
    )
    scored = {name: pl.col("sink_score") for name in ("sink_score_low", "sink_score_high", "predicted_gain", "signal_score")}
    scores = frame.select("doc_id", "sink_score", cluster_id=ids["content_hash"]).with_columns(
        **scored,
        predicted_gain_low=pl.lit(0.0),
        predicted_gain_high=pl.lit(1.0),
        sink_class=pl.lit(None, dtype=pl.String),
        scored_by=pl.lit("student"),
        is_supported=pl.lit(True),
        reason=pl.lit(""),
    )
    decisions = frame.select("doc_id", "action", "reason").with_columns(
        weight=pl.lit(1.0), kept_doc_id=pl.lit(None, dtype=pl.Int64), evidence=pl.lit("{}")
    )
    return ids, SINK_SCORES.check(scores), DECISIONS.check(decisions)


def _chosen(config: ReleaseConfig, min_rows: int, max_rows: int) -> tuple[list[int], list[int], dict[str, int]]:
    chosen, facts = choose_high_risk(*_tables(), config, min_rows, max_rows)
    return chosen.filter("is_high_risk")["doc_id"].to_list(), chosen.filter(~pl.col("is_high_risk"))["doc_id"].to_list(), facts


def test_high_risk_is_by_point_value_by_policy_or_by_abstention() -> None:
    """Dropped and empty rows are out; a kept row at the threshold is in although the policy left it alone."""
    risky, others, facts = _chosen(ReleaseConfig(), 0, 100)
    assert (risky, others) == ([0, 1, 2], [])
    assert facts == {"num_released": 6, "num_high_risk": 3}


def test_few_are_filled_up_with_the_highest_scores() -> None:
    """The rest follows by score, ties by content and never by the number of the row."""
    assert _chosen(ReleaseConfig(), 5, 100)[1] == [7, 3]
    assert _chosen(ReleaseConfig(), 100, 100)[1] == [7, 3, 4]


def test_many_are_limited_to_the_highest_scores() -> None:
    """The limit cuts rows of high risk, too, and how many there are is told all the same."""
    risky, others, facts = _chosen(ReleaseConfig(), 5, 2)
    assert (risky, others, facts["num_high_risk"]) == ([0, 1], [], 3)


def test_rows_held_for_review_are_not_released() -> None:
    """With hold_review the rows under review are not in the filtered data, so they are not searched."""
    assert _chosen(ReleaseConfig(hold_review=True), 0, 100)[0] == [0, 1]


def test_order_of_rows_does_not_matter() -> None:
    """Shuffled tables give the same choice."""
    ids, scores, decisions = (frame.sample(fraction=1.0, shuffle=True, seed=5) for frame in _tables())
    shuffled, _ = choose_high_risk(ids, SINK_SCORES.check(scores), DECISIONS.check(decisions), ReleaseConfig(), 5, 100)
    assert shuffled.rows() == choose_high_risk(*_tables(), ReleaseConfig(), 5, 100)[0].rows()


@pytest.mark.parametrize(
    ("rows", "count"),
    [
        ([], None),
        ([(0, False, "cloud_key", 3)], None),
        ([(0, True, "nothing", 0)], 0),
        ([(0, True, "email_address", 5), (1, False, "cloud_key", 3)], 0),
        ([(0, True, "cloud_key", 3), (0, True, "email_address", 5), (1, True, "url_password", 1)], 4),
    ],
)
def test_secrets_count_in_rows_of_high_risk_alone(rows: list[tuple[int, bool, str, int]], count: int | None) -> None:
    """Personal data and rows that only filled up do not count; without any row of high risk nothing was measured."""
    table = pl.DataFrame(rows, schema=dict(SENSITIVE_PATTERNS.columns), orient="row")
    assert count_kept_secrets(SENSITIVE_PATTERNS.check(table)) == count
