from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest

from pipeline.config import ReleaseConfig
from pipeline.errors import TableError
from pipeline.release.decisions import decide, is_released
from pipeline.release.guards import judge_guards
from pipeline.tables import REFERENCE_DOCUMENTS, REMOVALS, Decisions, ReferenceDocuments, Removals

NEAR = frozenset({(0, 1)})
DROP = ReleaseConfig(policy="drop", drop_threshold=0.5, max_drop_share=0.5, sink_bound="score")


def _row(decisions: Decisions, doc_id: int) -> dict[str, Any]:
    row = decisions.row(by_predicate=pl.col("doc_id") == doc_id, named=True)
    return {**row, "evidence": json.loads(row["evidence"])}


def test_each_rule_yields_to_the_ones_before_it(kit: Any) -> None:
    """Empty before duplicate, duplicate before abstention, abstention before score."""
    docs = [
        kit.Doc(None, score=(1.0, 0.0, False)),
        kit.Doc(5, "a", (1.0, 0.0, False)),
        kit.Doc(5, "b", (1.0, 0.0, False)),
        kit.Doc(6, score=(1.0, 0.0, True)),
        kit.Doc(7, score=(0.0, 0.0, True)),
    ]
    ledger = kit.ledger(docs)
    decisions = ledger.decide(ReleaseConfig(), with_pairs=False)
    told = {row["doc_id"]: (row["action"], row["reason"]) for row in decisions.iter_rows(named=True)}
    assert told[0] == ("drop", "empty")
    assert sorted([told[1], told[2]]) == [("drop", "exact_duplicate"), ("review", "outside_support")]
    assert told[3] == ("downweight", "sink_risk")
    assert told[4] == ("keep", "unique")


def test_a_removal_carries_its_kept_copy_and_the_comparison(kit: Any) -> None:
    """The evidence of a near-duplicate holds Jaccard and both containments."""
    ledger = kit.ledger([kit.Doc(0), kit.Doc(1)], NEAR)
    decisions = ledger.decide(ReleaseConfig())
    removed = decisions.filter(pl.col("action") == "drop").row(0, named=True)
    assert removed["reason"] == "near_duplicate"
    assert removed["weight"] == 0.0
    assert removed["evidence"] == '{"cluster_size":2,"containment_kept":0.9,"containment_removed":0.85,"jaccard":0.85}'
    kept = _row(decisions, removed["kept_doc_id"])
    assert (kept["reason"], kept["evidence"]["stands_for"], kept["evidence"]["link"]) == ("representative", 1, "representative")


def test_a_further_copy_inside_the_allowance_is_told_from_a_chained_one(kit: Any) -> None:
    """With two copies allowed, the second is `copy_cap`; a member that nothing kept was verified against is transitive only."""
    copies = kit.ledger([kit.Doc(0, "a"), kit.Doc(0, "b")], max_copies=2)
    assert sorted(copies.decide(ReleaseConfig())["reason"]) == ["copy_cap", "representative"]
    near = kit.ledger([kit.Doc(0), kit.Doc(1)], NEAR, max_copies=2)
    assert sorted(near.decide(ReleaseConfig())["reason"]) == ["copy_cap", "representative"]
    assert sorted(near.decide(ReleaseConfig(), with_pairs=False)["evidence"].str.json_path_match("$.link")) == [
        "representative",
        "unverified",
    ]
    links = []
    for middle in range(3):  # whichever text the walk meets first, the chain 0 - middle - 2 has one outcome with two kept ends
        ends = [text for text in range(3) if text != middle]
        chain = kit.ledger([kit.Doc(text) for text in range(3)], frozenset(tuple(sorted((middle, end))) for end in ends))
        links.append(sorted(_row(chain.decide(ReleaseConfig()), doc)["evidence"].get("link", "gone") for doc in range(3)))
    assert ["gone", "representative", "transitive_only"] in links


def test_weight_falls_from_one_at_the_threshold_to_the_minimum_at_one(kit: Any) -> None:
    """1 at the threshold, half way at the middle, min_weight at a score of 1."""
    ledger = kit.ledger([kit.Doc(number, score=(score, 0.0, True)) for number, score in enumerate((0.4999, 0.5, 0.75, 1.0))])
    decisions = ledger.decide(ReleaseConfig(min_weight=0.2), with_pairs=False)
    assert decisions["weight"].to_list() == pytest.approx([1.0, 1.0, 0.6, 0.2])
    assert decisions["action"].to_list() == ["keep", "downweight", "downweight", "downweight"]
    at_one = ledger.decide(ReleaseConfig(min_weight=0.2, sink_threshold=1.0), with_pairs=False)
    assert at_one["weight"].to_list() == [1.0, 1.0, 1.0, 0.2]


