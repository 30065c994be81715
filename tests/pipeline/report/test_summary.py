"""The summary counts what the ledger holds, in a fixed shape, and says what it does not know."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import numpy as np
import polars as pl
import pytest

import pipeline.report
from pipeline.report.render import MAX_BYTES, render_report
from pipeline.report.summary import SummaryInputs, build_summary, wanted_excerpts

if TYPE_CHECKING:
    from tests.pipeline.report.conftest import MakeInputs, WithSpans

SCHEMA = json.loads((Path(pipeline.report.__path__[0]) / "summary.schema.json").read_text())


@pytest.fixture(scope="module")
def inputs(make_inputs: MakeInputs, with_spans: WithSpans) -> SummaryInputs:
    return with_spans(make_inputs())


@pytest.fixture(scope="module")
def summary(inputs: SummaryInputs) -> dict[str, Any]:
    return build_summary(inputs)


def _validate(summary: dict[str, Any]) -> None:
    jsonschema.Draft202012Validator(SCHEMA).validate(json.loads(json.dumps(summary, allow_nan=False)))


def test_the_schema_is_sound() -> None:
    """The shipped schema is itself valid JSON Schema 2020-12."""
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


@pytest.mark.parametrize("settings", [{}, {"release": {"policy": "drop", "hold_review": True}}, {"report": {"max_rows": 1}}])
def test_every_summary_fits_the_schema(make_inputs: MakeInputs, settings: dict[str, Any]) -> None:
    """Whatever the settings, the summary is JSON without NaN and in the declared shape."""
    _validate(build_summary(make_inputs(900, **settings)))


@pytest.mark.parametrize("num_rows", [0, 1, 12])
def test_tiny_corpora_without_evaluation_still_have_a_summary(make_inputs: MakeInputs, num_rows: int) -> None:
    """With next to no rows and no facts every figure is a number or None."""
    bare = replace(make_inputs(num_rows, evaluated=False), facts={}, gates=(), band_curve=(), timing=(), digests={}, environment={})
    summary = build_summary(bare)
    _validate(summary)
    assert summary["sinks"]["evaluation"]["label_reliability"]["value"] is None
    assert summary["gates"]["verdict"] == "pass"


def test_rows_in_are_rows_out_plus_rows_removed(summary: dict[str, Any], inputs: SummaryInputs) -> None:
    """Rows, bytes and tokens add up over steps, in total and by source, and equal the ledger's."""
    first, *rest = summary["flow"]["steps"]
    assert first["rows"] == inputs.ids.height == sum(step["rows"] for step in rest)
    assert first["bytes"] == inputs.ids["num_bytes"].sum() == sum(step["bytes"] for step in rest)
    assert abs(first["tokens"] - sum(step["tokens"] for step in rest)) <= len(rest)
    for source in summary["flow"]["by_source"]:
        mine = inputs.ids.filter(pl.col("source") == source["source"])
        assert source["in"] == mine.height == sum(source[key] for key in ("empty", "exact", "near", "sink", "other", "kept"))
    dropped = inputs.decisions.filter(pl.col("action") == "drop").height
    assert rest[-1]["rows"] == inputs.ids.height - dropped


def test_held_reviews_leave_the_filtered_data(make_inputs: MakeInputs) -> None:
    """With hold_review the rows under review count as taken by the sink policy."""
    held = make_inputs(release={"hold_review": True})
    steps = {step["step"]: step["rows"] for step in build_summary(held)["flow"]["steps"]}
    assert steps["sink"] == held.decisions.filter(pl.col("action") == "review").height


def test_sources_beyond_the_limit_share_one_line(make_inputs: MakeInputs) -> None:
    """A thousand sources still give a table that adds up."""
    inputs = make_inputs()
    many = replace(inputs, ids=inputs.ids.with_columns(source=pl.format("s{}", pl.col("doc_id") % 1_000)))
    summary = build_summary(many)
    assert len(summary["flow"]["by_source"]) == 41
    assert sum(row["in"] for row in summary["flow"]["by_source"]) == inputs.ids.height
    assert np.sum(summary["duplication"]["overlap"]["rows"]) == inputs.removals.height


