"""Where a model abstains."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.risk.support import Support


@pytest.fixture
def rows() -> np.ndarray:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(500, 4))
    rows[:, 3] = rows[:, 0] + 0.1 * rows[:, 3]
    return rows


def test_fitted_rows_are_inside_up_to_the_quantile(rows: np.ndarray) -> None:
    """About one fitted row in a hundred lies beyond the 99th percentile."""
    assert 1 <= (~Support.fit(rows, 0.99).holds(rows)).sum() <= 6


def test_far_and_oddly_combined_rows_are_outside(rows: np.ndarray) -> None:
    """A value far out is outside, and so is an ordinary value that contradicts a correlated one."""
    odd = np.array([[20.0, 0, 0, 20.0], [2.0, 0, 0, -2.0], [0.0, 0, 0, 0.0]])
    assert Support.fit(rows, 0.999).holds(odd).tolist() == [False, False, True]


def test_a_gap_that_no_fitted_row_had_is_outside(rows: np.ndarray) -> None:
    """A missing value is a difference of its own, unless fitted rows missed it too."""
    gap = np.array([[np.nan, 0.0, 0.0, 0.0]])
    assert not Support.fit(rows, 0.999).holds(gap)[0]
    rows[::5, 0] = np.nan
    assert Support.fit(rows, 0.999).holds(gap)[0]


def test_a_feature_that_never_varied_allows_its_value_only() -> None:
    """A constant feature supports nothing but about its own value."""
    rows = np.column_stack([np.random.default_rng(1).normal(size=200), np.zeros(200)])
    assert Support.fit(rows, 0.999).holds(np.array([[0.0, 0.0], [0.0, 3.0]])).tolist() == [True, False]
