"""The plain page of a validation says every verdict and which came first."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.report.validation import render_validation


def _values(*, came_first: bool) -> dict[str, Any]:
    order = {"frozen": "2026-01-01", "predictions": "ab12", "predictions_came_first": came_first}
    cost = {"flops_share": 0.07, "is_target_measured": False, "target_parameters": 3_559_296, "size_gap": 23.7, "token_visit_share": 0.12}
    bars = [{"verdict": "missed", "sentence": "A <b>bar</b>: missed."}, {"verdict": "met", "sentence": "Another: met."}]
    return {"order": {**order, "num_trained_before": 8, "num_begun_before": 1}, "efficiency": cost, "bars": bars, "limits": ["None."]}


@pytest.mark.parametrize("came_first", [True, False])
def test_the_page_tells_misses_and_the_order_of_events(came_first: bool) -> None:
    """Sentences are escaped, a miss is shown, and predictions that came after targets are not passed off as first."""
    page = render_validation("demo", _values(came_first=came_first))
    assert "<li class=missed>A &lt;b&gt;bar&lt;/b&gt;: missed.</li>" in page
    assert ("before any target was trained" in page) == came_first
    assert ("when 8 target(s) were trained and 1 begun" in page) != came_first
    assert "7.0% of one target" in page