def test_an_undecided_score_leaves_the_row_alone(kit: Any) -> None:
    """A score above the threshold whose interval reaches below it changes nothing, unless the configuration asks for the score itself."""
    ledger = kit.ledger([kit.Doc(0, score=(0.9, 0.5, True)), kit.Doc(1, score=(0.9, 0.1, True))])
    decisions = ledger.decide(ReleaseConfig(), with_pairs=False)
    assert decisions["action"].to_list() == ["keep", "downweight"]
    assert decisions["reason"].to_list() == ["unique", "sink_risk"]
    assert _row(decisions, 0)["evidence"]["rule"] == "keep_undecided"
    by_score = ledger.decide(ReleaseConfig(sink_bound="score"), with_pairs=False)
    assert by_score["action"].to_list() == ["downweight", "downweight"]


def test_report_only_policy_scores_and_acts_on_nothing(kit: Any) -> None:
    """Policy `report` keeps sinks and abstentions alike."""
    ledger = kit.ledger([kit.Doc(0, score=(1.0, 0.0, True)), kit.Doc(1, score=(1.0, 0.0, False))])
    decisions = ledger.decide(ReleaseConfig(policy="report"), with_pairs=False)
    assert decisions["action"].to_list() == ["keep", "keep"]
    assert _row(decisions, 0)["evidence"]["sink_score"] == 1.0


def test_dropping_stops_at_the_limit_and_takes_the_highest_scores_first(kit: Any) -> None:
    """Of 300 sinks 3 go at 1%, the highest; the rest is down-weighted and says why."""
    ledger = kit.ledger([kit.Doc(number, score=(0.6 + number / 1000, 0.0, True)) for number in range(300)])
    decisions = ledger.decide(ReleaseConfig(policy="drop", drop_threshold=0.5), with_pairs=False)
    assert decisions.filter(pl.col("action") == "drop")["doc_id"].to_list() == [297, 298, 299]
    assert decisions["action"].value_counts().sort("action").rows() == [("downweight", 297), ("drop", 3)]
    assert _row(decisions, 296)["evidence"]["rule"] == "downweight_drop_limit"


def test_equal_scores_at_the_limit_are_parted_by_hash_not_by_file_order(kit: Any) -> None:
    """The same documents in the opposite order lose the same ones."""
    docs = [kit.Doc(number, score=(0.9, 0.0, True)) for number in range(20)]
    config = ReleaseConfig(policy="drop", drop_threshold=0.5, max_drop_share=0.25)
    gone = []
    for order in (docs, docs[::-1]):
        ledger = kit.ledger(order)
        dropped = ledger.decide(config, with_pairs=False).filter(pl.col("action") == "drop")
        gone.append(sorted(order[doc_id].text for doc_id in dropped["doc_id"]))
    assert len(gone[0]) == 5
    assert gone[0] == gone[1]


def test_a_drop_needs_the_whole_interval_above_the_threshold(kit: Any) -> None:
    """A high score with a wide interval is down-weighted, not dropped."""
    ledger = kit.ledger([kit.Doc(0, score=(0.9, 0.5, True)), kit.Doc(1, score=(0.9, 0.1, True))])
    decisions = ledger.decide(DROP, with_pairs=False)
    assert decisions["action"].to_list() == ["downweight", "drop"]
    assert _row(decisions, 0)["evidence"]["rule"] == "downweight_unsure"


def test_a_document_that_stands_for_removed_copies_is_never_dropped(kit: Any) -> None:
    """Otherwise its copies' explanation would name a text that is gone."""
    ledger = kit.ledger([kit.Doc(0, "a", (1.0, 0.0, True)), kit.Doc(0, "b", (1.0, 0.0, True))])
    decisions = ledger.decide(ReleaseConfig(policy="drop", max_drop_share=1.0), with_pairs=False)
    assert sorted(decisions["action"]) == ["downweight", "drop"]
    spared = decisions.filter(pl.col("action") == "downweight")["doc_id"][0]
    assert _row(decisions, spared)["evidence"]["rule"] == "downweight_stands_for_copies"


