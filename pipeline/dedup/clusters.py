"""Clusters: documents tied by equal content or by chains of verified pairs. A cluster is a neighbourhood, not yet a verdict.

What is removed is decided afterwards by direct comparison (`removals`). Texts without a visible character all have the content hash of
the empty text and so form one exact cluster of their own; they have no shingles, are never proposed to anything, and the release drops
them with the reason `empty`.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from pipeline.dedup.facts import Facts
from pipeline.dedup.union_find import Indices, connect
from pipeline.tables import CLUSTERS, Clusters, DuplicatePairs, is_rising


def cluster_documents(documents: pl.DataFrame, pairs: DuplicatePairs) -> tuple[Clusters, Facts]:
    """Return every document's cluster: its id is the smallest content hash in it.

    `documents` has doc_id and content_hash (columns of `signatures`, all parts); this is the one stage that sees all pairs. Beside them
    it holds some eighty bytes a document: numbers instead of hashes, no table of hashes.
    """
    doc_ids = documents["doc_id"].to_numpy()
    ranks, firsts = rank_contents(documents["content_hash"])
    # ranks follow the hashes, so that the smallest node of a component is its smallest hash
    roots = connect(len(firsts), *(ranks[_places(doc_ids, pairs[end].to_numpy())] for end in ("doc_id_a", "doc_id_b")))
    num_clusters = int(np.count_nonzero(roots == np.arange(len(roots))))
    root_of = roots[ranks]
    sizes = np.bincount(root_of, minlength=len(roots))[root_of]
    ids = documents["content_hash"].gather(firsts[root_of])
    frame = pl.DataFrame({"doc_id": documents["doc_id"], "cluster_id": ids, "cluster_size": sizes})
    clusters = CLUSTERS.check(frame if is_rising(doc_ids) else frame.sort("doc_id"))
    return clusters, count_clusters(clusters, len(firsts), num_clusters)


def rank_contents(hashes: pl.Series) -> tuple[Indices, Indices]:
    """Return the rank of each 16-byte hash among the distinct ones, and for each rank the first row that has it."""
    words = np.concatenate([np.empty((0, 2), ">u8"), *map(_words, hashes.get_chunks())])
    high, low = words[:, 0].astype(np.uint64), words[:, 1].astype(np.uint64)
    del words
    order = np.lexsort((low, high))
    is_first = np.ones(len(order), np.bool_)
    for half in (high, low):
        ordered = half[order]
        is_first[1:] &= ordered[1:] == ordered[:-1]
    is_first[1:] = ~is_first[1:]
    ranks = np.empty(len(order), np.int64)
    ranks[order] = np.cumsum(is_first) - 1
    return ranks, order[is_first]


def _words(hashes: pl.Series) -> npt.NDArray[np.uint64]:
    column = hashes.to_arrow().cast(pa.large_binary()).cast(pa.binary(16))
    return (
        np.frombuffer(column.buffers()[1], ">u8").reshape(-1, 2)[column.offset :][: len(column)] if len(column) else np.empty((0, 2), ">u8")
    )


def _places(doc_ids: Indices, wanted: Indices) -> Indices:
    """Return the row of each wanted document."""
    order = None if is_rising(doc_ids) else np.argsort(doc_ids)
    found = np.minimum(np.searchsorted(doc_ids, wanted, sorter=order), max(len(doc_ids) - 1, 0))
    rows = found if order is None else order[found]
    assert np.array_equal(doc_ids[rows], wanted) if len(wanted) else True, "a pair names a document that is not there"
    return rows


def count_clusters(clusters: Clusters, num_contents: int, num_clusters: int) -> Facts:
    """Return the counts that travel beside clusters."""
    return {
        "num_documents": clusters.height,
        "num_contents": num_contents,
        "num_clusters": num_clusters,
        "num_singletons": clusters.filter(pl.col("cluster_size") == 1).height,
        "largest_cluster": int(clusters["cluster_size"].max() or 0),  # type: ignore[arg-type]
    }
