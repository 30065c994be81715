"""Charts place marks where the data are, carry their words and data, and stay small."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.report.evidence_figures import calibration, precision_recall, precision_recall_by_copies, scale_slope, trajectories
from pipeline.report.figures import row_flow, shift, source_overlap, what_if
from pipeline.report.measures import MAX_POINTS, histogram, interval, thin, tidy
from pipeline.report.plot import Scale, linear, logarithmic
from pipeline.report.render import draw_figures
from pipeline.report.summary import build_summary

if TYPE_CHECKING:
    from tests.pipeline.report.conftest import MakeInputs

FINITE = st.floats(-1e9, 1e9, allow_nan=False)


@pytest.fixture(scope="module")
def summary(make_inputs: MakeInputs) -> dict[str, Any]:
    return build_summary(make_inputs())


def test_every_chart_has_words_data_and_bounded_shapes(summary: dict[str, Any]) -> None:
    """All seventeen charts are drawn, each with a title, a finding and a table whose rows fit its columns."""
    figures = draw_figures(summary)
    assert len(figures) == 17
    for figure in figures.values():
        assert figure is not None
        assert figure.title
        assert figure.finding.endswith(".")
        assert figure.rows
        assert all(len(row) == len(figure.columns) for row in figure.rows)
        assert len(figure.shapes) < 600


def test_marks_stay_inside_the_drawing(summary: dict[str, Any]) -> None:
    """Bars, lines and signs have coordinates within width and height."""
    for figure in draw_figures(summary).values():
        assert figure is not None
        for shape in figure.shapes:
            for key, limit in (("x", figure.width), ("cx", figure.width), ("y", figure.height), ("cy", figure.height)):
                assert -1 <= float(shape.attributes.get(key, 0)) <= limit + 1, (figure.key, shape)


def test_nothing_measured_draws_nothing(make_inputs: MakeInputs) -> None:
    """Without rows and evaluation there is no chart rather than an empty one."""
    empty = make_inputs(0, evaluated=False)
    figures = draw_figures(build_summary(empty))
    assert {key for key, figure in figures.items() if figure is not None} <= {"band_curve"}


def test_bars_are_as_long_as_their_rows(summary: dict[str, Any]) -> None:
    """In the flow the bar of a step is its share of the first one's length."""
    figure = row_flow(summary["flow"])
    assert figure is not None
    bars = [float(shape.attributes["width"]) for shape in figure.shapes if shape.attributes["class"].startswith("bar")]
    steps = [step for step in summary["flow"]["steps"] if step["rows"]]
    for bar, step in zip(bars, steps, strict=True):
        assert bar == pytest.approx(max(bars[0] * step["rows"] / steps[0]["rows"], 1.5), abs=0.2)


def test_hostile_source_names_stay_text(summary: dict[str, Any]) -> None:
    """A chart keeps names as text of a shape, never as markup."""
    copies = {**summary["duplication"], "overlap": {"sources": ["<b>", "x"], "rows": [[1, 2], [0, 3]], "num_rows": 6, "num_across": 2}}
    figure = source_overlap(copies)
    assert figure is not None
    assert "<b>" in {shape.text for shape in figure.shapes}


def test_long_curves_are_binned(summary: dict[str, Any]) -> None:
    """Five thousand points of a curve are drawn as at most two hundred, in the table as about forty."""
    points = [[i / 5_000, 1 - i / 5_000] for i in range(5_000)]
    curve = {"predictor": "p", "stratum": "all", "points": thin(points)}
    evaluation = {**summary["sinks"]["evaluation"], "precision_recall": [curve]}
    figure = precision_recall(evaluation)
    assert figure is not None
    path = next(shape for shape in figure.shapes if shape.attributes["class"] == "line s1" and shape.tag == "path")
    assert path.attributes["d"].count("L") < MAX_POINTS
    assert len(figure.rows) <= 41


def test_partial_evaluations_are_drawn_or_left_out(summary: dict[str, Any]) -> None:
    """One point, one group, or nothing at all never raises."""
    bare = {**summary["sinks"]["evaluation"], "trajectories": [{"group": "sinks", "points": [[1.0, 2.0]]}, {"group": "x", "points": []}]}
    assert trajectories(bare) is not None
    assert calibration({"calibration": {"bins": []}}) is None
    assert what_if({**summary["decisions"], "what_if": []}) is None


