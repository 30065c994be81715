"""Two runs differ in exactly the rows whose decision differs, whatever their ids, and each says why."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.report.causes import CAUSES
from pipeline.report.differences import MAX_ROWS, ComparedRun, compare_runs, differences_text, wanted_documents
from pipeline.report.matching import KINDS, match_rows
from pipeline.report.render import render_differences
from pipeline.tables import DECISIONS, OVERRULED, SinkScores

if TYPE_CHECKING:
    from tests.pipeline.report.conftest import MakeInputs

COLUMNS = {
    "row_hash": pl.Binary,
    "content_hash": pl.Binary,
    "action": pl.String,
    "weight": pl.Float64,
    "reason": pl.String,
    "kept": pl.String,
}
ROWS = st.lists(
    st.tuples(
        st.sampled_from([b"a", b"b", b"c"]),
        st.sampled_from(["keep", "drop"]),
        st.sampled_from(["x", "y"]),
        st.sampled_from([None, "k", "l"]),
    ),
    max_size=8,
)


def _frame(rows: list[tuple[bytes, str, str, str | None]]) -> pl.DataFrame:
    return pl.DataFrame([(row, row, action, 1.0, reason, kept) for row, action, reason, kept in rows], schema=COLUMNS, orient="row")


@settings(max_examples=60, deadline=None)
@given(before=ROWS, after=ROWS, data=st.data())
def test_rows_are_matched_as_multisets(before: Any, after: Any, data: st.DataObject) -> None:
    """Every row occurs once; the counts by kind do not depend on order; as many rows as can be are told alike."""
    found = match_rows(_frame(before), _frame(after))
    kinds = found["kind"].value_counts().sort("kind")
    count = dict(kinds.iter_rows())
    shuffled = match_rows(_frame(data.draw(st.permutations(before))), _frame(data.draw(st.permutations(after))))
    assert shuffled["kind"].value_counts().sort("kind").equals(kinds)
    for key in (b"a", b"b", b"c"):
        sizes = [sum(row[0] == key for row in side) for side in (before, after)]
        mine = found.filter(pl.col("row_hash") == key)
        assert mine.height == max(sizes)
        assert mine.filter(pl.col("kind").is_in(["added", "removed"])).height == abs(sizes[0] - sizes[1])
    left = list(after)
    same = [left.remove(row) or row for row in before if row in left]  # type: ignore[func-returns-value]
    assert count.get("same", 0) == len(same)


def _run(make_inputs: MakeInputs, run: str = "one", num_rows: int = 600, **changes: Any) -> ComparedRun:
    inputs = make_inputs(num_rows)
    ids = inputs.ids.with_columns(row_hash=pl.Series([f"{doc_id:016d}".encode() for doc_id in inputs.ids["doc_id"]], dtype=pl.Binary))
    found = ComparedRun(
        run,
        "PASS",
        ids,
        inputs.decisions,
        inputs.scores,
        OVERRULED.empty(),
        inputs.config.model_dump(mode="json"),
        code_versions={"risk": "1"},
    )
    return replace(found, **changes)


def _decided(run: ComparedRun, doc_id: int, **values: Any) -> ComparedRun:
    is_it = pl.col("doc_id") == doc_id
    changed = {key: pl.when(is_it).then(pl.lit(value)).otherwise(pl.col(key)) for key, value in values.items()}
    return replace(run, decisions=DECISIONS.check(run.decisions.with_columns(**changed)))


def _one_of(run: ComparedRun, reason: str) -> int:
    return int(run.decisions.filter(pl.col("reason") == reason)["doc_id"][0])


def test_a_run_does_not_differ_from_itself_under_other_ids(make_inputs: MakeInputs) -> None:
    """Ids turned round, nothing differs; text for the terminal says so."""
    run = _run(make_inputs)
    turn = {"doc_id": 599 - pl.col("doc_id")}
    other = replace(
        run,
        ids=run.ids.with_columns(**turn),
        decisions=DECISIONS.check(run.decisions.with_columns(**turn, kept_doc_id=599 - pl.col("kept_doc_id"))),
        scores=SinkScores(run.scores.with_columns(**turn)),
    )
    found = compare_runs(run, other)
    assert (found["num_changed"], found["num_same"], found["rows"], found["settings"]) == (0, 600, [], [])
    assert differences_text(found) == "one -> one: 600 of 600 matched rows are decided alike"
    assert "0 rows of 600 differ" in render_differences(found, {})


def _order(run: ComparedRun, doc_id: int, followed: int | None = None) -> ComparedRun:
    row = (doc_id, 0, "keep", "unique", "drop", "R. <b>Viewer</b>", "own text", True, followed)
    orders = pl.DataFrame([row], schema=dict(OVERRULED.columns), orient="row")
    return replace(_decided(run, doc_id, action="drop", weight=0.0, reason="overruled"), overruled=OVERRULED.check(orders))


def _rescored(run: ComparedRun, doc_id: int, score: float, is_supported: bool = True) -> ComparedRun:
    values = {"sink_score": score, "sink_score_low": score, "sink_score_high": score, "is_supported": is_supported}
    is_it = pl.col("doc_id") == doc_id
    told = {key: pl.when(is_it).then(pl.lit(value)).otherwise(pl.col(key)) for key, value in values.items()}
    return replace(run, scores=SinkScores(run.scores.with_columns(**told)))


def _resettled(run: ComparedRun, **release: Any) -> ComparedRun:
    return replace(run, config={**run.config, "release": {**run.config["release"], **release}})


CASES: dict[str, tuple[Callable[[ComparedRun, int], tuple[ComparedRun, ComparedRun]], str, str]] = {
    "order": (lambda run, d: (run, _order(run, d)), "action", "R. <b>Viewer</b> ordered drop: own text"),
    "follows": (lambda run, d: (run, _order(run, d, 3)), "action", "R. <b>Viewer</b> dropped the row it was removed for: own text"),
    "no order any more": (lambda run, d: (_order(run, d), run), "action", "The order of R. <b>Viewer</b> does not hold in the later run."),
    "copy": (
        lambda run, d: (run, _decided(run, d, action="drop", weight=0.0, reason="near_duplicate")),
        "action",
        "It is removed now as a near copy of a kept row.",
    ),
    "copy place": (
        lambda run, d: (run, _decided(run, d, reason="copy_cap")),
        "reason",
        "Its place among its copies changed: unique, now copy cap.",
    ),
    "support": (
        lambda run, d: (
            _rescored(run, d, 0.6),
            _rescored(_decided(run, d, action="review", reason="outside_support"), d, 0.6, is_supported=False),
        ),
        "action",
        "The predictor abstains now; it answered.",
    ),
    "threshold": (
        lambda run, d: (_rescored(run, d, 0.4), _rescored(_decided(run, d, action="downweight", weight=0.8, reason="sink_risk"), d, 0.61)),
        "action",
        "Before, the lower end of the score 0.40 stayed below 0.5; now, the lower end of the score 0.61 reached 0.5.",
    ),
    "policy": (
        lambda run, d: (
            _rescored(_decided(run, d, action="downweight", weight=0.8, reason="sink_risk"), d, 0.7),
            _resettled(_rescored(_decided(run, d, action="review", reason="sink_risk"), d, 0.7), policy="review"),
        ),
        "action",
        "The policy was downweight and is review.",
    ),
    "spans": (
        lambda run, d: (run, _resettled(_decided(run, d, action="mask", reason="repeated_span"), spans="mask")),
        "action",
        "Repeated spans: the setting was report and is mask.",
    ),
    "score": (
        lambda run, d: (
            _rescored(_decided(run, d, action="downweight", weight=0.8, reason="sink_risk"), d, 0.6),
            _rescored(_decided(run, d, action="downweight", weight=0.5, reason="sink_risk"), d, 0.8),
        ),
        "weight",
        "Weight 0.8, now 0.5; score 0.60, now 0.80.",
    ),
    "rule": (
        lambda run, d: (
            _rescored(_decided(run, d, evidence='{"rule":"downweight_drop_limit"}', reason="sink_risk"), d, 0.6),
            _rescored(_decided(run, d, evidence='{"rule":"drop"}', action="drop", weight=0.0, reason="sink_risk"), d, 0.6),
        ),
        "action",
        "Another rule decides: downweight drop limit, now drop.",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_each_difference_says_why(make_inputs: MakeInputs, case: str) -> None:
    """One row differs, by the cause that made it differ, in words."""
    make, kind, why = CASES[case]
    run = _run(make_inputs)
    found = compare_runs(*make(run, _one_of(run, "unique")))
    (row,) = found["rows"]
    wanted = {"follows": "order", "no order any more": "order", "copy place": "copy"}.get(case, case)
    assert (row["kind"], row["cause"], row["why"]) == (kind, wanted, why)
    assert found["kinds"] == {**dict.fromkeys(KINDS, 0), kind: 1}
    assert found["causes"] == {**dict.fromkeys(CAUSES, 0), wanted: 1}
    assert "own text" not in differences_text(found)


def test_another_kept_copy_is_told_apart_from_another_decision(make_inputs: MakeInputs) -> None:
    """Action, weight and reason alike, only the copy it names is another."""
    run = _run(make_inputs)
    removed = run.decisions.drop_nulls("kept_doc_id").row(0, named=True)
    found = compare_runs(run, _decided(run, removed["doc_id"], kept_doc_id=_one_of(run, "unique")))
    assert [(row["kind"], row["cause"]) for row in found["rows"]] == [("kept_copy", "copy")]
    assert found["transitions"] == [{"before": "drop", "after": "drop", "rows": 1}]


def test_other_input_settings_and_code_are_told(make_inputs: MakeInputs) -> None:
    """Rows of one run only are added or removed; settings and code that differ are listed, places are not."""
    run = _run(make_inputs)
    later = _resettled(replace(run, run="two", input_digest="x", code_versions={"risk": "2"}), min_weight=0.2)
    later = replace(later, config={**later.config, "runtime": {**later.config["runtime"], "ledger": "elsewhere"}})
    for name in ("ids", "decisions", "scores"):
        later = replace(later, **{name: getattr(later, name).filter(pl.col("doc_id") != _one_of(run, "unique"))})
    found = compare_runs(run, later)
    assert [(row["kind"], row["cause"], row["after"]) for row in found["rows"]] == [("removed", "input", None)]
    assert found["settings"] == [{"setting": "release.min_weight", "before": "0.1", "now": "0.2"}]
    assert (found["code"], found["is_same_input"]) == (["risk"], False)
    assert wanted_documents(found) == {"before": [_one_of(run, "unique")], "after": []}
    assert "setting release.min_weight: 0.1 -> 0.2\ncode that differs: risk" in differences_text(found)
    assert [row["kind"] for row in compare_runs(later, run)["rows"]] == ["added"]


def test_at_most_two_hundred_rows_are_listed_actions_first(make_inputs: MakeInputs) -> None:
    """Counts stay whole where the list does not; the page stays small, JSON has no NaN."""
    run = _run(make_inputs, num_rows=900)
    kept = pl.col("reason") == "unique"
    later = replace(
        run, decisions=DECISIONS.check(run.decisions.with_columns(reason=pl.when(kept).then(pl.lit("copy_cap")).otherwise("reason")))
    )
    later = _decided(later, _one_of(run, "sink_risk"), action="drop", weight=0.0)
    found = compare_runs(run, later)
    assert len(found["rows"]) == MAX_ROWS < found["num_changed"]
    assert found["rows"][0]["kind"] == "action"
    assert found["num_changed"] == sum(found["kinds"].values()) == sum(row["rows"] for row in found["transitions"])
    assert len(render_differences(json.loads(json.dumps(found, allow_nan=False)), {})) < 400_000


def test_the_page_holds_text_only_if_asked_and_nothing_acts(make_inputs: MakeInputs, hostile_texts: tuple[str, ...]) -> None:
    """By default no corpus text; short excerpts are redacted; names, notes and texts are escaped."""
    run = _run(make_inputs)
    hostile = replace(run, ids=run.ids.with_columns(source=pl.lit(hostile_texts[0]), source_id=pl.lit(hostile_texts[2])))
    found = compare_runs(hostile, _order(hostile, _one_of(run, "unique")))
    texts = {("after", _one_of(run, "unique")): f"jane.doe@example.org {hostile_texts[1]}"}
    pages = {mode: render_differences(found, texts, mode) for mode in ("none", "short", "full")}
    assert "Excerpt" not in pages["none"]
    assert "[email]" in pages["short"]
    assert "jane.doe" in pages["full"]
    for page in pages.values():
        assert page.count("<script>") == page.count("<style>") == 1
        assert "<b>Viewer" not in page
        assert "&lt;b&gt;Viewer" in page
        assert "<img" not in page
