"""Ties of a document: what is told of its copies, its chain and its failed proposals is true, and its cluster is enough to tell it."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.config import ReleaseConfig
from pipeline.release.relations import Relations, relate
from pipeline.tables import CANDIDATE_PAIRS, DUPLICATE_PAIRS, REMOVALS, CandidatePairs, DuplicatePairs


def _candidates(pairs: DuplicatePairs, failed: list[tuple[int, int]]) -> CandidatePairs:
    """Return the verified pairs as proposed by nine bands, and others, which failed, by one."""
    rows = [(a, b, 9, 0.84) for a, b in pairs.select("doc_id_a", "doc_id_b").rows()]
    known = {row[:2] for row in rows}
    rows += [(a, b, 1, 0.7) for a, b in sorted({(min(pair), max(pair)) for pair in failed}) if a != b and (a, b) not in known]
    return CANDIDATE_PAIRS.check(pl.DataFrame(rows, schema=dict(CANDIDATE_PAIRS.columns), orient="row"))


def _order(ledger: Any) -> pl.DataFrame:
    """Rank each cluster's documents by hashes, as the kit's walk does."""
    rows = ledger.ids.join(ledger.clusters, on="doc_id").sort("content_hash", "row_hash", "doc_id")
    hashes = [pl.col(name).rank("dense").over("cluster_id").cast(pl.Int64) for name in ("content_hash", "row_hash")]
    return rows.select("doc_id", pl.int_range(1, pl.len() + 1).over("cluster_id").alias("rank"), *hashes)


def _related(
    kit: Any, docs: list[Any], alike: frozenset[tuple[int, int]] = frozenset(), max_copies: int = 1, **given_: Any
) -> list[Relations]:
    ledger = kit.ledger(docs, alike, max_copies)
    tables = (ledger.ids, ledger.removals, ledger.pairs, ledger.decide(ReleaseConfig(policy="report")))
    return [relate(doc_id, *tables, _candidates(ledger.pairs, given_.get("failed", [])), _order(ledger)) for doc_id in range(len(docs))]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_documents_cluster_and_its_proposals_are_enough(kit: Any, data: st.DataObject) -> None:
    """Tables cut down to them tell the same as the whole tables."""
    docs, alike, max_copies = data.draw(kit.corpora().filter(lambda drawn: len(drawn[0]) > 0))
    ledger = kit.ledger(docs, alike, max_copies)
    decisions, order = ledger.decide(ReleaseConfig(policy="report")), _order(ledger)
    with_text = ledger.ids.filter(pl.col("is_empty").not_())
    proposable = with_text.group_by("content_hash").agg(pl.col("doc_id").min())["doc_id"].sort().to_list()
    failed = data.draw(st.lists(st.tuples(st.sampled_from(proposable), st.sampled_from(proposable)), max_size=5)) if proposable else []
    candidates = _candidates(ledger.pairs, failed)
    doc_id = data.draw(st.integers(0, len(docs) - 1))
    whole = relate(doc_id, ledger.ids, ledger.removals, ledger.pairs, decisions, candidates, order)
    cluster = ledger.clusters.filter(pl.col("doc_id") == doc_id)["cluster_id"]
    members = ledger.clusters.filter(pl.col("cluster_id").is_in(cluster.implode()))["doc_id"].implode()
    either = pl.col("doc_id_a").is_in(members) | pl.col("doc_id_b").is_in(members)
    proposed = candidates.filter(either)
    named = pl.concat([members.explode(), proposed["doc_id_a"], proposed["doc_id_b"]]).unique().implode()
    cut = [frame.filter(pl.col("doc_id").is_in(named)) for frame in (ledger.ids, ledger.removals, decisions)]
    assert whole == relate(doc_id, cut[0], cut[1], ledger.pairs.filter(either), cut[2], proposed, order)  # type: ignore[arg-type]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_copies_are_the_verified_kept_ones_and_chains_are_whole(kit: Any, data: st.DataObject) -> None:
    """Against a plain list of all kept documents; each step of a chain is a verified pair and only its end is kept."""
    docs, alike, max_copies = data.draw(kit.corpora())
    ledger = kit.ledger(docs, alike, max_copies)
    rows = ledger.decide(ReleaseConfig(policy="report")).rows(named=True)
    kept = [row["doc_id"] for row in rows if row["action"] == "keep"]
    for doc_id, found in enumerate(_related(kit, docs, alike, max_copies)):
        verified = [other for other in kept if other != doc_id and kit.is_verified(docs[doc_id], docs[other], alike)]
        assert found.num_copies == len(verified)
        assert {other.doc_id for other in found.copies} <= set(verified)
        assert [other.rank for other in found.copies] == sorted(other.rank for other in found.copies if other.rank is not None)
        assert (found.kept_copy is not None) == (rows[doc_id]["kept_doc_id"] is not None)
        assert (len(found.copies) >= max_copies) or rows[doc_id]["kept_doc_id"] is None or max_copies > 5
        assert bool(found.chain) == ('"transitive_only"' in rows[doc_id]["evidence"])
        steps = [doc_id, *(other.doc_id for other in found.chain)]
        assert all(kit.is_verified(docs[a], docs[b], alike) for a, b in pairwise(steps))
        assert [other.action for other in found.chain] == ["drop"] * (len(found.chain) - 1) + ["keep"] * bool(found.chain)


def test_a_capped_copy_names_the_copies_beside_it_and_its_place(kit: Any) -> None:
    """Of three equal texts two stay; the third names both, and the rule that put them first."""
    found = _related(kit, [kit.Doc(0, source) for source in ("a", "b", "c")], max_copies=2)
    by_rank = sorted(found, key=lambda one: one.rank or 0)
    assert [one.num_copies for one in by_rank] == [1, 1, 2]
    assert [[other.rank for other in one.copies] for one in by_rank] == [[2], [1], [1, 2]]
    assert {other.parted_by for one in found for other in one.copies} == {"row_hash"}
    assert by_rank[2].kept_copy == by_rank[2].copies[0]
    assert len(by_rank[0].stands_for) == 1


def test_equal_rows_are_parted_by_nothing(kit: Any) -> None:
    """No rule tells interchangeable rows apart."""
    found = _related(kit, [kit.Doc(0), kit.Doc(0)])
    assert [one.kept_copy.parted_by for one in found if one.kept_copy] == [None]


def test_shared_bands_belong_to_texts_and_failed_proposals_are_told(kit: Any) -> None:
    """A copy of a proposed text has that text's bands; a proposal that failed is no neighbour; an empty row has no ties."""
    docs = [kit.Doc(0, "a"), kit.Doc(0, "b"), kit.Doc(1), kit.Doc(2), kit.Doc(None), kit.Doc(None)]
    found = _related(kit, docs, frozenset({(0, 1)}), failed=[(0, 3)])
    near = [one for one in found if one.kept_copy and one.kept_copy.jaccard < 1.0]
    assert near
    assert {(one.kept_copy.shared_bands, one.kept_copy.estimated_jaccard) for one in near if one.kept_copy} == {(9, 0.84)}
    assert [[other.doc_id for other in one.rejected] for one in found] == [[3], [3], [], [0], [], []]
    assert found[3].rejected[0].estimated_jaccard == 0.7
    assert found[4] == found[5] or (found[4].kept_copy, found[4].copies, found[4].stands_for) == (None, (), ())


