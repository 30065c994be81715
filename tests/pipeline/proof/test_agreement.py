"""Agreement recovers a known skill from noisy labels, its interval covers it, and shuffled labels give chance."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.proof import agreement as module
from pipeline.proof.agreement import agreement, draw_labels
from pipeline.risk.metrics import spearman


def simulate(seed: int, number: int, noise: float = 1.0, error: float = 0.8) -> tuple[np.ndarray, np.ndarray, float]:
    """Return predictions, the gains of four pairs, and the predictions' true rank correlation."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(size=number)
    predicted = truth + error * rng.normal(size=number)
    found = spearman(predicted, truth)
    assert found is not None
    return predicted, truth[:, None] + noise * rng.normal(size=(number, 4)), found


@pytest.mark.parametrize("noise", [0.5, 2.0])
def test_disattenuation_recovers_the_skill_behind_the_noise(noise: float) -> None:
    """However noisy the labels, the corrected figure is what noiseless labels would have shown."""
    predicted, gains, true = simulate(3, 3000, noise)
    found = agreement(predicted, draw_labels(gains, np.random.default_rng(0)), 0.95)
    assert found["disattenuated"]["value"] == pytest.approx(true, abs=0.04)
    assert found["spearman"]["value"] < found["disattenuated"]["value"]
    assert found["disattenuated"]["low"] < found["disattenuated"]["value"] < found["disattenuated"]["high"]
    assert 0.6 < found["normalised"]["value"] < 1.0


def test_the_interval_covers_the_truth_about_as_often_as_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of forty simulated proofs nearly all hold the predictor's population figure in their interval."""
    monkeypatch.setattr(module, "NUM_DRAWS", 60)
    _, _, population = simulate(99, 200_000)
    held = 0
    for seed in range(40):
        predicted, gains, _ = simulate(seed, 120)
        found = agreement(predicted, draw_labels(gains, np.random.default_rng(seed)), 0.9)["disattenuated"]
        held += found["low"] <= population <= found["high"]
    assert held >= 32


def test_shuffled_labels_give_chance() -> None:
    """Leakage test: predictions of other clusters agree with nothing."""
    predicted, gains, _ = simulate(5, 800)
    shuffled = np.random.default_rng(1).permutation(predicted)
    found = agreement(shuffled, draw_labels(gains, np.random.default_rng(0)), 0.95)
    assert found["disattenuated"]["low"] < 0 < found["disattenuated"]["high"]
    assert found["auroc"]["low"] < 0.5 < found["auroc"]["high"]
    assert abs(found["normalised"]["value"]) < 0.25


def test_labels_that_are_noise_are_not_divided_by() -> None:
    """Where nothing is reliable no corrected figure is given."""
    rng = np.random.default_rng(4)
    gains = np.outer(np.arange(400.0), np.array([2.0, -1.0]))
    found = agreement(rng.normal(size=400), draw_labels(gains, rng), 0.95)
    assert found["disattenuated"]["value"] is None
    assert found["spearman"]["value"] is not None


def test_one_pair_measures_no_reliability() -> None:
    """A single pair gives a correlation and no ceiling, so nothing is judged."""
    predicted, gains, _ = simulate(6, 200)
    found = agreement(predicted, draw_labels(gains[:, :1], np.random.default_rng(0)), 0.95)
    assert not found["enough_data"]
    assert found["disattenuated"]["value"] is None


def test_a_small_stratum_says_so() -> None:
    """Without draws only the counts are told."""
    assert agreement(np.arange(10.0), None, 0.95) == {
        "num_clusters": 10,
        "num_top": 1,
        "enough_data": False,
        "enough_data_top": False,
    }
