"""The report of a run that was decided again says from what, by whose orders, and what each came to."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import polars as pl
import pytest

import pipeline.report
from pipeline.report.applied import MAX_SHOWN, Applied, on_applied
from pipeline.report.render import render_report
from pipeline.report.summary import build_summary
from pipeline.tables import OVERRULED

if TYPE_CHECKING:
    from tests.pipeline.report.conftest import MakeInputs

FILES = [{"digest": "ab" * 16, "reviewer": "R. <i>Viewer</i>", "num_overrides": 3}]
ROWS = [
    (3, 0, "keep", "unique", "review", "A", "too late", False, None),
    (3, 1, "keep", "unique", "drop", "R. <i>Viewer</i>", "secret <script>", True, None),
    (4, 1, "drop", "exact_duplicate", "drop", "R. <i>Viewer</i>", "", True, 3),
    (5, 1, "review", "outside_support", "review", "R. <i>Viewer</i>", "", True, None),
]


def _summary(make_inputs: MakeInputs, rows: list[Any], files: list[dict[str, Any]]) -> dict[str, Any]:
    overruled = OVERRULED.check(pl.DataFrame(rows, schema=dict(OVERRULED.columns), orient="row"))
    return build_summary(replace(make_inputs(600), applied=Applied("demo-parent", files, overruled, 2)))


def test_orders_are_counted_by_what_they_came_to(make_inputs: MakeInputs) -> None:
    """One changed a decision, one confirmed, one gave way, one took a copy along; all are named, those that changed something first."""
    found = _summary(make_inputs, ROWS, FILES)["applied"]
    assert found["outcomes"] == {"overruled": 1, "confirmed": 1, "superseded": 1, "followed": 1}
    assert found["counts"] == [{"former_action": "keep", "action": "drop", "rows": 1}]
    assert [(row["doc_id"], row["outcome"]) for row in found["rows"]] == [
        (3, "overruled"),
        (5, "confirmed"),
        (3, "superseded"),
        (4, "followed"),
    ]


def test_the_page_names_reviewers_and_notes_and_nothing_acts(make_inputs: MakeInputs) -> None:
    """Parent, reviewer, note, and the rows to look at again; a reviewer's text is text."""
    page = render_report(_summary(make_inputs, ROWS, FILES))
    assert "demo-parent" in page
    assert "R. &lt;i&gt;Viewer&lt;/i&gt;" in page
    assert "secret &lt;script&gt;" in page
    assert page.count("<script>") == 1
    assert "2 rows of a text that a reviewer dropped stay" in page
    assert "Decided again" not in render_report(build_summary(make_inputs(600)))


@pytest.mark.parametrize(("rows", "files"), [(ROWS, FILES), ([], []), ([(n, 0, *ROWS[1][2:]) for n in range(500)], FILES)])
def test_every_form_fits_the_schema_and_the_page(make_inputs: MakeInputs, rows: list[Any], files: list[dict[str, Any]]) -> None:
    """Orders or settings alone, few or many: JSON in the declared shape, a bounded list, a page."""
    summary = _summary(make_inputs, rows, files)
    schema = json.loads((Path(pipeline.report.__path__[0]) / "summary.schema.json").read_text())
    jsonschema.Draft202012Validator(schema["properties"]["applied"]).validate(summary["applied"])
    assert len(summary["applied"]["rows"]) == min(len(rows), MAX_SHOWN)
    assert "Decided again" in render_report(summary)


def test_the_opinion_says_so_without_a_name(make_inputs: MakeInputs) -> None:
    """Markdown and mail carry the sentence, so neither reviewer nor note is in it."""
    (told,) = on_applied(_summary(make_inputs, ROWS, FILES)["applied"])
    assert told.endswith("Persons overruled decisions: drop 1, confirmed 1; 1 removed copies stay out with rows that were dropped.")
    assert on_applied(None) == []
    assert on_applied(_summary(make_inputs, [], [])["applied"])[0].endswith("nothing before the decisions was computed anew.")
