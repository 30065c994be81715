"""A bar's verdict follows its figure, its certainty the interval, and what stands in the way is said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.proof.verdicts import Limits, hold_to


@pytest.mark.parametrize(
    ("value", "low", "high", "verdict", "certain"),
    [(0.9, 0.85, 0.95, "met", True), (0.9, 0.7, 0.95, "met", False), (0.5, 0.4, 0.6, "missed", True), (0.5, 0.4, 0.9, "missed", False)],
)
def test_figure_and_interval(value: float, low: float, high: float, verdict: str, certain: bool) -> None:
    """The figure meets or misses; an interval over the limit makes it uncertain and the sentence says so."""
    bar = hold_to("A", {"value": value, "low": low, "high": high}, Limits(low=0.8, aim=0.9), lacking=None)
    assert (bar["verdict"], bar["is_certain"]) == (verdict, certain)
    assert bar["sentence"].startswith(f"A: {verdict} ({value:.3g}, interval {low:.3g} to {high:.3g}; at least 0.8 is asked, 0.9 the aim")
    assert ("reaches over the limit" in bar["sentence"]) is not certain


@given(st.floats(-2, 2), st.floats(-2, 2))
def test_a_missed_bar_is_outside_its_limits(value: float, limit: float) -> None:
    """Met and missed part the line exactly, and a strict limit leaves its own value out."""
    assert (hold_to("A", {"value": value, "low": None, "high": None}, Limits(high=limit), lacking=None)["verdict"] == "met") == (
        value <= limit
    )
    assert not Limits(low=limit, is_strict=True).hold(limit)


def test_what_stands_in_the_way_is_said() -> None:
    """Too little data and no figure are not misses."""
    few = hold_to("A", {"value": 0.1, "low": 0.0, "high": 0.2}, Limits(low=0.8), lacking="fewer than 50 positives")
    assert few["verdict"] == "not enough data"
    assert few["sentence"].endswith("fewer than 50 positives).")
    assert hold_to("A", None, Limits(low=0.8, high=1.25), lacking=None)["sentence"] == (
        "A: not enough data (no figure; 0.8 to 1.25 is asked; there is no figure)."
    )
