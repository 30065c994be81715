"""The questions that every reviewer asks are answered on the page, from the run's own numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.report.limits import limits
from pipeline.report.opinion import answers
from pipeline.report.render import render_report
from pipeline.report.summary import build_summary

if TYPE_CHECKING:
    from tests.pipeline.report.conftest import MakeInputs


def test_every_question_has_an_answer_and_a_section(make_inputs: MakeInputs) -> None:
    """Nine questions; each answer stands on the page and links to a section that exists."""
    summary = build_summary(make_inputs())
    page = render_report(summary)
    assert len(summary["answers"]) == 9
    for row in summary["answers"]:
        assert row["question"].endswith("?")
        assert f'<section id="{row["section"]}"' in page
    told = {row["question"]: row["answer"] for row in summary["answers"]}
    assert told["What went in?"].startswith("4,000 rows (")
    assert f"{summary['decisions']['num_near_threshold']:,} of" in told["How sure is that?"]
    assert "97.0% (95.5% to 98.5%)" in told["How sure is that?"]
    assert told["Who is hit?"].startswith("Source ")
    assert "by the lower end of its interval" in told["What was decided?"]
    assert "trains on the unfiltered corpus" in told["What will a model memorize?"]
    assert all(
        line.split(":")[0].rstrip(".").lower() in told["What was not examined?"].lower() for line in summary["scope"]["not_examined"]
    )
    assert "seeds: audit 0" in told["How can it be repeated?"]


def test_what_was_not_measured_is_answered_too(make_inputs: MakeInputs) -> None:
    """An empty run without evaluation says what it does not know."""
    told = {row["question"]: row["answer"] for row in build_summary(make_inputs(0, evaluated=False))["answers"]}
    assert told["What will a model memorize?"] == "No row was scored for memorization."
    assert "was not measured" in told["How sure is that?"]
    assert told["Is there sensitive text?"] == "Nobody looked."
    assert told["Who is hit?"] == "No source has rows left to compare."


def test_a_single_source_does_not_move(make_inputs: MakeInputs) -> None:
    """Where all rows are of one source its share cannot change: what it lost is told instead."""
    summary = build_summary(make_inputs())
    shift = summary["decisions"]["shift"]
    only = {**shift["source"][0], "name": "only", "share_before": 1.0, "share_after": 1.0}
    summary["decisions"]["shift"] = {**shift, "source": [only]}
    told = {row["question"]: row["answer"] for row in answers(summary)}["Who is hit?"]
    assert told.startswith("All rows are of one source, only; ")
    assert "moves most" not in told
    assert "By length, texts of " in told


def test_rankings_ahead_of_the_score_and_undecided_scores_are_limits(make_inputs: MakeInputs) -> None:
    """What ranks better than the score is named, and a page full of undecided scores says so."""
    summary = build_summary(make_inputs())
    evaluation = summary["sinks"]["evaluation"]
    rows = [{"name": "sink_score", "average_precision": 0.5}, {"name": "-loss", "average_precision": 0.75}]
    evaluation["strata"] = [{"stratum": "all", "num_positive": 9, "is_judged": False, "predictors": rows}]
    evaluation["gain_over_rival"]["enough_data"] = False
    summary["decisions"]["share_near_threshold"] = 0.5
    told = {limit["title"]: limit["text"] for limit in limits(summary)}
    assert "better than the sink score (0.5): low loss 0.75." in told["Too few labels to compare with the simple rival"]
    assert told["Many scores are undecided"].startswith("For 50.0% of the scored rows")
    rows[1]["average_precision"] = 0.25
    summary["decisions"]["share_near_threshold"] = 0.1
    told = {limit["title"]: limit["text"] for limit in limits(summary)}
    assert "better than" not in told["Too few labels to compare with the simple rival"]
    assert "Many scores are undecided" not in told
