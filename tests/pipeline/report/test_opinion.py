"""The questions that every reviewer asks are answered on the page, from the run's own numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.report.render import render_report
from pipeline.report.summary import build_summary

if TYPE_CHECKING:
    from tests.pipeline.report.conftest import MakeInputs


def test_every_question_has_an_answer_and_a_section(make_inputs: MakeInputs) -> None:
    """Eight questions; each answer stands on the page and links to a section that exists."""
    summary = build_summary(make_inputs())
    page = render_report(summary)
    assert len(summary["answers"]) == 8
    for row in summary["answers"]:
        assert row["question"].endswith("?")
        assert f'<section id="{row["section"]}"' in page
    told = {row["question"]: row["answer"] for row in summary["answers"]}
    assert told["What went in?"].startswith("4,000 rows (")
    assert f"{summary['decisions']['num_near_threshold']:,} of" in told["How sure is that?"]
    assert "97.0% (95.5% to 98.5%)" in told["How sure is that?"]
    assert told["Who is hit?"].startswith("Source ")
    assert "seeds: audit 0" in told["How can it be repeated?"]


def test_what_was_not_measured_is_answered_too(make_inputs: MakeInputs) -> None:
    """An empty run without evaluation says what it does not know."""
    told = {row["question"]: row["answer"] for row in build_summary(make_inputs(0, evaluated=False))["answers"]}
    assert told["What will a model memorize?"] == "No row was scored for memorization."
    assert "was not measured" in told["How sure is that?"]
    assert told["Who is hit?"] == "No source has rows left to compare."