def test_strata_are_drawn_where_they_hold_both_kinds(summary: dict[str, Any]) -> None:
    """Strata of copies stand side by side; one in which every cluster is memorized has no ranking to show, nor has the pooled one."""
    figure = precision_recall_by_copies(summary["sinks"]["evaluation"])
    assert figure is not None
    assert {row[0] for row in figure.rows} == {"copies 1", "copies 2-5"}
    assert [shape.text for shape in figure.shapes if shape.attributes["class"] == "row"] == ["copies 1", "copies 2-5"]


def test_the_target_stands_on_the_scale_slope(summary: dict[str, Any]) -> None:
    """The size that scores are for is drawn to scale, to the right of all that was measured."""
    figure = scale_slope(summary["sinks"]["evaluation"], 1e7)
    assert figure is not None
    (rule,) = (shape for shape in figure.shapes if shape.attributes["class"] == "rule")
    marks = [float(shape.attributes["cx"]) for shape in figure.shapes if shape.tag == "circle"]
    assert max(marks) < float(rule.attributes["x1"])
    assert "nothing was measured" in figure.finding


def test_calibration_has_the_interval_of_every_bin(summary: dict[str, Any]) -> None:
    """Each observed share lies within its Wilson interval, which is narrower where there are more clusters."""
    bins = summary["sinks"]["evaluation"]["calibration"]["bins"]
    assert all(0 <= bin_["low"] <= bin_["observed"] <= bin_["high"] <= 1 for bin_ in bins)
    assert bins[0]["high"] - bins[0]["low"] < bins[-1]["high"] - bins[-1]["low"]
    assert calibration(summary["sinks"]["evaluation"]) is not None


def test_many_groups_are_drawn_in_part_and_told_whole(summary: dict[str, Any]) -> None:
    """Of forty groups twelve are drawn and the finding says so; the table beside has them all."""
    group = {"rows": 5, "effective": 4.0, "share_before": 0.025, "share_after": 0.03}
    figure = shift([{"name": f"s{number}", **group} for number in range(40)], "language")
    assert figure is not None
    assert "The first 12 of 40 are drawn." in figure.finding
    assert len(figure.rows) == 40


def test_tokens_on_the_what_if_curve_give_way_to_bytes(summary: dict[str, Any]) -> None:
    """The curve is drawn over tokens; where a corpus has none counted, over bytes, and says which."""
    assert "of the tokens" in str(what_if(summary["decisions"]))
    rows = [{**row, "tokens": None, "share_tokens": None} for row in summary["decisions"]["what_if"]]
    assert "of the bytes" in str(what_if({**summary["decisions"], "what_if": rows}))


@given(st.lists(FINITE, min_size=1), st.floats(0, 1000))
def test_linear_scales_hold_their_values(values: list[float], start: float) -> None:
    """Every value lies within the range, ticks are few, rising and inside."""
    scale = linear(values, start, start + 300)
    assert all(start <= scale(value) <= start + 300.001 for value in values)
    ticks = scale.ticks()
    assert ticks == sorted(ticks)
    assert len(ticks) <= 12


@given(st.lists(st.floats(1e-6, 1e12), min_size=1))
def test_logarithmic_scales_hold_their_values(values: list[float]) -> None:
    """The same on a logarithmic axis, with at least one tick to read it by."""
    scale = logarithmic(values, 300, 0)
    assert all(0 <= scale(value) <= 300 for value in values)
    assert 1 <= len(scale.ticks()) <= 8


def test_values_outside_the_domain_are_clamped() -> None:
    """Nothing is drawn outside the panel."""
    assert Scale(0, 1, 10, 20)(5) == 20
    assert Scale(1, 100, 0, 10, is_log=True)(0) == 0


@given(st.lists(st.tuples(FINITE, FINITE), max_size=500))
def test_thinning_keeps_the_mean_of_long_curves(points: list[tuple[float, float]]) -> None:
    """Short curves pass unchanged; long ones keep order and number."""
    kept = thin(points)
    assert len(kept) == min(len(points), MAX_POINTS)
    if len(points) <= MAX_POINTS:
        assert kept == [list(point) for point in points]


def test_small_values_of_a_summary() -> None:
    """NaN and infinity become None, bytes hexadecimal, bare numbers intervals without bounds."""
    assert tidy({"a": [float("nan"), float("inf"), b"\x01", 1 / 3]}) == {"a": [None, None, "01", 0.333333]}
    assert interval(0.5) == {"value": 0.5, "low": None, "high": None}
    assert interval(None)["value"] is None


def test_histogram_counts_both_ends() -> None:
    """The last bin holds its upper edge; what is not finite is not counted."""
    bins = histogram(np.array([0.0, 0.5, 1.0, np.nan]), np.linspace(0, 1, 3))
    assert [bin_["count"] for bin_ in bins] == [1, 2]
