"""References are told with what was removed for them, and their copies are no overlap between the corpus's own sources."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import polars as pl
import pytest

import pipeline.report
from pipeline.report.render import render_report
from pipeline.report.summary import SummaryInputs, build_summary
from pipeline.tables import REFERENCE_DOCUMENTS, REMOVALS

if TYPE_CHECKING:
    from tests.pipeline.report.conftest import MakeInputs

SCHEMA = json.loads((Path(pipeline.report.__path__[0]) / "summary.schema.json").read_text())
CORPORA = [
    {"name": "quiz <b>.jsonl", "kind": "files", "digest": "aa" * 16, "num_documents": 1_319},
    {"name": "night-1", "kind": "run", "digest": "bb" * 16, "num_documents": 40_021},
    {"name": "night-2", "kind": "run", "digest": "cc" * 16, "num_documents": 7},
]


@pytest.fixture(scope="module")
def inputs(make_inputs: MakeInputs) -> SummaryInputs:
    """Return an audit in which every third removal was for a reference: for the first two by turns, for the last none."""
    made = make_inputs(reference={"paths": ["quiz.jsonl"], "runs": ["night-1", "night-2"]})
    removals = made.removals.sort("doc_id").with_row_index("at")
    kept = pl.when(pl.col("at") % 3 == 0).then(-1 - pl.col("at").cast(pl.Int64)).otherwise(pl.col("kept_doc_id"))
    removals = removals.with_columns(kept_doc_id=kept)
    named = removals.filter(pl.col("kept_doc_id") < 0).select(doc_id="kept_doc_id", at="at")
    documents = named.select(
        "doc_id",
        reference=pl.when(pl.col("at") % 2 == 0).then(pl.lit("aa" * 16)).otherwise(pl.lit("bb" * 16)),
        source=pl.lit("quiz"),
        source_id=pl.col("at").cast(pl.String),
        content_hash=pl.lit(b"h" * 16),
        num_bytes=pl.lit(100, pl.Int64),
        num_shingles=pl.lit(10, pl.Int64),
    )
    return replace(
        made,
        removals=REMOVALS.check(removals.drop("at")),
        references=CORPORA,
        reference_documents=REFERENCE_DOCUMENTS.check(documents),
    )


@pytest.fixture(scope="module")
def summary(inputs: SummaryInputs) -> dict[str, Any]:
    return build_summary(inputs)


def test_each_reference_counts_the_rows_that_went_for_it(inputs: SummaryInputs, summary: dict[str, Any]) -> None:
    """Exact and near copies by corpus, in the order given; a corpus that nothing copies says so."""
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(json.dumps(summary, allow_nan=False)))
    assert inputs.reference_documents is not None
    corpus_of = dict(inputs.reference_documents.select("doc_id", "reference").iter_rows())
    reasons = dict(inputs.decisions.select("doc_id", "reason").iter_rows())
    went = [(corpus_of[kept], reasons[doc]) for doc, kept in inputs.removals.select("doc_id", "kept_doc_id").iter_rows() if kept < 0]
    for told, given in zip(summary["duplication"]["references"], CORPORA, strict=True):
        wanted = [went.count((given["digest"], reason)) for reason in ("exact_duplicate", "near_duplicate")]
        assert ([told["exact"], told["near"]], told["rows"]) == (wanted, sum(wanted))
        assert told["num_documents"] == given["num_documents"]
    first, second, third = (told["rows"] for told in summary["duplication"]["references"])
    assert first > 0 < second
    assert third == 0
    assert summary["duplication"]["rows_of_references"] == first + second


def test_copies_of_references_are_no_overlap(inputs: SummaryInputs, summary: dict[str, Any]) -> None:
    """The matrix counts rows removed for another row of the corpus, and those alone."""
    overlap = summary["duplication"]["overlap"]
    assert sum(map(sum, overlap["rows"])) == inputs.removals.filter(pl.col("kept_doc_id") >= 0).height


def test_the_page_tells_references_only_where_there_are_any(summary: dict[str, Any], make_inputs: MakeInputs) -> None:
    """With references: a table, names escaped, and what such a comparison does not see; without: that nothing else was compared with."""
    page = render_report(summary, [])
    assert "Copies of references" in page
    assert "quiz &lt;b&gt;.jsonl" in page
    assert "Parts of references inside longer rows" in page
    assert f"({summary['duplication']['rows_of_references']:,} of them for a document of a reference)" in summary["opinion"][1]
    alone = render_report(build_summary(make_inputs()), [])
    assert "Copies of references" not in alone
    assert "only this corpus was compared with itself" in alone