def test_the_default_policy_drops_no_unique_document(kit: Any) -> None:
    """Even where every document is a certain sink."""
    ledger = kit.ledger([kit.Doc(number, score=(1.0, 0.0, True)) for number in range(50)])
    assert "drop" not in ledger.decide(ReleaseConfig(), with_pairs=False)["action"].to_list()


def test_held_reviews_are_not_released(kit: Any) -> None:
    """`hold_review` takes rows under review out of the filtered data, and only those."""
    ledger = kit.ledger([kit.Doc(0, score=(0.9, 0.0, True)), kit.Doc(1)])
    config = ReleaseConfig(policy="review", hold_review=True)
    decisions = ledger.decide(config, with_pairs=False)
    assert decisions.select(is_released(config)).to_series().to_list() == [False, True]
    assert decisions.select(is_released(ReleaseConfig(policy="review"))).to_series().to_list() == [True, True]


def test_evidence_is_canonical_json_with_short_numbers(kit: Any) -> None:
    """Keys sorted, no blanks, at most 6 digits behind the point."""
    ledger = kit.ledger([kit.Doc(0, score=(1 / 3, 0.1, True))])
    evidence = ledger.decide(ReleaseConfig(), with_pairs=False)["evidence"][0]
    assert json.loads(evidence)["sink_score"] == 0.333333
    assert evidence == json.dumps(json.loads(evidence), sort_keys=True, separators=(",", ":"))


def test_a_row_with_a_repeated_span_is_masked_and_says_how_much_of_it(kit: Any) -> None:
    """Spans, bytes, share of the text, most documents; the link stays in the evidence, which stays canonical."""
    texts = ["<é a> plain text <b>", "<é a> other", "<b> more <b>", "<b>"]
    ledger = kit.with_texts(kit.ledger([kit.Doc(number) for number in range(4)]), texts)
    decisions = ledger.decide(ReleaseConfig(spans="mask"))
    masked = decisions.filter(pl.col("action") == "mask")
    assert set(masked["reason"]) == {"repeated_span"}
    assert set(masked["weight"]) == {1.0}
    told = [json.loads(evidence) for evidence in masked["evidence"]]
    assert sum(row["span_count"] for row in told) == 2 - 1 + 4 - 1
    assert sum(row["span_bytes"] for row in told) == 6 + 3 * 3
    for row, doc_id, evidence in zip(told, masked["doc_id"], masked["evidence"], strict=True):
        assert row["span_share"] == round(row["span_bytes"] / len(texts[doc_id].encode()), 6)
        assert (row["span_policy"], row["rule"], row["link"]) == ("mask", "keep", "none")
        assert evidence == json.dumps(row, sort_keys=True, separators=(",", ":"))
    assert {row["span_max_documents"] for row in told} <= {2, 3}
    kept = decisions.filter(pl.col("action") == "keep")
    assert not kept["evidence"].str.contains("span").any()
    trimmed = ledger.decide(ReleaseConfig(spans="trim"))
    assert trimmed["action"].to_list() == decisions["action"].to_list()
    assert ledger.decide(ReleaseConfig())["action"].to_list() == ["keep"] * 4


def test_a_sinks_reason_comes_before_a_spans_and_both_are_told(kit: Any) -> None:
    """Weight and spans travel together; an abstention stays a review; a dropped row has no spans; an undecided score is masked."""
    scores = [(1.0, 0.0, True), (0.5, 0.0, False), (0.9, 0.6, True)]
    for number, (action, reason, rule) in enumerate(
        [
            ("downweight", "sink_risk", "downweight"),
            ("review", "outside_support", "outside_support"),
            ("mask", "repeated_span", "keep_undecided"),
        ]
    ):
        docs = [kit.Doc(text, score=scores[number]) for text in range(3)]
        decisions = kit.with_texts(kit.ledger(docs), ["<a>"] * 3).decide(ReleaseConfig(spans="mask"))
        rows = [_row(decisions, doc_id) for doc_id in range(3)]
        acting = [row for row in rows if row["evidence"].get("span_count")]
        assert len(acting) == 2
        assert {(row["action"], row["reason"], row["evidence"]["rule"]) for row in acting} == {(action, reason, rule)}
    dropped = kit.with_texts(kit.ledger([kit.Doc(n, score=(1.0, 0.0, True)) for n in range(4)]), ["<a>"] * 4).decide(
        DROP.model_copy(update={"spans": "mask"})
    )
    assert sorted(dropped["action"]) == ["downweight", "downweight", "drop", "drop"]
    assert dropped.filter(pl.col("evidence").str.contains("span_count"))["action"].to_list() == ["downweight"]


