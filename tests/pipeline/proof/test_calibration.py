"""Calibration is found where it is, and a stretched, a shifted and a constant score are told for what they are."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from scipy.special import expit, logit

from pipeline.proof.calibration import calibrate_gains, calibrate_scores

RNG = np.random.default_rng(2)
PROBABILITY = RNG.beta(0.5, 2.0, 3000).clip(0.001, 0.999)
TRUTH = RNG.random(3000) < PROBABILITY


def test_calibrated_scores_pass() -> None:
    """Scores that mean what they say have slope 1, intercept 0, skill above 0, and bins whose intervals hold them."""
    found = calibrate_scores(PROBABILITY, TRUTH, 0.95, np.random.default_rng(0))
    assert found["slope"]["low"] < 1 < found["slope"]["high"]
    assert found["intercept"]["low"] < 0 < found["intercept"]["high"]
    assert found["brier_skill"]["low"] > 0
    assert found["ece"] < 0.03
    assert sum(row["low"] <= row["predicted"] <= row["high"] for row in found["bins"]) >= 8


@pytest.mark.parametrize(("stretch", "shift"), [(2.0, 0.0), (0.5, 0.0), (1.0, 1.0)])
def test_recalibration_undoes_what_was_done(stretch: float, shift: float) -> None:
    """Logits that were stretched and shifted are brought back by slope 1 / stretch and intercept - shift / stretch."""
    spoilt = expit(stretch * logit(PROBABILITY) + shift)
    found = calibrate_scores(spoilt, TRUTH, 0.95, np.random.default_rng(0))
    assert found["slope"]["value"] == pytest.approx(1 / stretch, abs=0.15 / stretch)
    assert found["intercept"]["value"] == pytest.approx(-shift / stretch, abs=0.3)
    assert found["ece"] > 0.03


def test_a_constant_has_no_skill() -> None:
    """The base rate as a score passes for calibrated error and fails for skill, which is why both are asked."""
    found = calibrate_scores(np.full(3000, TRUTH.mean()), TRUTH, 0.95, np.random.default_rng(0))
    assert found["ece"] < 0.03
    assert found["brier_skill"]["value"] == pytest.approx(0.0, abs=1e-9)


def test_one_kind_only_is_not_judged() -> None:
    """Without a memorized cluster there are counts and bins and nothing more."""
    found = calibrate_scores(PROBABILITY[:30], np.zeros(30, bool), 0.95, np.random.default_rng(0))
    assert not found["enough_data"]
    assert "slope" not in found
    assert calibrate_scores(np.empty(0), np.empty(0, bool), 0.95, np.random.default_rng(0))["bins"] == []


def test_gains_that_are_half_as_large_have_slope_one_half() -> None:
    """Measured on predicted gains: slope, level and the share that the intervals hold."""
    predicted = RNG.normal(1.0, 0.5, 2000)
    frame = pl.DataFrame({"predicted_gain": predicted, "predicted_gain_low": predicted - 0.5, "predicted_gain_high": predicted + 0.5})
    found = calibrate_gains(frame, 0.5 * predicted + 0.2 + 0.05 * RNG.normal(size=2000), 0.95, np.random.default_rng(0))
    assert found["slope"]["value"] == pytest.approx(0.5, abs=0.01)
    assert found["intercept"]["value"] == pytest.approx(0.2, abs=0.02)
    assert found["mean_miss"]["value"] == pytest.approx(-0.3, abs=0.02)
    assert 0.5 < found["share_inside"] < 0.9
