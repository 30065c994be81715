"""Removals: in each cluster, which documents go, each with a kept document that it was directly compared with.

The members are walked in the order of the keep policy. A member goes if at least `max_copies` kept documents before it have its very
content or a verified Jaccard similarity with it at or above the threshold; else it stays. So nothing goes by a chain: a member
tied to the cluster only through others stays and is counted as transitive only. Comparisons that verification has not made are made
here, up to `max_cluster_comparisons` in a cluster; a member that ran out of them stays and is counted.

The order is total: ties in the policy go to content hash, then row hash; rows equal in both are interchangeable.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
import polars as pl

from pipeline.config import DedupConfig
from pipeline.dedup.blocks import plan_groups
from pipeline.dedup.comparison import walk
from pipeline.dedup.facts import Facts, merge_facts
from pipeline.dedup.placed import Placed, place
from pipeline.dedup.policy import order_members, read_members
from pipeline.dedup.sets import ShingleSets, StoredSets, store_sets
from pipeline.dedup.union_find import Indices
from pipeline.parallel import Counted, Mapper, in_order
from pipeline.store import Artifact
from pipeline.tables import REMOVALS, Clusters, DuplicatePairs, Removals

COUNTS = ("num_walk_comparisons", "num_skipped_walk_comparisons", "num_cut_short_members", "num_transitive_only")


def find_removals(
    documents: Artifact,
    clusters: Clusters,
    pairs: DuplicatePairs,
    sizes: pl.DataFrame,
    config: DedupConfig,
    folder: str,
    references: Sequence[Placed] = (),
    mapper: Mapper = in_order,
) -> tuple[Removals, Facts]:
    """Choose removals over all parts of the documents.

    `sizes` has num_shingles of every doc_id, and num_bytes unless the documents' texts are to be read for it. Where there are
    `references`, `clusters` and `sizes` cover those, too, and `sizes` has content_hash. `folder` holds the shingle sets that verification
    made, or takes them.
    """
    ordered = order_members(read_members(documents, clusters, config, sizes), config)
    members = put_references_first(ordered, clusters, sizes).join(sizes, "doc_id", maintain_order="left")
    is_first = pl.col("doc_id") == pl.col("doc_id").min().over("content_hash")
    # the two contents of a smaller cluster are a verified pair already
    is_chained = pl.col("content_hash").n_unique().over("cluster_id") > 2
    blocks = plan_groups(members.with_columns(is_needed=is_first & is_chained), "cluster_id", config)
    needed = np.unique(blocks.needs["doc_id"].to_numpy())
    sets = store_sets([*references, *place(documents)], needed, config, folder, mapper)

    block_of = blocks.work.select("block", doc_id_a="doc_id")
    own_pairs = pairs.join(block_of, on="doc_id_a").sort("block", maintain_order=True)

    def work() -> Iterator[tuple[pl.DataFrame, pl.DataFrame, StoredSets]]:
        for walked, doc_ids in blocks:
            first, last = np.searchsorted(own_pairs["block"].to_numpy(), walked["block"][0] + np.array([0, 1]))
            yield walked, own_pairs[int(first) : int(last)], sets.of(doc_ids)

    found = list(mapper(partial(_choose_in_block, config=config), Counted(work(), blocks.num_blocks)))
    removals = REMOVALS.check(pl.concat([REMOVALS.empty(), *(part for part, _ in found)]).sort("doc_id"))
    return removals, dict.fromkeys(("num_exact", "num_near", *COUNTS), 0) | merge_facts([facts for _, facts in found])


def _choose_in_block(block: tuple[pl.DataFrame, pl.DataFrame, StoredSets], config: DedupConfig) -> tuple[Removals, Facts]:
    members, pairs, sets = block
    return choose_removals(members, pairs, sets.read(), config)


def put_references_first(ordered: pl.DataFrame, clusters: Clusters, contents: pl.DataFrame) -> pl.DataFrame:
    """Put the reference documents of each cluster before its members; `contents` has their content_hash."""
    references = clusters.filter(pl.col("doc_id") < 0)
    if not references.height:
        return ordered
    shared = references.filter(pl.col("cluster_id").is_in(ordered["cluster_id"].implode())).select("cluster_id", "doc_id")
    known = shared.join(contents.select("doc_id", "content_hash"), on="doc_id").select("cluster_id", "content_hash", "doc_id")
    first = known.sort("cluster_id", "content_hash", "doc_id")
    return pl.concat([first, ordered]).sort("cluster_id", maintain_order=True)


def choose_removals(members: pl.DataFrame, pairs: pl.DataFrame, sets: ShingleSets, config: DedupConfig) -> tuple[Removals, Facts]:
    """Walk whole clusters: `members` has cluster_id, content_hash and doc_id, each cluster's rows together and in policy order.

    `pairs` are the verified ones among them, `sets` holds one document of every content in clusters of three contents or more. Members
    with negative ids are references: they stay, whatever they duplicate, and all that duplicates one of them goes.
    """
    contents = members["content_hash"].unique().sort()
    codes = pl.DataFrame({"content_hash": contents, "content": np.arange(len(contents))})
    rows = members.join(codes, on="content_hash", how="left", maintain_order="left")
    content = rows["content"].to_numpy()
    kept, jaccard, removed_share, kept_share, counts = walk(
        rows["cluster_id"].rle_id().to_numpy().astype(np.int64),
        content,
        rows["doc_id"].to_numpy() < 0,
        *_known_pairs(rows, pairs, len(contents)),
        _rows_of_contents(rows, sets, len(contents)),
        sets.values,
        sets.offsets,
        config.threshold,
        config.max_copies,
        config.max_cluster_comparisons,
    )
    removed = np.flatnonzero(kept >= 0)
    is_exact = content[removed] == content[kept[removed]]
    doc_ids = rows["doc_id"].to_numpy()
    removals = pl.DataFrame(
        {
            "doc_id": doc_ids[removed],
            "kept_doc_id": doc_ids[kept[removed]],
            "reason": pl.Series(np.where(is_exact, "exact_duplicate", "near_duplicate"), dtype=pl.String),
            "jaccard": jaccard[removed],
            "containment_removed": removed_share[removed],
            "containment_kept": kept_share[removed],
        }
    )
    facts = {"num_exact": int(is_exact.sum()), "num_near": int((~is_exact).sum())}
    return REMOVALS.check(removals), facts | dict(zip(COUNTS, counts.tolist(), strict=True))


def _known_pairs(rows: pl.DataFrame, pairs: pl.DataFrame, num_contents: int) -> tuple[Any, ...]:
    """Return the verified pairs as adjacency of contents: offsets, neighbours, jaccard, share of the first, share of the second."""
    codes = rows.select("doc_id", "content")
    known = pairs.join(codes, left_on="doc_id_a", right_on="doc_id").join(codes, left_on="doc_id_b", right_on="doc_id", suffix="_b")
    there = known.select("content", "content_b", "jaccard", "containment_a", "containment_b")
    back = known.select(
        content="content_b", content_b="content", jaccard="jaccard", containment_a="containment_b", containment_b="containment_a"
    )
    both = pl.concat([there, back]).sort("content", "content_b")
    offsets = np.searchsorted(both["content"].to_numpy(), np.arange(num_contents + 1))
    return (offsets, *(both[name].to_numpy() for name in ("content_b", "jaccard", "containment_a", "containment_b")))


def _rows_of_contents(rows: pl.DataFrame, sets: ShingleSets, num_contents: int) -> Indices:
    """Return each content's row in the sets, -1 where its cluster needs none."""
    held = rows.filter(pl.col("doc_id").is_in(pl.Series(sets.doc_ids).implode())).select("doc_id", "content")
    found = np.full(num_contents, -1, np.int64)
    found[held["content"].to_numpy()] = sets.rows_of(held["doc_id"].to_numpy())
    return found
