"""Reliability and ceiling are found again in labels whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.proof import reliability as module
from pipeline.proof.ranks import areas, mid_ranks, top_decile
from pipeline.proof.reliability import effective_pairs, gain_of
from pipeline.risk.metrics import spearman

ONCE = np.ones(4)


def reliability(gains: np.ndarray, counts: np.ndarray) -> float:
    """Return the reliability of one draw that holds every cluster once."""
    return float(module.reliability(gains, np.ones((1, len(gains))), counts[None, :])[0])


def top_ceiling(gains: np.ndarray, counts: np.ndarray) -> float:
    """Return the ceiling of one draw that holds every cluster once."""
    return float(module.top_ceiling(gains, np.ones((1, len(gains))), counts[None, :])[0])


def top_auroc(scores: np.ndarray, gain: np.ndarray) -> float:
    """Return the AUROC of scores for the top decile of gains."""
    weights = np.ones((1, len(gain)))
    return float(areas(mid_ranks(scores, weights), top_decile(gain, weights), weights)[0])


def measured(noise: float, number: int = 4000, seed: int = 0, pairs: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Return a normal truth and so many noisy measurements of it."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=number)
    return truth, truth[:, None] + noise * rng.normal(size=(number, pairs))


@pytest.mark.parametrize("noise", [0.5, 1.0, 2.0])
def test_reliability_is_the_squared_correlation_with_the_truth(noise: float) -> None:
    """Its root is what the truth itself would correlate with the labels."""
    truth, gains = measured(noise)
    found = spearman(truth, gains.mean(axis=1))
    assert found is not None
    assert reliability(gains, ONCE) == pytest.approx(found**2, abs=0.03)


@pytest.mark.parametrize("noise", [0.5, 1.0, 2.0])
def test_ceiling_is_the_truths_own_auroc(noise: float) -> None:
    """A perfect predictor reaches the ceiling, no more and no less."""
    truth, gains = measured(noise)
    assert top_ceiling(gains, ONCE) == pytest.approx(top_auroc(truth, gains.mean(axis=1)), abs=0.015)


def test_ceiling_is_higher_where_a_few_stand_out() -> None:
    """When a tenth lies far above the rest the top decile is found again more surely than the order of all."""
    rng = np.random.default_rng(1)
    truth = np.where(rng.random(3000) < 0.1, 3.0, 0.0) + 0.1 * rng.normal(size=3000)
    gains = truth[:, None] + rng.normal(size=(3000, 4))
    assert reliability(gains, ONCE) < 0.6
    assert top_ceiling(gains, ONCE) > 0.97
    assert top_ceiling(gains, ONCE) == pytest.approx(top_auroc(truth, gains.mean(axis=1)), abs=0.02)


def test_a_pair_drawn_twice_does_not_look_reliable() -> None:
    """Drawing one pair twice is worth fewer pairs; noise that is repeated is not taken for truth."""
    _, gains = measured(1.0, pairs=2)
    _, noise = measured(1e6, pairs=2, seed=3)
    assert np.isnan(reliability(gains, np.array([2.0, 0.0])))
    assert reliability(noise, np.array([3.0, 1.0])) < 0.1
    assert effective_pairs(np.array([2.0, 1.0, 1.0, 0.0])) == pytest.approx(16 / 6)


def test_noise_alone_has_no_reliability() -> None:
    """Constant measurements and unrelated ones give 0."""
    assert reliability(np.zeros((50, 3)), np.ones(3)) == 0.0
    assert reliability(np.random.default_rng(5).normal(size=(5000, 3)), np.ones(3)) < 0.08


@given(st.lists(st.integers(0, 3), min_size=2, max_size=6).filter(any))
def test_effective_pairs_lie_between_one_and_the_number_drawn(counts: list[int]) -> None:
    """No draw is worth more pairs than it holds different ones."""
    drawn = np.array(counts, np.float64)
    assert 1.0 <= effective_pairs(drawn) <= np.count_nonzero(drawn) + 1e-9
    np.testing.assert_allclose(gain_of(np.ones((3, len(counts))), drawn), 1.0)
