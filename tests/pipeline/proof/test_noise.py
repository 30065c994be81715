"""Noise is pooled over arms, borrowed from the raw runs where pairs are too few, and says how many runs are needed."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.proof.noise import is_resolved, mean_difference, paired_noise, runs_needed


def test_pooled_noise_is_the_noise_that_was_put_in() -> None:
    """Whatever each arm's own mean, the spread around it is found."""
    rng = np.random.default_rng(0)
    arms = [mean + 0.3 * rng.normal(size=3) for mean in rng.normal(0, 5, 400)]
    noise, degrees = paired_noise(arms, np.empty(0))
    assert degrees == 800
    assert noise == pytest.approx(0.3, abs=0.02)


def test_single_pairs_borrow_the_raw_arms_noise() -> None:
    """One seed an arm has no spread of its own: the raw runs' stands in, times the root of two; without them nothing is known."""
    raw = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    noise, degrees = paired_noise([np.array([0.5]), np.array([0.1])], raw)
    assert noise == pytest.approx(np.sqrt(2) * np.std(raw, ddof=1))
    assert degrees == 4
    assert paired_noise([np.array([0.5])], raw[:1]) == (None, 0)


def test_interval_covers_as_often_as_it_says() -> None:
    """Student's interval with pooled noise holds the true difference in about nine of ten cases."""
    rng, held = np.random.default_rng(1), 0
    for _ in range(300):
        values = [1.0 + rng.normal(size=3), rng.normal(size=3)]
        noise, degrees = paired_noise(values, np.empty(0))
        found = mean_difference(values[0], noise, degrees, 0.9)
        held += found["low"] <= 1.0 <= found["high"]
    assert 255 <= held <= 285


def test_a_verdict_needs_two_standard_errors_within_the_bar() -> None:
    """With noise .3 and three runs a bar of .3 cannot be held to .35, and four runs would do."""
    found = mean_difference(np.array([0.3, 0.3, 0.3]), 0.3, 10, 0.95)
    assert not is_resolved(found, 0.3)
    assert runs_needed(0.3, 0.3) == 4
    assert is_resolved(mean_difference(np.zeros(4), 0.3, 10, 0.95), 0.3)
    assert not is_resolved(mean_difference(np.zeros(4), None, 0, 0.95), 0.3)
    assert runs_needed(None, 0.3) is None
