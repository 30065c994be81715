"""The rows that a person should look at are picked by stated grounds, each once, and can be named in an override."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from pipeline.report.render import render_report
from pipeline.report.samples import SHARES
from pipeline.report.summary import SummaryInputs, build_summary, wanted_excerpts
from pipeline.report.wording import GROUNDS
from pipeline.tables import DECISIONS, REFERENCE_DOCUMENTS, REMOVALS

if TYPE_CHECKING:
    from tests.pipeline.report.conftest import MakeInputs, WithSpans


@pytest.fixture(scope="module")
def inputs(make_inputs: MakeInputs, with_spans: WithSpans) -> SummaryInputs:
    return with_spans(make_inputs())


@pytest.fixture(scope="module")
def rows(inputs: SummaryInputs) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = build_summary(inputs)["samples"]
    return found


def _flagged(rows: list[dict[str, Any]], flag: str) -> list[dict[str, Any]]:
    return [row for row in rows if flag in row["flags"]]


def test_each_row_stands_once_with_its_grounds(rows: list[dict[str, Any]]) -> None:
    """Two hundred different rows; each ground fills its part as far as it holds, and first grounds come in the order of the page."""
    assert len({row["doc_id"] for row in rows}) == len(rows) == 200
    held = {flag: len(_flagged(rows, flag)) for flag in SHARES}
    assert all(held[flag] >= int(200 * SHARES[flag]) for flag in ("review", "sink", "near_copy", "cluster"))
    assert held["span"] > 0 < held["undecided"]
    first = [list(SHARES).index(row["flags"][0]) for row in rows]
    assert first == sorted(first)
    assert set(GROUNDS) == set(SHARES)


def test_rows_are_those_that_their_grounds_name(inputs: SummaryInputs, rows: list[dict[str, Any]]) -> None:
    """Each list is what sorting and filtering the tables gives."""
    left = inputs.decisions.filter(~pl.col("reason").is_in(["empty", "exact_duplicate", "near_duplicate"])).select("doc_id")
    judged = inputs.scores.join(left, on="doc_id")
    best = judged.group_by("cluster_id").agg(pl.col("sink_score").max()).sort("sink_score", descending=True)["sink_score"]
    sinks = [row["score"]["value"] for row in rows if row["flags"][0] == "sink"]
    assert sinks == sorted(sinks, reverse=True)
    assert max(row["score"]["value"] for row in _flagged(rows, "sink")) == pytest.approx(best[0], rel=1e-5)
    assert all(row["score"]["low"] < 0.5 <= row["score"]["high"] for row in _flagged(rows, "undecided"))
    distances = [abs(row["score"]["value"] - 0.5) for row in rows if row["flags"][0] == "undecided"]
    assert distances == sorted(distances)
    assert max(row["cluster_size"] for row in _flagged(rows, "cluster")) == inputs.clusters["cluster_size"].max()
    assert {row["action"] for row in _flagged(rows, "review")} == {"review"}


def test_borderline_copies_name_what_was_kept(inputs: SummaryInputs, rows: list[dict[str, Any]]) -> None:
    """The near copies least like what stays come first, each with the kept row, its hashes and the similarity."""
    near = [row for row in rows if row["flags"][0] == "near_copy"]
    wanted = inputs.removals.filter(pl.col("reason") == "near_duplicate").join(
        inputs.decisions.filter(pl.col("reason") == "near_duplicate"), on="doc_id", how="semi"
    )
    assert [row["jaccard"] for row in near] == pytest.approx(wanted["jaccard"].sort().head(len(near)).to_list(), rel=1e-5)
    hashes = {doc: (content.hex(), row.hex()) for doc, content, row in inputs.ids.select("doc_id", "content_hash", "row_hash").iter_rows()}
    for row in near:
        assert row["kept"]["doc_id"] == row["kept_doc_id"]
        assert (row["kept"]["content_hash"], row["kept"]["row_hash"]) == hashes[row["kept_doc_id"]]
    assert all(row["kept"] is None for row in rows if row["kept_doc_id"] is None)


def test_rows_carry_what_an_override_needs(inputs: SummaryInputs, rows: list[dict[str, Any]]) -> None:
    """doc_id and both hashes, whole, equal the ledger's."""
    hashes = {doc: (content.hex(), row.hex()) for doc, content, row in inputs.ids.select("doc_id", "content_hash", "row_hash").iter_rows()}
    assert all((row["content_hash"], row["row_hash"]) == hashes[row["doc_id"]] for row in rows)


def test_copies_of_references_name_the_reference(inputs: SummaryInputs) -> None:
    """A row that went for a document of a reference names it; that text is not asked for, since it is not in the corpus."""
    near = inputs.removals.filter(pl.col("reason") == "near_duplicate").sort("jaccard").head(1)
    swapped = (
        pl.when(pl.col("doc_id") == near["doc_id"][0]).then(pl.lit(-7, pl.Int64)).otherwise(pl.col("kept_doc_id")).alias("kept_doc_id")
    )
    one = {
        "doc_id": -7,
        "reference": "aa",
        "source": "quiz",
        "source_id": "q1",
        "content_hash": b"h" * 16,
        "num_bytes": 9,
        "num_shingles": 1,
    }
    documents = REFERENCE_DOCUMENTS.check(pl.DataFrame([one], schema=dict(REFERENCE_DOCUMENTS.columns)))
    summary = build_summary(
        replace(
            inputs,
            removals=REMOVALS.check(inputs.removals.with_columns(swapped)),
            decisions=DECISIONS.check(inputs.decisions.with_columns(swapped)),
            reference_documents=documents,
        )
    )
    (row,) = (row for row in summary["samples"] if row["doc_id"] == near["doc_id"][0])
    assert (row["kept"]["source"], row["kept"]["source_id"], row["kept"]["row_hash"]) == ("quiz", "q1", None)
    assert min(wanted_excerpts(summary)) >= 0
    assert "Kept instead: <b>quiz</b> q1" in render_report(summary)


@pytest.mark.parametrize("max_rows", [1, 10, 200])
def test_rows_shown_stay_within_the_limit(make_inputs: MakeInputs, max_rows: int) -> None:
    """At most report.max_rows rows; excerpts are asked for these and for the copies kept instead, for none if they are off."""
    summary = build_summary(make_inputs(report={"max_rows": max_rows}))
    rows = summary["samples"]
    assert len(rows) == max_rows
    kept = {row["kept"]["doc_id"] for row in rows if row["kept"]}
    assert wanted_excerpts(summary) == sorted({row["doc_id"] for row in rows} | kept)
    assert wanted_excerpts(build_summary(make_inputs(report={"excerpts": "none", "max_rows": max_rows}))) == []


def test_small_corpora_show_all_they_have(make_inputs: MakeInputs) -> None:
    """Fewer rows than the limit are shown once each, and no rows at all is said."""
    assert len(build_summary(make_inputs(12))["samples"]) <= 12
    empty = build_summary(make_inputs(0, evaluated=False))
    assert empty["samples"] == []
    assert "There are none: no row was scored, copied or put under review." in render_report(empty)
