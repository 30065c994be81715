"""Orders change exactly the rows they name, and the ledger's laws hold afterwards."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import ReleaseConfig
from pipeline.release.decisions import decide, is_released, placed_spans
from pipeline.release.explanation import STAYS_OUT, Explanation, explain
from pipeline.release.gates import judge
from pipeline.release.overrides import ORDERS
from pipeline.release.overruling import FOLLOWS, count_kept_copies, describe_orders, in_force, record, removals_in_force
from pipeline.tables import Decisions, Overruled

CONFIGS = st.builds(
    ReleaseConfig,
    policy=st.sampled_from(["report", "downweight", "review", "drop"]),
    drop_threshold=st.sampled_from([0.0, 0.5]),
    max_drop_share=st.sampled_from([0.0, 0.3, 1.0]),
    hold_review=st.booleans(),
)
Asked = list[tuple[int, str]]


def _orders(asked: Asked) -> pl.DataFrame:
    """Number orders as if each came in a file of its own."""
    rows = [(doc_id, number, action, "R. Viewer", f"note {doc_id}") for number, (doc_id, action) in enumerate(asked)]
    return pl.DataFrame(rows, schema=ORDERS, orient="row").sort("doc_id", "number")


def _overrule(ledger: Any, config: ReleaseConfig, asked: Asked) -> tuple[Decisions, Decisions, Overruled]:
    former = ledger.decide(config)
    ordered = in_force(_orders(asked), former)
    ids, clusters, removals, scores = ledger.tables
    now = decide(ids, clusters, removals, scores, config, ledger.pairs, ledger.spans, None, ordered)
    return former, now, record(former, now, ledger.removals, _orders(asked))


def _row(decisions: Decisions, doc_id: int) -> dict[str, Any]:
    return decisions.row(by_predicate=pl.col("doc_id") == doc_id, named=True)


@settings(max_examples=60, deadline=None)
@given(data=st.data(), config=CONFIGS)
def test_exactly_the_named_rows_change(kit: Any, data: st.DataObject, config: ReleaseConfig) -> None:
    """Every named row gets its action; all others keep action and weight; removals name kept rows that they were compared with."""
    docs, alike, max_copies = data.draw(kit.corpora())
    asked = data.draw(st.lists(st.tuples(st.integers(0, max(len(docs) - 1, 0)), st.sampled_from(["keep", "drop", "review"])), max_size=6))
    asked = asked if docs else []
    ledger = kit.ledger(docs, alike, max_copies)
    former, now, overruled = _overrule(ledger, config, asked)
    wanted = dict(asked)
    before, after = former.rows(named=True), now.rows(named=True)
    for was, row in zip(before, after, strict=True):
        action = wanted.get(row["doc_id"], was["action"])
        assert row["action"] == action
        is_changed = action != was["action"]
        assert row["weight"] == ({"keep": 1.0, "review": 1.0, "drop": 0.0}[action] if is_changed else was["weight"])
        assert not is_changed or row["reason"] == "overruled"
        if row["reason"] in ("exact_duplicate", "near_duplicate"):
            assert after[row["kept_doc_id"]]["action"] != "drop"
            assert kit.is_verified(docs[row["doc_id"]], docs[row["kept_doc_id"]], alike)
        evidence = json.loads(row["evidence"])
        assert list(evidence) == sorted(evidence)
    direct = overruled.filter(pl.col("followed_doc_id").is_null())
    assert direct.height == len(asked)
    assert dict(direct.filter("is_in_force").select("doc_id", "action").iter_rows()) == wanted
    followers = overruled.filter(pl.col("followed_doc_id").is_not_null())
    assert set(now.filter(pl.col("reason") == "overruled")["doc_id"]) <= {*wanted, *followers["doc_id"]}
    assert all(wanted[doc_id] == "drop" for doc_id in followers["followed_doc_id"])
    released = now.filter(is_released(config))
    written = dict(released.join(ledger.ids, on="doc_id")["source"].value_counts().iter_rows())
    assert judge(ledger.ids, ledger.clusters, ledger.scores, now, written, config)[0].status == "pass"


@settings(max_examples=25, deadline=None)
@given(data=st.data(), config=CONFIGS)
def test_ids_decide_nothing_about_orders(kit: Any, data: st.DataObject, config: ReleaseConfig) -> None:
    """The same corpus under other ids, the same rows named: the same multiset of rows and decisions, if equal rows are named alike."""
    docs, alike, max_copies = data.draw(kit.corpora())
    wishes = {doc: data.draw(st.sampled_from([None, None, "keep", "drop", "review"])) for doc in docs}
    outcomes = []
    for order in (docs, data.draw(st.permutations(docs))):
        ledger = kit.ledger(order, alike, max_copies)
        asked = [(doc_id, action) for doc_id, doc in enumerate(order) if (action := wishes[doc]) is not None]
        now = _overrule(ledger, config, asked)[1].join(ledger.ids, on="doc_id")
        outcomes.append(sorted(now.select("row_hash", "action", "weight", "reason", "evidence").rows()))
    assert outcomes[0] == outcomes[1]


def _representative(kit: Any, num: int = 3) -> tuple[Any, int, list[int]]:
    """Return the ledger of one text in several rows, the row that stands for it, and its removed copies."""
    ledger = kit.ledger([kit.Doc(0, source) for source in "abcdefg"[:num]])
    (kept,) = {*ledger.removals["kept_doc_id"]}
    return ledger, kept, ledger.removals["doc_id"].to_list()


def test_a_dropped_text_does_not_come_back_under_another_id(kit: Any) -> None:
    """The removed copies of a dropped row stay out by the same order, which each of them names."""
    ledger, kept, copies = _representative(kit)
    _, now, overruled = _overrule(ledger, ReleaseConfig(), [(kept, "drop")])
    assert now["action"].to_list() == ["drop"] * 3
    assert now["reason"].to_list() == ["overruled"] * 3
    assert now["kept_doc_id"].null_count() == 3
    rows = overruled.filter(pl.col("doc_id").is_in(copies)).rows(named=True)
    assert {(row["followed_doc_id"], row["former_reason"], row["note"]) for row in rows} == {(kept, "exact_duplicate", f"note {kept}")}
    assert removals_in_force(ledger.removals, now).is_empty()


def test_one_copy_can_be_changed_for_another(kit: Any) -> None:
    """Drop the one and keep the other: the rest names the other from now on, and nothing follows."""
    ledger, kept, copies = _representative(kit)
    _, now, overruled = _overrule(ledger, ReleaseConfig(), [(kept, "drop"), (copies[0], "keep")])
    assert _row(now, copies[0])["reason"] == "overruled"
    assert (_row(now, copies[1])["reason"], _row(now, copies[1])["kept_doc_id"]) == ("exact_duplicate", copies[0])
    assert overruled["followed_doc_id"].null_count() == 2
    assert removals_in_force(ledger.removals, now).rows() == [(copies[1], copies[0], "exact_duplicate", 1.0, 1.0, 1.0)]


def test_a_near_copy_names_another_kept_row_only_if_they_were_compared(kit: Any) -> None:
    """Of the copies of a dropped row one has a verified pair with a row that stays, and brings its numbers; the other stays out."""
    docs, alike = [kit.Doc(0), kit.Doc(1), kit.Doc(2), kit.Doc(3)], frozenset({(0, 1), (1, 2), (0, 3)})
    ledger = kit.ledger(docs, alike)
    former = ledger.decide(ReleaseConfig())
    kept = former.filter(pl.col("action") == "keep")["doc_id"].to_list()
    for dropped in kept:
        now = _overrule(ledger, ReleaseConfig(), [(dropped, "drop")])[1]
        for doc_id in former.filter(pl.col("kept_doc_id") == dropped)["doc_id"]:
            others = [other for other in kept if other != dropped and kit.is_verified(docs[doc_id], docs[other], alike)]
            row = _row(now, doc_id)
            assert (row["kept_doc_id"] in others) if others else (row["kept_doc_id"] is None)
            assert row["reason"] == ("near_duplicate" if others else "overruled")
            if others:
                moved = removals_in_force(ledger.removals, now).row(by_predicate=pl.col("doc_id") == doc_id, named=True)
                assert (moved["kept_doc_id"], moved["jaccard"], moved["containment_kept"]) == (row["kept_doc_id"], 0.85, 0.9)


def test_an_order_that_agrees_confirms(kit: Any) -> None:
    """The decision and its reason stay; the order is on record."""
    ledger, kept, copies = _representative(kit)
    former, now, overruled = _overrule(ledger, ReleaseConfig(), [(kept, "keep"), (copies[0], "drop")])
    assert now.equals(former)
    assert overruled["is_in_force"].to_list() == [True, True]
    assert (overruled["action"] == overruled["former_action"]).all()


def test_a_later_order_supersedes_and_the_earlier_is_kept_on_record(kit: Any) -> None:
    """The last about a document holds; the one before it is there, not in force."""
    ledger, kept = kit.ledger([kit.Doc(0)]), 0
    _, now, overruled = _overrule(ledger, ReleaseConfig(), [(kept, "drop"), (kept, "review")])
    assert _row(now, kept)["action"] == "review"
    assert overruled.select("action", "is_in_force").rows() == [("drop", False), ("review", True)]


def test_orders_use_up_no_limit_of_the_rules(kit: Any) -> None:
    """Two sure sinks, one of which may be dropped: keeping that one does not drop the other."""
    ledger = kit.ledger([kit.Doc(0, score=(0.9, 0.0, True)), kit.Doc(1, score=(0.99, 0.0, True)), kit.Doc(2), kit.Doc(3)])
    config = ReleaseConfig(policy="drop", drop_threshold=0.5, max_drop_share=0.25)
    former, now, _ = _overrule(ledger, config, [(1, "keep")])
    assert [row[1] for row in former.rows()] == ["downweight", "drop", "keep", "keep"]
    assert [row[1] for row in now.rows()] == ["downweight", "keep", "keep", "keep"]


def test_kept_copies_of_a_dropped_text_are_counted_and_take_its_place(kit: Any) -> None:
    """A copy inside the allowance is not touched; it becomes the representative, and somebody is told to look again."""
    ledger = kit.ledger([kit.Doc(0, source) for source in "abc"], max_copies=2)
    former = ledger.decide(ReleaseConfig())
    first = former.filter(pl.col("reason") == "representative")["doc_id"][0]
    _, now, overruled = _overrule(ledger, ReleaseConfig(), [(first, "drop")])
    second = former.filter(pl.col("reason") == "copy_cap")["doc_id"][0]
    assert (_row(now, second)["action"], _row(now, second)["reason"]) == ("keep", "representative")
    assert now.filter(pl.col("reason") == "exact_duplicate")["kept_doc_id"].to_list() == [second]
    assert count_kept_copies(ledger.ids, now, overruled) == 1


def test_what_a_person_keeps_is_not_masked(kit: Any) -> None:
    """Under span policies a masked row that is kept holds its passage whole, and gives way to nobody; a dropped holder passes it on."""
    config = ReleaseConfig(spans="mask")
    ledger = kit.with_texts(kit.ledger([kit.Doc(0), kit.Doc(1)]), ["one <same words> two", "three <same words> four"])
    former = ledger.decide(config)
    masked = former.filter(pl.col("action") == "mask")["doc_id"].item()
    for asked, actions in (([(masked, "keep")], {masked: "keep", 1 - masked: "mask"}), ([(1 - masked, "drop")], {masked: "keep"})):
        now = _overrule(ledger, config, asked)[1]
        assert {doc_id: _row(now, doc_id)["action"] for doc_id in actions} == actions
        placed = placed_spans(ledger.ids, now, ledger.spans, config)
        acting = placed.filter(pl.col("is_first").not_())["doc_id"].to_list()
        assert acting == now.filter(pl.col("action") == "mask")["doc_id"].to_list()


def _explained(ledger: Any, now: Decisions, overruled: Overruled, doc_id: int) -> Explanation:
    return explain(
        doc_id,
        ids=ledger.ids,
        clusters=ledger.clusters,
        removals=removals_in_force(ledger.removals, now),
        duplicate_pairs=ledger.pairs,
        scores=ledger.scores,
        decisions=now,
        overruled=overruled,
    )


def test_an_explanation_names_who_overruled_and_why(kit: Any) -> None:
    """Reviewer, former decision and note; of a copy that follows, the row that was dropped; of a confirmed one, that it is."""
    ledger, kept, copies = _representative(kit)
    _, now, overruled = _overrule(ledger, ReleaseConfig(), [(copies[0], "drop"), (kept, "review"), (kept, "drop")])
    dropped, confirmed, follower = (_explained(ledger, now, overruled, doc_id) for doc_id in (kept, *copies))
    text = dropped.to_text()
    assert "rule: a person overruled the decision" in text
    assert f"order: R. Viewer ordered drop, where the rules say keep (representative); note: note {kept}" in text
    assert "ordered review, where the rules say keep (representative) (superseded by a later order)" in text
    assert follower.rule == STAYS_OUT
    assert f"order: R. Viewer ordered drop on document {kept}, which it was removed for; note: note {kept}" in follower.to_text()
    assert "R. Viewer confirmed drop, where the rules say drop (exact_duplicate)" in confirmed.to_text()
    assert follower.kept_copy is None
    assert follower.copies == ()
    assert json.loads(json.dumps(follower.to_json()))["orders"][0]["followed_doc_id"] == kept
    assert json.loads(_row(now, copies[1])["evidence"])["rule"] == FOLLOWS


def test_a_manifest_names_rows_by_hash(kit: Any) -> None:
    """Orders are described with both hashes, reviewer and note, and counted."""
    ledger, kept, _ = _representative(kit)
    overruled = _overrule(ledger, ReleaseConfig(), [(kept, "drop")])[2]
    described = json.loads(json.dumps(describe_orders(overruled, ledger.ids)))
    assert described["num_rows"] == 3
    assert [row["is_followed"] for row in described["rows"]].count(False) == 1
    hashes = [row.hex() for row in ledger.ids["row_hash"]]
    assert all(row["row_hash"] in hashes and row["reviewer"] == "R. Viewer" and row["note"] for row in described["rows"])