def test_tables_of_other_documents_are_refused(kit: Any) -> None:
    """Scores of fewer documents, scores that are no numbers and removals that name a removed copy each say so."""
    ledger = kit.ledger([kit.Doc(0, "a"), kit.Doc(0, "b"), kit.Doc(0, "c")])
    ids, clusters, removals, scores = ledger.tables
    with pytest.raises(TableError, match=r"table sink_scores does not hold the audited documents; wanted 3 rows.*got 2 rows, 1 document"):
        decide(ids, clusters, removals, scores.head(2), ReleaseConfig())
    with pytest.raises(TableError, match=r"3 score.* are not finite"):
        decide(ids, clusters, removals, scores.with_columns(sink_score=float("nan")), ReleaseConfig())
    loop = removals.with_columns(kept_doc_id=removals["doc_id"].reverse())
    with pytest.raises(TableError, match=r"2 removal.*not kept.*names"):
        decide(ids, clusters, loop, scores, ReleaseConfig())
    with pytest.raises(TableError, match="content_hash wanted Binary, got None"):
        decide(ids.drop("content_hash"), clusters, removals, scores, ReleaseConfig())


def test_an_empty_corpus_has_no_decisions(kit: Any) -> None:
    """Nothing in, nothing out, no error."""
    ledger = kit.ledger([])
    assert ledger.decide(ReleaseConfig()).height == 0


def _of_reference(kit: Any, texts: list[int]) -> tuple[Any, Removals, ReferenceDocuments]:
    """Return a ledger in which every row of text 5 goes for a document of a benchmark."""
    ledger = kit.ledger([kit.Doc(text, f"s{row}") for row, text in enumerate(texts)], max_copies=len(texts))
    gone = [row for row, text in enumerate(texts) if text == 5]
    removals = pl.DataFrame([(row, -3, "exact_duplicate", 1.0, 1.0, 1.0) for row in gone], dict(REMOVALS.columns), orient="row")
    known = pl.DataFrame([(-3, "aa" * 16, "quiz", "q7", b"h" * 16, 9, 1)], dict(REFERENCE_DOCUMENTS.columns), orient="row")
    return ledger, REMOVALS.check(removals), REFERENCE_DOCUMENTS.check(known)


def test_a_copy_of_a_reference_names_it_and_its_corpus(kit: Any) -> None:
    """The id below zero is told with the corpus's digest, and with source and id there; other removals' evidence is as ever."""
    ledger, removals, references = _of_reference(kit, [5, 5, 6])
    decisions = decide(ledger.ids, ledger.clusters, removals, ledger.scores, ReleaseConfig(), ledger.pairs, references=references)
    for row in (0, 1):
        told = _row(decisions, row)
        assert (told["action"], told["reason"], told["kept_doc_id"]) == ("drop", "exact_duplicate", -3)
        named = {key: value for key, value in told["evidence"].items() if key.startswith("reference")}
        assert named == {"reference": "aa" * 16, "reference_source": "quiz", "reference_source_id": "q7"}
        assert list(told["evidence"]) == sorted(told["evidence"])
    assert (_row(decisions, 2)["action"], _row(decisions, 2)["kept_doc_id"]) == ("keep", None)


def test_a_removal_for_an_unknown_reference_is_refused(kit: Any) -> None:
    """A negative id is no excuse: the document it names has to be there."""
    ledger, removals, references = _of_reference(kit, [5, 6])
    for known in (None, ReferenceDocuments(references.clear())):
        with pytest.raises(TableError, match=r"1 removal.*doc_id 0 names -3.*a kept document or a reference"):
            decide(ledger.ids, ledger.clusters, removals, ledger.scores, ReleaseConfig(), ledger.pairs, references=known)


def test_rows_that_go_for_references_are_losses_of_their_source(kit: Any) -> None:
    """The guard on a source's loss counts them like any other removed row."""
    ledger, removals, _ = _of_reference(kit, [5, 5, 6])
    config = ReleaseConfig(max_source_loss=0.5, min_gate_rows=1)
    loss, *_ = judge_guards(ledger.ids, ledger.clusters, removals, ledger.pairs, 1, 0, config)
    assert (loss.status, loss.value) == ("warn", 1.0)
