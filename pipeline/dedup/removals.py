"""Removals: in each cluster, which documents go, each with a kept document that it was directly compared with.

The members are walked in the order of the keep policy. A member goes if at least `max_copies` kept documents before it have its very
content or a verified Jaccard similarity with it at or above the threshold; else it stays. So nothing goes by a chain: a member
tied to the cluster only through others stays and is counted as transitive only. Comparisons that verification has not made are made
here, up to `max_cluster_comparisons` in a cluster; a member that ran out of them stays and is counted.

The order is total: ties in the policy go to content hash, then row hash; rows equal in both are interchangeable.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from numba import njit

from pipeline.config import DedupConfig
from pipeline.dedup.blocks import ShingleSets, iter_blocks, plan_groups
from pipeline.dedup.facts import Facts, merge_facts
from pipeline.dedup.policy import order_members, read_members
from pipeline.dedup.shingles import Hashes
from pipeline.dedup.union_find import Indices
from pipeline.dedup.verification import count_shared
from pipeline.store import Artifact
from pipeline.tables import REMOVALS, Clusters, DuplicatePairs, Removals
from pipeline.text import Offsets

Numbers = npt.NDArray[np.float64]
COUNTS = ("num_walk_comparisons", "num_skipped_walk_comparisons", "num_cut_short_members", "num_transitive_only")


def find_removals(
    documents: Artifact, clusters: Clusters, pairs: DuplicatePairs, sizes: pl.DataFrame, config: DedupConfig, folder: str
) -> tuple[Removals, Facts]:
    """Choose removals over all parts of the documents; `sizes` has num_shingles of every doc_id, `folder` takes the sets."""
    members = order_members(read_members(documents, clusters, config), config).join(sizes, "doc_id", maintain_order="left")
    is_first = pl.col("doc_id") == pl.col("doc_id").min().over("content_hash")
    # the two contents of a smaller cluster are a verified pair already
    is_chained = pl.col("content_hash").n_unique().over("cluster_id") > 2
    blocks = plan_groups(members.with_columns(is_needed=is_first & is_chained), "cluster_id", config)
    found = [choose_removals(work, pairs, sets, config) for work, sets in iter_blocks(documents, blocks, config, folder)]
    removals = REMOVALS.check(pl.concat([REMOVALS.empty(), *(part for part, _ in found)]).sort("doc_id"))
    return removals, dict.fromkeys(("num_exact", "num_near", *COUNTS), 0) | merge_facts([facts for _, facts in found])


def choose_removals(members: pl.DataFrame, pairs: DuplicatePairs, sets: ShingleSets, config: DedupConfig) -> tuple[Removals, Facts]:
    """Walk whole clusters: `members` has cluster_id, content_hash and doc_id, each cluster's rows together and in policy order.

    `sets` holds one document of every content in clusters of three contents or more.
    """
    contents = members["content_hash"].unique().sort()
    codes = pl.DataFrame({"content_hash": contents, "content": np.arange(len(contents))})
    rows = members.join(codes, on="content_hash", how="left", maintain_order="left")
    content = rows["content"].to_numpy()
    kept, jaccard, removed_share, kept_share, counts = _walk(
        rows["cluster_id"].rle_id().to_numpy().astype(np.int64),
        content,
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


def _known_pairs(rows: pl.DataFrame, pairs: DuplicatePairs, num_contents: int) -> tuple[Any, ...]:
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


@njit(cache=True, nogil=True)
def _walk(
    clusters: Indices,
    content: Indices,
    known_offsets: Indices,
    known: Indices,
    known_jaccard: Numbers,
    known_first: Numbers,
    known_second: Numbers,
    rows: Indices,
    values: Hashes,
    offsets: Offsets,
    threshold: float,
    max_copies: int,
    max_comparisons: int,
) -> tuple[Indices, Numbers, Numbers, Numbers, Indices]:
    """Return for each row the kept row that it duplicates (-1: it stays), Jaccard, the two containments, and the counts."""
    size = len(clusters)
    kept_row = np.full(size, -1, np.int64)
    evidence = np.zeros((3, size))
    counts = np.zeros(4, np.int64)
    # of each content: its first kept row and how many are kept
    first_kept, num_kept = np.full(len(rows), -1, np.int64), np.zeros(len(rows), np.int64)
    kept_contents = np.empty(len(rows), np.int64)
    seen = np.full(len(rows), -1, np.int64)
    num_contents, spent = 0, 0
    for row in range(size):
        if row == 0 or clusters[row] != clusters[row - 1]:
            num_contents, spent = 0, 0
        own = content[row]
        copies = num_kept[own]
        if copies >= max_copies:
            kept_row[row] = first_kept[own]
            evidence[:, row] = 1.0
            continue
        best = -1.0
        for edge in range(known_offsets[own], known_offsets[own + 1]):
            other = known[edge]
            seen[other] = row
            copies += num_kept[other]
            if num_kept[other] and known_jaccard[edge] > best:
                best = known_jaccard[edge]
                kept_row[row] = first_kept[other]
                evidence[0, row], evidence[1, row], evidence[2, row] = best, known_first[edge], known_second[edge]
        skipped = 0
        for index in range(num_contents):
            other = kept_contents[index]
            if copies >= max_copies or other == own or seen[other] == row or rows[own] < 0 or rows[other] < 0:
                continue
            if spent >= max_comparisons:
                skipped += 1
                continue
            spent += 1
            shared = count_shared(values, offsets, rows[own], rows[other])
            size_own, size_other = offsets[rows[own] + 1] - offsets[rows[own]], offsets[rows[other] + 1] - offsets[rows[other]]
            jaccard = shared / (size_own + size_other - shared)
            counts[0] += 1
            if jaccard >= threshold:
                copies += num_kept[other]
                if jaccard > best:
                    best = jaccard
                    kept_row[row] = first_kept[other]
                    evidence[0, row], evidence[1, row], evidence[2, row] = jaccard, shared / size_own, shared / size_other
        if copies >= max_copies:
            if num_kept[own]:
                kept_row[row] = first_kept[own]
                evidence[:, row] = 1.0
            continue
        kept_row[row] = -1
        counts[1] += skipped
        counts[2] += skipped > 0
        counts[3] += num_contents > 0 and copies == 0 and skipped == 0
        if num_kept[own] == 0:
            first_kept[own] = row
            kept_contents[num_contents] = own
            num_contents += 1
        num_kept[own] += 1
    return kept_row, evidence[0], evidence[1], evidence[2], counts
