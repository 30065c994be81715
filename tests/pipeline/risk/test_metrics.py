"""Ranking metrics against scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score, roc_auc_score

from pipeline.risk.metrics import (
    auroc,
    average_precision,
    bounds,
    estimate,
    precision_at_recall,
    precision_recall,
    rank,
    recall_at_precision,
    spearman,
)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 40))
def test_weighted_metrics_equal_scikit_learn_with_ties(seed: int, count: int) -> None:
    """Every draw's average precision and AUROC are scikit-learn's with that draw's weights."""
    rng = np.random.default_rng(seed)
    scores, truth = rng.integers(0, 5, count).astype(float), rng.random(count) < 0.4
    truth[:2] = True, False
    weights = rng.integers(1, 4, (3, count)).astype(float)
    ranking = rank(scores, truth, weights)
    for at in range(3):
        np.testing.assert_allclose(average_precision(ranking)[at], average_precision_score(truth, scores, sample_weight=weights[at]))
        np.testing.assert_allclose(auroc(ranking)[at], roc_auc_score(truth, scores, sample_weight=weights[at]))


def test_missing_scores_rank_last_and_tie() -> None:
    """Rows without a score share the lowest rank."""
    ranking = rank(np.array([1.0, np.nan, np.nan]), np.array([True, True, False]), np.ones((1, 3)))
    assert auroc(ranking)[0] == 0.75


def test_no_positives_give_no_number() -> None:
    """Without positives there is neither average precision nor AUROC, nor an interval."""
    ranking = rank(np.array([1.0, 2.0]), np.zeros(2, dtype=bool), np.ones((4, 2)))
    assert np.isnan(average_precision(ranking)).all()
    assert bounds(auroc(ranking), 0.95) == (None, None)


def test_spearman_equals_scipy_with_ties() -> None:
    """Rank correlation shares mean ranks; a constant has none."""
    first, second = np.array([1.0, 2.0, 2.0, 3.0, 9.0]), np.array([2.0, 1.0, 4.0, 4.0, 4.5])
    np.testing.assert_allclose(spearman(first, second) or 0.0, spearmanr(first, second).statistic)
    assert spearman(first, np.ones(5)) is None


def test_precision_recall_ends_at_full_recall_and_base_rate() -> None:
    """The last point recalls everything at the base rate."""
    points = precision_recall(rank(np.array([3.0, 2.0, 1.0, 0.0]), np.array([True, False, True, False]), np.ones((1, 4))))
    assert points[0] == [0.5, 1.0]
    assert points[-1] == [1.0, 0.5]


def test_recall_and_precision_at_a_limit() -> None:
    """Of five positives two rank first, one after a miss and two last: recall at precision .9 is .4, precision at recall .9 is 5 / 8."""
    truth = np.array([True, True, False, True, False, False, True, True])
    ranking = rank(-np.arange(8.0), truth, np.ones((1, 8)))
    assert recall_at_precision(ranking, 0.9)[0] == pytest.approx(0.4)
    assert precision_at_recall(ranking, 0.9)[0] == pytest.approx(5 / 8)
    nothing = rank(np.arange(8.0), np.zeros(8, bool), np.ones((1, 8)))
    assert np.isnan(recall_at_precision(nothing, 0.9)[0])


def test_estimate_is_the_first_draw_between_its_bounds() -> None:
    """The data's own figure is the value, the redraws its interval, and what is not finite is null."""
    found = estimate(np.arange(101.0), 0.9)
    assert found == {"value": 0.0, "low": pytest.approx(5.95), "high": pytest.approx(95.05)}
    assert estimate(np.array([np.nan, np.nan]), 0.9) == {"value": None, "low": None, "high": None}
