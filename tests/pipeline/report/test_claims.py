"""The page shows what the corpus says of popular claims and what memorized text takes of a model, or nothing of either."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.report.render import render_report
from pipeline.report.summary import build_summary

if TYPE_CHECKING:
    from tests.pipeline.report.conftest import MakeInputs


def test_claims_and_capacity_are_shown(make_inputs: MakeInputs) -> None:
    """Each claim stands with its answer and interval, each size with its bits, the planned size last."""
    page = render_report(build_summary(make_inputs(60)))
    claim = page.split("Popular claims")[1].split("</table>")[0]
    assert "Duplication accelerates memorization" in claim
    assert "0.27 to 0.35" in claim
    assert "not enough data" in claim
    capacity = page.split("What memorized text takes of a model")[1].split("</table>")[0]
    assert capacity.index("80 thousand") < capacity.index("10 million, extrapolated")
    assert '2 million<span class="sub">1 million to 3 million</span>' in capacity
    assert "capped at what the text itself costs" in page


def test_nothing_is_claimed_of_a_run_without_proxies(make_inputs: MakeInputs) -> None:
    """Without an evaluation there are no findings and no tables of them."""
    summary = build_summary(make_inputs(60, evaluated=False))
    assert summary["sinks"]["evaluation"]["hypotheses"] == []
    assert summary["sinks"]["evaluation"]["capacity_tax"]["sizes"] == []
    page = render_report(summary)
    assert "Popular claims" not in page
    assert "What memorized text takes" not in page
