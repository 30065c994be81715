"""Removals: the walk equals its plain form, and nothing goes without a direct comparison."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import DedupConfig
from pipeline.dedup.removals import choose_removals
from pipeline.dedup.sets import ShingleSets
from pipeline.tables import DUPLICATE_PAIRS, Documents, DuplicatePairs

Sets = list[frozenset[int]]


def jaccard(one: frozenset[int], two: frozenset[int]) -> float:
    return len(one & two) / len(one | two)


def plain_walk(contents: list[int], sets: Sets, threshold: float, max_copies: int) -> tuple[set[int], int]:
    """Return the rows removed from one cluster whose rows are in policy order, and how many stay though tied by a chain only."""
    kept: list[int] = []
    removed: set[int] = set()
    transitive = 0
    for row, own in enumerate(contents):
        copies = sum(contents[other] == own or jaccard(sets[own], sets[contents[other]]) >= threshold for other in kept)
        if copies >= max_copies:
            removed.add(row)
        else:
            transitive += bool(kept) and copies == 0
            kept.append(row)
    return removed, transitive


def walk(contents: list[int], sets: Sets, known: list[tuple[int, int]], **settings: Any) -> tuple[pl.DataFrame, dict[str, int]]:
    members = pl.DataFrame(
        {
            "cluster_id": pl.Series([b"c" * 16] * len(contents), dtype=pl.Binary),
            "content_hash": pl.Series([content.to_bytes(16, "big") for content in contents], dtype=pl.Binary),
            "doc_id": np.arange(len(contents)),
        }
    )
    first = {content: contents.index(content) for content in sorted(set(contents))}
    doc_ids = sorted(first.values())
    values = [sorted(sets[contents[doc_id]]) for doc_id in doc_ids]
    held = ShingleSets(
        np.array(doc_ids, np.int64),
        np.array([value for each in values for value in each], np.uint64),
        np.cumsum([0, *map(len, values)]).astype(np.int64),
    )
    return choose_removals(members, known_pairs(known, first, sets), held, DedupConfig(**settings))


def known_pairs(known: list[tuple[int, int]], first: dict[int, int], sets: Sets) -> DuplicatePairs:
    rows = []
    for one, two in known:
        a, b = sorted((one, two), key=lambda content: first[content])
        shared = len(sets[a] & sets[b])
        rows.append((first[a], first[b], jaccard(sets[a], sets[b]), shared / len(sets[a]), shared / len(sets[b])))
    return DUPLICATE_PAIRS.check(pl.DataFrame(rows, schema=dict(DUPLICATE_PAIRS.columns), orient="row"))


@settings(max_examples=300, deadline=None)
@given(data=st.data(), max_copies=st.integers(1, 3), threshold=st.sampled_from([0.4, 0.6, 0.8]))
def test_the_walk_equals_its_plain_form(data: st.DataObject, max_copies: int, threshold: float) -> None:
    """Whatever verification already knows, the same documents go, each with true evidence against a kept one."""
    sets = data.draw(st.lists(st.frozensets(st.integers(0, 9), min_size=4), min_size=1, max_size=7, unique=True))
    contents = data.draw(st.lists(st.integers(0, len(sets) - 1), min_size=1, max_size=14))
    similar = [(a, b) for a, b in combinations(sorted(set(contents)), 2) if jaccard(sets[a], sets[b]) >= threshold]
    known = [pair for pair in similar if data.draw(st.booleans())]
    removals, facts = walk(contents, sets, known, threshold=threshold, max_copies=max_copies)
    removed, transitive = plain_walk(contents, sets, threshold, max_copies)
    assert set(removals["doc_id"]) == removed
    assert facts["num_transitive_only"] == transitive
    for doc_id, kept_doc_id, reason, value, removed_share, kept_share in removals.rows():
        own, other = sets[contents[doc_id]], sets[contents[kept_doc_id]]
        assert kept_doc_id not in removed
        assert (reason == "exact_duplicate") == (contents[doc_id] == contents[kept_doc_id])
        assert (value, removed_share, kept_share) == (jaccard(own, other), len(own & other) / len(own), len(own & other) / len(other))
        assert value >= threshold


def test_a_chain_does_not_carry_a_removal() -> None:
    """a-b and b-c verify, a-c does not: b goes with a, and c stays as transitive only."""
    a, b, c = frozenset(range(10)), frozenset(range(1, 11)), frozenset(range(2, 12))
    removals, facts = walk([0, 1, 2], [a, b, c], [(0, 1), (1, 2)], threshold=0.8)
    assert removals.select("doc_id", "kept_doc_id").rows() == [(1, 0)]
    assert facts == {
        "num_exact": 0,
        "num_near": 1,
        "num_walk_comparisons": 1,
        "num_skipped_walk_comparisons": 0,
        "num_cut_short_members": 0,
        "num_transitive_only": 1,
    }


def test_a_member_that_ran_out_of_comparisons_stays_and_is_counted() -> None:
    """The cap errs on the side of keeping."""
    sets = [frozenset(range(i, i + 20)) for i in range(4)]
    removals, facts = walk([0, 1, 2, 3], sets, [], threshold=0.8, max_cluster_comparisons=1)
    assert removals["doc_id"].to_list() == [1]
    assert (facts["num_walk_comparisons"], facts["num_skipped_walk_comparisons"], facts["num_cut_short_members"]) == (1, 3, 2)


def test_empty_texts_are_copies_of_each_other_and_of_nothing_else(
    make_documents: Callable[..., Documents], deduplicate: Callable[..., Any]
) -> None:
    """Null, blank and empty texts form one exact cluster, whatever else is short."""
    result = deduplicate([make_documents(["", "a", None, " \n", "b"])], DedupConfig())
    assert result.removals["reason"].to_list() == ["exact_duplicate"] * 2
    assert set(result.removals["doc_id"]) < {0, 2, 3}
    assert result.clusters["cluster_size"].to_list() == [3, 1, 3, 3, 1]


@pytest.mark.parametrize("max_copies", [1, 2, 5])
def test_the_copy_allowance_counts_rows(make_documents: Callable[..., Documents], deduplicate: Callable[..., Any], max_copies: int) -> None:
    """Of five equal rows and one edited version, `max_copies` stay."""
    text = [f"word{i}" for i in range(100)]
    documents = make_documents([" ".join(text)] * 5 + [" ".join([*text, "more"])])
    result = deduplicate([documents], DedupConfig(max_copies=max_copies))
    assert 6 - result.removals.height == max_copies
