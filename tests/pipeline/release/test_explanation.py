from __future__ import annotations

import json
from typing import Any

import pytest

from pipeline.config import ReleaseConfig
from pipeline.errors import InputError
from pipeline.release.explanation import RULES, Explanation, explain
from pipeline.tables import REASONS


def _explained(kit: Any, docs: list[Any], alike: frozenset[tuple[int, int]] = frozenset(), **settings: Any) -> list[Explanation]:
    ledger = kit.ledger(docs, alike)
    frames = {
        "ids": ledger.ids,
        "clusters": ledger.clusters,
        "removals": ledger.removals,
        "duplicate_pairs": ledger.pairs,
        "scores": ledger.scores,
        "decisions": ledger.decide(ReleaseConfig(**settings)),
    }
    explained = [explain(doc_id, **frames) for doc_id in range(len(docs))]
    assert explained == [explain(f"row-{doc_id}", **frames) for doc_id in range(len(docs))]
    assert explained == [explain(str(doc_id), **frames) for doc_id in range(len(docs))]
    return explained


def test_a_removed_row_names_its_kept_copy_and_how_alike_they_are(kit: Any) -> None:
    """Id, source, Jaccard and containment both ways, seen from the removed side."""
    explained = _explained(kit, [kit.Doc(0, "web"), kit.Doc(1, "books")], frozenset({(0, 1)}))
    removed = next(one for one in explained if one.action == "drop")
    kept = next(one for one in explained if one.action == "keep")
    assert removed.kept_copy is not None
    assert (removed.kept_copy.doc_id, removed.kept_copy.source_id) == (kept.doc_id, kept.source_id)
    assert (removed.kept_copy.jaccard, removed.kept_copy.containment_of_this, removed.kept_copy.containment_of_other) == (0.85, 0.85, 0.9)
    assert "reason near_duplicate" in removed.to_text()
    assert "Jaccard 0.850; 85.0% of this in it, 90.0% of it in this" in removed.to_text()
    assert (kept.kept_copy, kept.num_removed_for_it, kept.reason) == (None, 1, "representative")
    assert "1 removed in favour of this one" in kept.to_text()


def test_a_chained_row_says_that_no_kept_copy_was_verified(kit: Any) -> None:
    """A long chain holds members that are transitive only, and each says so."""
    explained = _explained(kit, [kit.Doc(number) for number in range(6)], frozenset((n, n + 1) for n in range(5)))
    chained = [one for one in explained if one.evidence.get("link") == "transitive_only"]
    assert chained
    for one in chained:
        assert one.rule.startswith("a chain of duplicates ties it")
        assert all(other.action == "drop" for other in one.neighbours)
        assert one.neighbours


def test_every_copy_of_a_text_finds_the_pairs_of_that_text(kit: Any) -> None:
    """Pairs are recorded for one document of each text; the others show them as well."""
    explained = _explained(kit, [kit.Doc(0, "a"), kit.Doc(0, "b"), kit.Doc(1, "c")], frozenset({(0, 1)}))
    assert [[other.doc_id for other in one.neighbours] for one in explained] == [[2], [2], [0]]


def test_an_undecided_score_says_that_nothing_was_done(kit: Any) -> None:
    """The interval reaches below the threshold, and the rule says so."""
    (row,) = _explained(kit, [kit.Doc(0, score=(0.9, 0.6, True))])
    assert "decision: keep (weight 1), reason unique" in row.to_text()
    assert "its interval reaches below" in row.to_text()


def test_a_sink_says_its_score_interval_signals_and_what_spared_it(kit: Any) -> None:
    """Down-weighted because the interval is too wide to drop."""
    (sink,) = _explained(kit, [kit.Doc(0, score=(0.9, 0.6, True))], policy="drop", drop_threshold=0.5, sink_bound="score")
    text = sink.to_text()
    assert "decision: downweight (weight 0.28), reason sink_risk" in text
    assert "at or above the threshold of 0.5; it is not dropped because the interval" in text
    assert "sink score: 0.900 (0.300 to 1.000; 1 is bad)" in text
    assert "signals: copies and gradient norm" in text


def test_kept_empty_and_unsupported_rows_explain_themselves(kit: Any) -> None:
    """Each has its rule in words; every reason of the ledger has one."""
    empty, unsure, kept = _explained(kit, [kit.Doc(None), kit.Doc(0, score=(0.9, 0.0, False)), kit.Doc(1)])
    assert (empty.reason, unsure.reason, kept.reason) == ("empty", "outside_support", "unique")
    assert "outside the predictor's support" in unsure.to_text()
    assert set(RULES) == set(REASONS)


def test_explanations_are_json_and_safe_for_a_terminal(kit: Any) -> None:
    """Control characters of a user's id never reach the terminal."""
    (one,) = _explained(kit, [kit.Doc(0, "web\x1b[31m\nfake line")])
    assert json.loads(json.dumps(one.to_json()))["source"] == "web\x1b[31m\nfake line"
    assert "\x1b" not in one.to_text()
    assert "\nfake" not in one.to_text()


def test_an_unknown_or_ambiguous_id_is_refused(kit: Any) -> None:
    """The message lists the doc_ids that share a source_id."""
    ledger = kit.ledger([kit.Doc(0), kit.Doc(1)])
    frames = {"clusters": ledger.clusters, "removals": ledger.removals, "duplicate_pairs": ledger.pairs, "scores": ledger.scores}
    frames["decisions"] = ledger.decide(ReleaseConfig(), with_pairs=False)
    with pytest.raises(InputError, match="no document has this id; in 7"):
        explain("7", ids=ledger.ids, **frames)
    with pytest.raises(InputError, match="no document has this id"):
        explain(-1, ids=ledger.ids, **frames)
    twins = ledger.ids.with_columns(source_id=ledger.ids["source_id"].replace("row-1", "row-0"))
    with pytest.raises(InputError, match=r"2 documents have this source_id.*0, 1"):
        explain("row-0", ids=twins, **frames)
