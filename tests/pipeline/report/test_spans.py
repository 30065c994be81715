"""Repeated spans are counted from the table, shown by the excerpt rules, and told with what the policy did."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import polars as pl
import pytest

import pipeline.report
from pipeline.report.markdown import render_markdown
from pipeline.report.render import render_report
from pipeline.report.spans import MAX_SPANS
from pipeline.report.summary import SummaryInputs, build_summary, shown_spans, wanted_excerpts
from pipeline.tables import REPEATED_SPANS

if TYPE_CHECKING:
    from tests.pipeline.report.conftest import MakeInputs, WithSpans

SCHEMA = json.loads((Path(pipeline.report.__path__[0]) / "summary.schema.json").read_text())


@pytest.fixture(scope="module")
def inputs(make_inputs: MakeInputs, with_spans: WithSpans) -> SummaryInputs:
    return with_spans(make_inputs())


@pytest.fixture(scope="module")
def summary(inputs: SummaryInputs) -> dict[str, Any]:
    return build_summary(inputs)


def test_spans_documents_and_text_are_counted_from_the_table(inputs: SummaryInputs, summary: dict[str, Any]) -> None:
    """Overlapping spans count their text once; shares are of what deduplication left."""
    assert inputs.spans is not None
    found, rows = summary["duplication"]["repeated_spans"], inputs.spans.rows(named=True)
    covered = {(row["doc_id"], at) for row in rows for at in range(row["start"], row["end"])}
    assert (found["num_spans"], found["num_bytes"]) == (len(rows), len(covered))
    assert len(covered) < sum(row["end"] - row["start"] for row in rows)
    hashes = [row["span_hash"] for row in rows]
    assert found["num_distinct"] == len(set(hashes))
    assert found["num_alone"] == sum(hashes.count(one) == 1 for one in hashes) > 0
    docs = {row["doc_id"] for row in rows}
    reasons = dict(inputs.decisions.select("doc_id", "reason").iter_rows())
    left = {doc: size for doc, size in inputs.ids.select("doc_id", "num_bytes").iter_rows() if reasons[doc] not in GONE}
    assert found["num_documents"] == len(docs)
    assert found["share_of_documents"] == pytest.approx(len(docs) / len(left), rel=1e-5)
    assert found["share_of_text"] == pytest.approx(len(covered) / sum(left.values()), rel=1e-5)


GONE = ("empty", "exact_duplicate", "near_duplicate")


def test_no_text_is_listed_twice(inputs: SummaryInputs) -> None:
    """Neighbouring pieces of one passage overlap; the page lists the most frequent of them."""
    assert inputs.spans is not None
    most = inputs.spans.sort("num_documents", descending=True).head(1)
    pieces = [most.with_columns(start=pl.col("start") + 5 * k, span_hash=pl.lit(bytes([k]) * 16)) for k in range(1, 4)]
    pieces = [piece.with_columns(num_documents=pl.col("num_documents") - k) for k, piece in enumerate(pieces, 1)]
    more = REPEATED_SPANS.check(pl.concat([pl.DataFrame(inputs.spans), *pieces]).unique(["doc_id", "start"]).sort("doc_id", "start"))
    found = build_summary(replace(inputs, spans=more))["duplication"]["repeated_spans"]
    assert found["num_spans"] == inputs.spans.height + 3
    listed = [(row["doc_id"], row["start"], row["end"]) for row in found["top"]]
    assert not any(a[0] == b[0] and a[1] < b[2] and b[1] < a[2] for k, a in enumerate(listed) for b in listed[:k])


def test_the_top_spans_stand_in_most_documents_and_name_the_first(inputs: SummaryInputs, summary: dict[str, Any]) -> None:
    """Most documents first; the document named is the first by content hash, and the place is the span's in it."""
    assert inputs.spans is not None
    top = summary["duplication"]["repeated_spans"]["top"]
    assert len(top) == MAX_SPANS
    assert [row["num_documents"] for row in top] == sorted((row["num_documents"] for row in top), reverse=True)
    hashes = dict(inputs.ids.select("doc_id", "content_hash").iter_rows())
    for shown in top:
        mine = [row for row in inputs.spans.rows(named=True) if row["span_hash"].hex() == shown["span_hash"]]
        first = min(mine, key=lambda row: hashes[row["doc_id"]])
        assert (shown["doc_id"], shown["start"], shown["end"]) == (first["doc_id"], first["start"], first["end"])
        assert (shown["num_places"], shown["num_holders"]) == (len(mine), len({row["doc_id"] for row in mine}))
        assert shown["content_hash"] == hashes[first["doc_id"]].hex()
    assert top[0]["num_documents"] == max(inputs.spans["num_documents"])