def test_removed_pairs_stand_in_the_overlap_once(summary: dict[str, Any], inputs: SummaryInputs) -> None:
    """The overlap matrix counts each removal by both of its sources."""
    overlap = summary["duplication"]["overlap"]
    source = dict(inputs.ids.select("doc_id", "source").iter_rows())
    wanted = [[0] * len(overlap["sources"]) for _ in overlap["sources"]]
    for doc_id, kept in inputs.removals.select("doc_id", "kept_doc_id").iter_rows():
        wanted[overlap["sources"].index(source[doc_id])][overlap["sources"].index(source[kept])] += 1
    assert overlap["rows"] == wanted


def test_clusters_and_pairs_are_all_counted(summary: dict[str, Any], inputs: SummaryInputs) -> None:
    """Histograms lose nothing."""
    copies = summary["duplication"]
    assert sum(bin_["count"] for bin_ in copies["jaccard_histogram"]) == inputs.duplicate_pairs.height
    assert sum(row["rows"] for row in copies["cluster_sizes"]) == inputs.clusters.filter(pl.col("cluster_size") > 1).height


def test_what_if_agrees_with_a_plain_filter(summary: dict[str, Any], inputs: SummaryInputs) -> None:
    """At every threshold rows and expected memorization are what filtering and summing gives."""
    left = inputs.decisions.filter(~pl.col("reason").is_in(["empty", "exact_duplicate", "near_duplicate"]))
    judged = inputs.scores.join(left, on="doc_id", how="semi")
    for row in summary["decisions"]["what_if"][::10]:
        above = judged.filter(pl.col("sink_score") >= row["threshold"] - 1e-12)
        assert row["rows"] == above.height
        assert row["expected_memorized"] == pytest.approx(float(above["sink_score"].sum()), rel=1e-5)
    assert summary["decisions"]["what_if"][0]["share_memorized"] == 1.0


def test_order_of_rows_does_not_matter(inputs: SummaryInputs, summary: dict[str, Any]) -> None:
    """Shuffled frames give the same summary."""
    names = ("ids", "clusters", "removals", "duplicate_pairs", "scores", "decisions", "proxies", "spans")
    shuffled: dict[str, Any] = {name: getattr(inputs, name).sample(fraction=1.0, shuffle=True, seed=3) for name in names}
    assert json.dumps(build_summary(replace(inputs, **shuffled))) == json.dumps(summary)


def test_only_timing_differs_between_equal_runs(inputs: SummaryInputs, summary: dict[str, Any]) -> None:
    """Seconds and the time of the end reach `timing` and nothing else."""
    later = replace(inputs, finished="2031-01-01", timing=[{**row, "seconds": 99.0} for row in inputs.timing])
    again = build_summary(later)
    assert again.pop("timing") != summary["timing"]
    assert again == {key: value for key, value in summary.items() if key != "timing"}


