"""Clusters: components of equal contents and verified pairs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dedup.clusters import cluster_documents, rank_contents
from pipeline.tables import DUPLICATE_PAIRS, Clusters, DuplicatePairs


def documents(contents: list[int]) -> pl.DataFrame:
    hashes = [content.to_bytes(16, "big") for content in contents]
    return pl.DataFrame({"doc_id": np.arange(len(contents)), "content_hash": pl.Series(hashes, dtype=pl.Binary)})


def duplicate_pairs(pairs: Mapping[tuple[int, int], float]) -> DuplicatePairs:
    rows = [(a, b, jaccard, jaccard, jaccard) for (a, b), jaccard in sorted(pairs.items())]
    return DUPLICATE_PAIRS.check(pl.DataFrame(rows, schema=dict(DUPLICATE_PAIRS.columns), orient="row"))


def groups_of(clusters: Clusters) -> set[frozenset[int]]:
    return {frozenset(group["doc_id"]) for group in clusters.partition_by("cluster_id")}


def plain_groups(contents: list[int], pairs: list[tuple[int, int]]) -> set[frozenset[int]]:
    """Grow groups until nothing changes."""
    groups = [frozenset(i for i, other in enumerate(contents) if other == content) for content in set(contents)]
    for a, b in pairs:
        touched = [group for group in groups if a in group or b in group]
        groups = [group for group in groups if group not in touched] + [frozenset().union(*touched)]
    return set(groups)


CONTENTS = st.lists(st.integers(0, 12), min_size=2, max_size=20)


def draw_pairs(data: st.DataObject, size: int) -> dict[tuple[int, int], float]:
    ids = st.integers(0, size - 1)
    pair = st.tuples(ids, ids).filter(lambda both: both[0] < both[1])
    return data.draw(st.dictionaries(pair, st.sampled_from([0.8, 0.85, 0.9, 1.0]), max_size=15))


@settings(max_examples=200, deadline=None)
@given(contents=CONTENTS, data=st.data())
def test_clusters_are_the_connected_components(contents: list[int], data: st.DataObject) -> None:
    """Every document is in one cluster, named by the smallest content hash in it, with its true size."""
    pairs = draw_pairs(data, len(contents))
    clusters, facts = cluster_documents(documents(contents), duplicate_pairs(pairs))
    expected = plain_groups(contents, list(pairs))
    assert groups_of(clusters) == expected
    assert clusters["doc_id"].to_list() == list(range(len(contents)))
    for doc_id, cluster_id, size in clusters.rows():
        group = next(group for group in expected if doc_id in group)
        assert size == len(group)
        assert int.from_bytes(cluster_id, "big") == min(contents[member] for member in group)
    assert facts["num_clusters"] == len(expected)
    assert facts["largest_cluster"] == max(map(len, expected))
    assert facts["num_singletons"] == sum(len(group) == 1 for group in expected)
    assert facts["num_contents"] == len(set(contents))


@settings(max_examples=100, deadline=None)
@given(contents=CONTENTS, data=st.data())
def test_raising_the_threshold_only_splits_clusters(contents: list[int], data: st.DataObject) -> None:
    """On the same candidates each cluster at a higher threshold lies within one at a lower."""
    pairs = draw_pairs(data, len(contents))
    loose, _ = cluster_documents(documents(contents), duplicate_pairs(pairs))
    strict, _ = cluster_documents(documents(contents), duplicate_pairs({pair: value for pair, value in pairs.items() if value >= 0.9}))
    assert all(any(small <= large for large in groups_of(loose)) for small in groups_of(strict))


def test_no_documents_form_no_clusters() -> None:
    """An empty corpus is a table without rows."""
    clusters, facts = cluster_documents(documents([]), duplicate_pairs({}))
    assert clusters.height == 0
    assert facts["num_clusters"] == 0


@given(st.lists(st.binary(min_size=16, max_size=16) | st.sampled_from([bytes(16), b"\xff" * 16]), max_size=30), st.integers(1, 7))
def test_ranks_are_those_of_the_sorted_contents(hashes: list[bytes], size: int) -> None:
    """Hashes are ranked as bytes, however the column is cut into chunks, and each rank's first row is the first that has it."""
    chunks = [pl.Series("h", hashes[at : at + size], dtype=pl.Binary) for at in range(0, len(hashes), size)]
    ranks, firsts = rank_contents(pl.concat(chunks, rechunk=False) if chunks else pl.Series("h", [], dtype=pl.Binary))
    distinct = sorted(set(hashes))
    assert ranks.tolist() == [distinct.index(content) for content in hashes]
    assert firsts.tolist() == [hashes.index(content) for content in distinct]
