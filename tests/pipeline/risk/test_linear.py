"""The linear models against scikit-learn and against their promises."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression, Ridge

from pipeline.risk.linear import Standardizer, fit_logistic, fit_platt, fit_ridge, predict


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 4))
    y = (rng.random(300) < 1 / (1 + np.exp(-(X @ [1.5, -1.0, 0.0, 0.5] - 1)))).astype(float)
    return X, y


def test_logistic_equals_scikit_learn_without_constraints(data: tuple[np.ndarray, np.ndarray]) -> None:
    """The minimum found is scikit-learn's, weights included."""
    X, y = data
    weights = np.random.default_rng(1).integers(1, 4, len(y)).astype(float)
    ours = fit_logistic(X, y, weights, 2.0, np.zeros(4, dtype=bool))
    theirs = LogisticRegression(C=0.5, tol=1e-8).fit(X, y, sample_weight=weights)
    np.testing.assert_allclose(ours, [*theirs.coef_[0], *theirs.intercept_], atol=2e-3)


def test_constrained_coefficients_never_fall_below_zero(data: tuple[np.ndarray, np.ndarray]) -> None:
    """A rising feature whose data say otherwise gets no weight."""
    X, y = data
    rising = np.array([False, True, False, False])
    assert fit_logistic(X, y, np.ones(len(y)), 1.0, rising)[1] == 0.0


def test_soft_labels_keep_the_mean() -> None:
    """Predictions average to the mean of probabilities that serve as labels."""
    rng = np.random.default_rng(2)
    X, y = rng.normal(size=(200, 3)), rng.random(200) * 0.3
    logits = predict(X, fit_logistic(X, y, np.ones(200), 1.0, np.zeros(3, dtype=bool)))
    assert np.mean(1 / (1 + np.exp(-logits))) == pytest.approx(y.mean(), abs=1e-3)


def test_ridge_equals_scikit_learn(data: tuple[np.ndarray, np.ndarray]) -> None:
    """The closed form is scikit-learn's."""
    X, _ = data
    y = X @ [1.0, 2.0, 3.0, 4.0] + 5
    theirs = Ridge(alpha=3.0).fit(X, y)
    np.testing.assert_allclose(fit_ridge(X, y, np.ones(len(y)), 3.0), [*theirs.coef_, theirs.intercept_], atol=1e-6)


def test_missing_values_sit_at_the_mean_under_a_flag() -> None:
    """A column with gaps gets a flag; constant and empty columns become zeros."""
    raw = np.array([[1.0, 5.0, np.nan, 1.0], [3.0, 5.0, np.nan, np.nan]])
    standardizer = Standardizer.fit(raw)
    np.testing.assert_array_equal(standardizer.design(raw), [[-1, 0, 0, 0, 0], [1, 0, 0, 0, 1]])
    assert standardizer.names(("a", "b", "c", "d")) == ("a", "b", "c", "d", "d missing")


def test_recalibration_undoes_overconfidence() -> None:
    """Logits blown up threefold come back to a slope near a third."""
    rng = np.random.default_rng(3)
    logits = rng.normal(size=5_000) * 2
    y = (rng.random(5_000) < 1 / (1 + np.exp(-logits))).astype(float)
    slope, level = fit_platt(3 * logits, y, np.ones(5_000))
    assert slope == pytest.approx(1 / 3, abs=0.03)
    assert level == pytest.approx(0, abs=0.1)