def test_a_copy_of_a_reference_document_names_it(kit: Any) -> None:
    """References have negative ids, stay whatever they equal, and stand in no table of documents."""
    ledger = kit.ledger([kit.Doc(0), kit.Doc(1)])
    removals = REMOVALS.check(pl.DataFrame([(0, -7, "near_duplicate", 0.9, 0.95, 0.94)], schema=dict(REMOVALS.columns), orient="row"))
    pairs = DUPLICATE_PAIRS.check(pl.DataFrame([(-7, 0, 0.9, 0.94, 0.95)], schema=dict(DUPLICATE_PAIRS.columns), orient="row"))
    decided = ledger.decide(ReleaseConfig(policy="report")).with_columns(
        kept_doc_id=pl.when(pl.col("doc_id") == 0).then(pl.lit(-7)), reason=pl.when(pl.col("doc_id") == 0).then(pl.lit("near_duplicate"))
    )
    found = relate(0, ledger.ids, removals, pairs, decided, _candidates(pairs, []))
    assert found.kept_copy is not None
    assert (found.kept_copy.doc_id, found.kept_copy.source, found.kept_copy.action) == (-7, "reference", "reference")
    assert (found.kept_copy.containment_of_this, found.kept_copy.shared_bands) == (0.95, 9)
    assert found.copies == found.neighbours == (found.kept_copy,)
