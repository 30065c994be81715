from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest

from pipeline.statistics import wilson_interval


@given(n=st.integers(1, 500), data=st.data())
def test_wilson_intervals_agree_with_scipy(n: int, data: st.DataObject) -> None:
    """Equal to scipy's for every count."""
    successes = data.draw(st.integers(0, n))
    oracle = binomtest(successes, n).proportion_ci(method="wilson")
    assert wilson_interval(successes, n) == pytest.approx((oracle.low, oracle.high), abs=1e-6)
    low, high = wilson_interval(successes, n)
    assert 0 <= low <= high <= 1


def test_nothing_observed_says_nothing() -> None:
    """No observation leaves every share possible."""
    assert wilson_interval(0, 0) == (0.0, 1.0)
