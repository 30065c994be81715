"""Cross-fitting: no row is predicted by a model that saw it."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.risk.crossfit import NO_FOLD, assign_folds, cross_fit_logistic, cross_fit_ridge, size_error

IDS = [bytes([at % 256, at // 256]) * 8 for at in range(600)]


def test_folds_share_out_positives_and_follow_ids_not_order() -> None:
    """Every fold gets its share of positives, and a cluster keeps its fold when rows are permuted."""
    positive = np.arange(600) % 20 == 0
    folds = assign_folds(IDS, positive, 5, 3)
    assert np.bincount(folds[positive]).tolist() == [6] * 5
    order = np.random.default_rng(0).permutation(600)
    again = assign_folds([IDS[at] for at in order], positive[order], 5, 3)
    np.testing.assert_array_equal(again, folds[order])


def test_out_of_fold_predictions_of_noise_have_no_skill() -> None:
    """With many noise features in-sample fits look good and out-of-fold predictions do not."""
    rng = np.random.default_rng(1)
    design, y = rng.normal(size=(200, 60)), rng.normal(size=200)
    folds = assign_folds(IDS[:200], y > 0, 5, 0)
    model = cross_fit_ridge(design, y, np.ones(200), folds)
    assert np.corrcoef(model.predict(design, np.full(200, NO_FOLD)), y)[0, 1] > 0.3
    assert abs(np.corrcoef(model.predict(design, folds), y)[0, 1]) < 0.25


def test_logits_recover_a_planted_model() -> None:
    """Out-of-fold logits follow the true ones."""
    rng = np.random.default_rng(2)
    design = rng.normal(size=(600, 3))
    truth = design @ [2.0, 0.0, -1.0] - 1
    y = (rng.random(600) < 1 / (1 + np.exp(-truth))).astype(float)
    folds = assign_folds(IDS, y > 0, 5, 0)
    model = cross_fit_logistic(design, y, np.ones(600), folds, np.zeros(3, dtype=bool))
    assert np.corrcoef(model.predict(design, folds), truth)[0, 1] > 0.97


def test_size_error_is_what_one_size_says_wrongly_of_the_other() -> None:
    """A lawful effect of size costs little, a broken law its miss per doubling; one ratio leaves it unmeasured."""
    rng = np.random.default_rng(3)
    x, ratio = rng.normal(size=900), np.repeat([0.0, 1.0, 0.0], 300)
    doublings = np.repeat([10.0, 11.0, 11.0], 300)
    lawful = x + 0.5 * ratio
    design, ones = np.column_stack([x, ratio]), np.ones(900)
    assert size_error(design, lawful, ones, doublings, 0.1) == pytest.approx(0.0, abs=0.05)
    broken = lawful + 2.0 * (doublings == 10.0)
    assert size_error(design, broken, ones, doublings, 0.1) == pytest.approx(2.0, abs=0.05)
    assert size_error(design[:300], lawful[:300], ones[:300], doublings[:300], 0.1) is None
