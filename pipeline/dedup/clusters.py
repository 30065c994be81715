"""Clusters: documents tied by equal content or by chains of verified pairs. A cluster is a neighbourhood, not yet a verdict.

What is removed is decided afterwards by direct comparison (`removals`). Texts without a visible character all have the content hash of
the empty text and so form one exact cluster of their own; they have no shingles, are never proposed to anything, and the release drops
them with the reason `empty`.
"""

from __future__ import annotations

import numpy as np
import polars as pl

from pipeline.dedup.facts import Facts
from pipeline.dedup.union_find import connect
from pipeline.tables import CLUSTERS, Clusters, DuplicatePairs


def cluster_documents(documents: pl.DataFrame, pairs: DuplicatePairs) -> tuple[Clusters, Facts]:
    """Return every document's cluster: its id is the smallest content hash in it.

    `documents` has doc_id and content_hash (columns of `signatures`, all parts); this is the one stage that sees all pairs.
    """
    contents = documents["content_hash"].unique().sort()
    # ranks follow the hashes, so that the smallest node of a component is its smallest hash
    ranks = pl.DataFrame({"content_hash": contents, "rank": np.arange(len(contents))})
    ranked = documents.select("doc_id", "content_hash").join(ranks, on="content_hash", how="left", maintain_order="left")
    ends = [
        pairs.join(ranked, left_on=end, right_on="doc_id", maintain_order="left")["rank"].to_numpy() for end in ("doc_id_a", "doc_id_b")
    ]
    assert len(ends[0]) == len(ends[1]) == pairs.height, "a pair names a document that is not there"
    roots = connect(len(contents), *ends)
    frame = ranked.select("doc_id", cluster_id=contents.gather(roots[ranked["rank"].to_numpy()]))
    clusters = CLUSTERS.check(frame.with_columns(cluster_size=pl.len().over("cluster_id").cast(pl.Int64)).sort("doc_id"))
    return clusters, _facts(clusters, len(contents), len(np.unique(roots)))


def _facts(clusters: Clusters, num_contents: int, num_clusters: int) -> Facts:
    return {
        "num_documents": clusters.height,
        "num_contents": num_contents,
        "num_clusters": num_clusters,
        "num_singletons": clusters.filter(pl.col("cluster_size") == 1).height,
        "largest_cluster": int(clusters["cluster_size"].max() or 0),  # type: ignore[arg-type]
    }