def test_tokens_are_counted_where_every_document_has_them(inputs: SummaryInputs) -> None:
    """Counted tokens win over estimates; a few unknown ones are estimated at the rate of the known."""
    counted = replace(inputs, ids=inputs.ids.with_columns(num_tokens=pl.col("num_bytes") // 4))
    flow = build_summary(counted)["flow"]
    assert (flow["tokens_basis"], flow["steps"][0]["tokens"]) == ("counted", int((inputs.ids["num_bytes"] // 4).sum()))
    holes = replace(inputs, ids=inputs.ids.with_columns(num_tokens=pl.when(pl.col("doc_id") > 5).then(pl.col("num_bytes")).cast(pl.Int64)))
    flow = build_summary(holes)["flow"]
    assert (flow["tokens_basis"], flow["steps"][0]["tokens"]) == ("estimated", inputs.ids["num_bytes"].sum())


@pytest.mark.parametrize(
    ("status", "severity", "verdict", "outcome"),
    [
        ("fail", "error", "fail", "fail"),
        ("fail", "warn", "warn", "warn"),
        ("warn", "warn", "warn", "warn"),
        ("not_measured", "error", "pass", "not_measured"),
        ("PASS", "error", "pass", "pass"),
    ],
)
def test_gates_make_the_verdict(inputs: SummaryInputs, status: str, severity: str, verdict: str, outcome: str) -> None:
    """A failed gate fails the audit if it is an error, else it warns; a verdict already drawn is taken over."""
    gates = [{"name": "g", "value": 1, "limit": 2, "severity": severity, "status": status, "meaning": "share of things"}]
    found = build_summary(replace(inputs, gates=gates))["gates"]
    assert (found["verdict"], found["gates"][0]["outcome"], found["gates"][0]["meaning"]) == (verdict, outcome, "Share of things.")
    assert build_summary(replace(inputs, gates=gates, verdict="FAIL"))["gates"]["verdict"] == "fail"


def test_a_waived_gate_lowers_no_verdict_and_is_shown(inputs: SummaryInputs) -> None:
    """Who waived it, why and until when stands beside it; a waiver that is past changes nothing and is shown, too."""
    waiver = {"until": "2027-06-30", "approver": "R. Roe\u202e", "reason": "templates", "state": "in_force", "waived": "fail"}
    gate = {"name": "g", "severity": "error", "status": "waived", "waiver": waiver, "meaning": "m", "where": "source 'x'", "min_n": 20}
    found = build_summary(replace(inputs, gates=[gate]))
    _validate(found)
    (told,) = found["gates"]["gates"]
    assert (found["gates"]["verdict"], told["outcome"], told["waiver"]["approver"]) == ("pass", "waived", "R. Roe⟨U+202E⟩")
    assert (told["where"], told["min_n"], found["gates"]["tally"]["waived"]) == ("source 'x'", 20, 1)
    past = {**gate, "status": "fail", "waiver": {**waiver, "state": "expired"}}
    found = build_summary(replace(inputs, gates=[past]))
    _validate(found)
    assert (found["gates"]["verdict"], found["gates"]["gates"][0]["waiver"]["state"]) == ("fail", "expired")


def test_limits_speak_of_this_run(summary: dict[str, Any], make_inputs: MakeInputs) -> None:
    """Thin strata and missing comparisons are named; what was measured is not complained about."""
    titles = {limit["title"]: limit["text"] for limit in summary["limits"]}
    assert "copies 2-5 (38 memorized)" in titles["Strata without enough data"]
    assert "No comparison with the simple rival" not in titles
    bare = {limit["title"] for limit in build_summary(make_inputs(evaluated=False))["limits"]}
    assert {"No comparison with the simple rival", "Recall of deduplication is theoretical"} <= bare


def test_the_evaluation_is_found_nested_too(inputs: SummaryInputs, summary: dict[str, Any]) -> None:
    """Scores' facts may be the evaluation or hold it."""
    nested = replace(inputs, facts={**inputs.facts, "scores": {"evaluation": inputs.facts["scores"], "notes": []}})
    assert build_summary(nested)["sinks"]["evaluation"] == summary["sinks"]["evaluation"]


def test_changes_compare_with_the_last_run(inputs: SummaryInputs, summary: dict[str, Any], make_inputs: MakeInputs) -> None:
    """Figures then and now and the settings that differ are listed; without a last run there is nothing."""
    other = build_summary(replace(make_inputs(500, dedup={"threshold": 0.7}), previous=summary))
    _validate(other)
    assert {"setting": "dedup.threshold", "before": "0.8", "now": "0.7"} in other["changes"]["settings"]
    assert {"label": "Rows in", "kind": "count", "before": 4_000, "now": 500} in other["changes"]["figures"]
    assert summary["changes"] is None


def test_names_from_the_corpus_hide_nothing(inputs: SummaryInputs) -> None:
    """Sources and ids with escapes or direction overrides are spelled out in the summary itself."""
    hostile = replace(inputs, ids=inputs.ids.with_columns(source=pl.lit("evil\u202e\x1b[31m"), source_id=pl.lit("x\u200b" * 90)))
    text = json.dumps(build_summary(hostile), ensure_ascii=False)
    assert "evil⟨U+202E⟩␛[31m" in text
    assert not any(character in text for character in "\u202e\x1b\u200b")


def test_a_large_ledger_is_summed_up_without_loops(make_inputs: MakeInputs) -> None:
    """Two hundred thousand decisions make a summary and a page as small as four thousand do."""
    summary = build_summary(make_inputs(200_000))
    assert summary["flow"]["steps"][0]["rows"] == 200_000
    assert len(json.dumps(summary)) < 500_000
    text = "Lorem ipsum dolor sit amet. " * 40
    page = render_report(summary, [{"doc_id": doc_id, "text": text} for doc_id in wanted_excerpts(summary)])
    assert len(page.encode()) < MAX_BYTES / 2
