from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest

from pipeline.config import ReleaseConfig
from pipeline.errors import InputError
from pipeline.release.decisions import placed_spans
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


def test_a_row_lists_its_repeated_spans_and_what_became_of_each(kit: Any) -> None:
    """Offsets, words, occurrences, documents, where the first occurrence stays, and never the text."""
    texts = ["<secret é> and <lonely>", "more <secret é>", "<lonely>"]
    docs = [kit.Doc(0), kit.Doc(1), kit.Doc(2, score=(1.0, 0.0, True))]
    ledger = kit.with_texts(kit.ledger(docs), texts)
    frames: dict[str, Any] = {"ids": ledger.ids, "clusters": ledger.clusters, "removals": ledger.removals, "scores": ledger.scores}
    for policy, word in (("mask", "masked"), ("trim", "trimmed")):
        config = ReleaseConfig(policy="review", hold_review=True, spans=policy)
        decisions = ledger.decide(config)
        placed = placed_spans(ledger.ids, decisions, ledger.spans, config)
        told = [
            explain(doc, **frames, duplicate_pairs=ledger.pairs, decisions=decisions, spans=ledger.spans, placed=placed) for doc in range(3)
        ]
        (other,) = [one for one in told[:2] if one.action == "mask"]
        first = told[1 - other.doc_id]
        (span,) = [span for span in other.spans if span.treatment == word]
        assert (span.kept_doc_id, span.num_words, span.num_occurrences, span.num_documents) == (first.doc_id, 2, 2, 2)
        assert texts[other.doc_id].encode()[span.start : span.end].decode() == "<secret é>"
        assert f"{span.start} to {span.end}, 2 words, {word}: 2 occurrence(s) in 2 document(s); the first" in other.to_text()
        assert [span.treatment for span in first.spans if span.num_words == 2] == ["kept"]
        assert [span.treatment for one in told for span in one.spans if span.num_words == 1] == ["listed", "listed"]
        assert "of which the first occurrence stays" in other.rule
        assert not any("secret" in one.to_text() + json.dumps(one.to_json()) for one in told)
    listed = explain(0, **frames, duplicate_pairs=ledger.pairs, decisions=ledger.decide(ReleaseConfig()), spans=ledger.spans)
    assert [span.treatment for span in listed.spans] == ["listed", "listed"]


def test_a_weighed_row_says_that_its_spans_are_treated_as_well(kit: Any) -> None:
    """The sink's rule comes first and the spans are told behind it."""
    ledger = kit.with_texts(kit.ledger([kit.Doc(n, score=(1.0, 0.0, True)) for n in range(2)]), ["<a>", "<a>"])
    decisions = ledger.decide(ReleaseConfig(spans="mask"))
    frames: dict[str, Any] = {"ids": ledger.ids, "clusters": ledger.clusters, "removals": ledger.removals, "scores": ledger.scores}
    rules = [explain(doc, **frames, duplicate_pairs=ledger.pairs, decisions=decisions, spans=ledger.spans).rule for doc in range(2)]
    assert sum("1 repeated span(s) in it are left out of the loss as well" in rule for rule in rules) == 1


def test_a_long_list_of_spans_is_cut_for_the_terminal(kit: Any) -> None:
    """Twenty lines and how many more; JSON has all."""
    ledger = kit.with_texts(kit.ledger([kit.Doc(0), kit.Doc(1)]), ["<a> " * 30, "<a>"])
    frames: dict[str, Any] = {"ids": ledger.ids, "clusters": ledger.clusters, "removals": ledger.removals, "scores": ledger.scores}
    one = explain(0, **frames, duplicate_pairs=ledger.pairs, decisions=ledger.decide(ReleaseConfig()), spans=ledger.spans)
    assert len(one.to_json()["spans"]) == 30
    assert "\n  and 10 more\n" in one.to_text()


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
    with pytest.raises(InputError, match=r"2 documents have this source_id.*doc_id:0 of 'web', doc_id:1 of 'web'"):
        explain("row-0", ids=twins, **frames)


def test_copies_places_and_rules_are_told_in_words(kit: Any) -> None:
    """Of three equal texts two stay: the third names both, its place, and by what the first was preferred; bands are told if known."""
    ledger = kit.ledger([kit.Doc(0, "a"), kit.Doc(0, "b"), kit.Doc(0, "c"), kit.Doc(1)], frozenset({(0, 1)}), max_copies=2)
    places = ledger.ids.sort("content_hash", "row_hash").select("doc_id").with_row_index("rank", offset=1)
    order = places.select("doc_id", pl.col("rank").cast(pl.Int64), longest=pl.lit(1), row_hash=pl.col("rank"))
    candidates = ledger.pairs.select("doc_id_a", "doc_id_b", shared_bands=pl.lit(11, pl.Int32), estimated_jaccard=pl.lit(0.86))
    frames = {"ids": ledger.ids, "clusters": ledger.clusters, "removals": ledger.removals, "scores": ledger.scores}
    frames |= {"duplicate_pairs": ledger.pairs, "decisions": ledger.decide(ReleaseConfig()), "order": order, "candidate_pairs": candidates}
    explained = sorted((explain(doc_id, **frames) for doc_id in range(4)), key=lambda one: one.rank or 0)
    kept, capped, *removed = (one.to_text() for one in explained)
    assert "place: 1 of 4 in the order of the keep policy" in kept
    assert "removed in its favour:" in kept
    assert "1 kept document(s) it is a copy of:" in capped
    assert "reason copy_cap" in capped or "reason representative" in capped
    for text in removed:
        assert "chosen by: row_hash, the first in the order of the keep policy by which the two differ" in text
        assert "further kept copies:" in text
        assert "place 1, parted by row_hash" in text
    assert sum("11 shared band(s), estimated 0.860" in one.to_text() for one in explained) == 4