@pytest.mark.parametrize("policy", ["report", "mask", "trim"])
def test_page_and_markdown_say_what_the_policy_did(make_inputs: MakeInputs, with_spans: WithSpans, policy: str) -> None:
    """Rows and bytes stand on the page and in the schema's shape; the Markdown has a sentence and no name or text of the corpus."""
    summary = build_summary(with_spans(make_inputs(900), policy))
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(json.dumps(summary, allow_nan=False)))
    page, text = render_report(summary), render_markdown(summary)
    said = {
        "report": ("nothing was done", "Repeated spans are reported only", "document"),
        "mask": ("31 rows, 5.43 kB left out of the loss", "their bytes are listed in sink_mask_spans", "; 31 rows mask such text."),
        "trim": ("29 rows, 4.13 kB cut out", "4.13 kB of what is out were then cut", "; it was cut out of 29 rows."),
    }
    assert all(words in page for words in said[policy][:2])
    assert "passages of 32 words or more repeat" in text
    assert said[policy][2] in text
    assert ("mask such text" in text, "it was cut out of" in text) == (policy == "mask", policy == "trim")
    assert summary["decisions"]["policy"]["spans"] == policy


def test_nothing_found_and_not_looked_for_are_told_apart(inputs: SummaryInputs) -> None:
    """An empty table says that no passage repeats; none at all that nobody looked, under scope too."""
    empty = build_summary(replace(inputs, spans=REPEATED_SPANS.empty()))
    jsonschema.Draft202012Validator(SCHEMA).validate(empty)
    assert "No passage of 32 words or more stands in 3 documents" in render_report(empty)
    assert "No passage of 32 words or more repeats" in render_markdown(empty)
    assert not any("no span search" in line for line in empty["scope"]["not_examined"])
    facts = {key: value for key, value in inputs.facts.items() if key != "spans"}
    unknown = build_summary(replace(inputs, spans=None, facts=facts))
    assert unknown["duplication"]["repeated_spans"] is None
    assert "<b>Repeated spans</b>Not measured in this run." in render_report(unknown)
    assert any("no span search" in line for line in unknown["scope"]["not_examined"])


@pytest.mark.parametrize("max_rows", [1, 10, 200])
def test_shown_spans_stay_within_the_allowance(make_inputs: MakeInputs, with_spans: WithSpans, max_rows: int) -> None:
    """A tenth of report.max_rows is the number of spans with an excerpt, and their documents are asked for."""
    summary = build_summary(with_spans(make_inputs(report={"max_rows": max_rows})))
    shown = shown_spans(summary)
    assert len(shown) == min(max_rows // 10, MAX_SPANS)
    assert {span["doc_id"] for span in shown} <= set(wanted_excerpts(summary))


def test_excerpts_of_spans_are_the_span_redacted_or_absent(make_inputs: MakeInputs, with_spans: WithSpans) -> None:
    """Short masks what identifies, full shows the span and not a byte beside it, none shows no text at all."""
    secret = "kopf é " + "mail jane.doe@example.org <script>x</script> " + "rest" * 30
    pages = {}
    for mode in ("none", "short", "full"):
        made = with_spans(make_inputs(report={"excerpts": mode}))
        assert made.spans is not None
        moved = made.spans.filter(pl.col("start") == 0).with_columns(start=pl.lit(8, pl.Int64), end=pl.lit(8 + 44, pl.Int64))
        summary = build_summary(replace(made, spans=REPEATED_SPANS.check(moved)))
        summary["samples"] = []
        pages[mode] = render_report(summary, [{"doc_id": doc, "text": secret} for doc in range(4_000)])
        assert bool(shown_spans(summary)) == (mode != "none")
    assert "jane.doe" not in pages["none"] + pages["short"]
    assert "mail [email] &lt;script&gt;x&lt;/script&gt;</bdi>" in pages["short"]
    assert "jane.doe@example.org &lt;script&gt;x&lt;/script&gt;</bdi>" in pages["full"]
    assert not any("kopf" in page or "restrest" in page for page in pages.values())
    assert pages["none"].count("excerpts are off") >= MAX_SPANS
