"""Blocks: which documents' shingle sets are in memory together, so that exact comparison needs no more memory on a larger corpus.

Work is put in an order in which one component of the candidate graph stands together and cut where the sets of the documents it needs
would exceed `block_bytes`. A document belongs to every block that needs it: nearly always one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numba import njit

from pipeline.config import DedupConfig
from pipeline.dedup.union_find import Indices, connect
from pipeline.tables import CandidatePairs


@dataclass(frozen=True)
class Blocks:
    """Hold work with its `block` column, and `needs`: block and doc_id of every set that a block reads, in their order."""

    work: pl.DataFrame
    needs: pl.DataFrame

    @property
    def num_blocks(self) -> int:
        """Count the blocks."""
        return int(self.work["block"].max() or 0) + 1 if self.work.height else 0  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[tuple[pl.DataFrame, Indices]]:
        """Yield each block's work and the documents whose sets it needs, ids rising."""
        work = self.work.sort("block", maintain_order=True)
        blocks, starts = np.unique(work["block"].to_numpy(), return_index=True)
        ends = np.append(starts, work.height)[1:]
        needed = self.needs["block"].to_numpy()
        for block, start, end in zip(blocks.tolist(), starts.tolist(), ends.tolist(), strict=True):
            first, last = np.searchsorted(needed, [block, block + 1])
            yield work.slice(start, end - start), self.needs["doc_id"].slice(first, last - first).to_numpy()


def plan_pairs(pairs: CandidatePairs, sizes: pl.DataFrame, config: DedupConfig) -> Blocks:
    """Cut candidate pairs into blocks; `sizes` has num_shingles of every doc_id."""
    needed = pl.concat([pairs["doc_id_a"], pairs["doc_id_b"]]).unique().sort()
    doc_ids = needed.to_numpy()
    a, b = np.searchsorted(doc_ids, pairs["doc_id_a"].to_numpy()), np.searchsorted(doc_ids, pairs["doc_id_b"].to_numpy())
    num_bytes = 8 * needed.to_frame("doc_id").join(sizes, "doc_id", maintain_order="left")["num_shingles"].to_numpy()
    order = np.lexsort((b, a, connect(len(doc_ids), a, b)[a]))
    block = _cut(a[order], b[order], num_bytes, config.block_bytes)
    work = pairs[order].with_columns(block=block)
    needs = pl.concat([work.select("block", doc_id="doc_id_a"), work.select("block", doc_id="doc_id_b")])
    return Blocks(work, needs.unique().sort("block", "doc_id"))


def plan_groups(members: pl.DataFrame, group: str, config: DedupConfig) -> Blocks:
    """Cut whole groups into blocks; `members` has the group's column, doc_id, num_shingles and `is_needed`: whether its set is read."""
    num_bytes = 8 * pl.col("num_shingles") * pl.col("is_needed")
    blocks = members.group_by(group).agg(num_bytes=num_bytes.sum()).sort(group)
    blocks = blocks.select(group, block=(pl.col("num_bytes").cum_sum() - pl.col("num_bytes")) // config.block_bytes)
    work = members.join(blocks, on=group, how="left", maintain_order="left")
    return Blocks(work, work.filter("is_needed").select("block", "doc_id").unique().sort("block", "doc_id"))


@njit(cache=True, nogil=True)
def _cut(a: Indices, b: Indices, num_bytes: Indices, most: int) -> Indices:
    """Number the pairs' blocks in order: a new one begins where the documents of the last would exceed `most` bytes."""
    blocks = np.zeros(len(a), np.int64)
    held_by = np.full(len(num_bytes), -1, np.int64)
    block, held = 0, 0
    for pair in range(len(a)):
        more = (held_by[a[pair]] != block) * num_bytes[a[pair]] + (held_by[b[pair]] != block) * num_bytes[b[pair]]
        if held and held + more > most:
            block += 1
            held = 0
            more = num_bytes[a[pair]] + num_bytes[b[pair]]
        held += more
        held_by[a[pair]] = block
        held_by[b[pair]] = block
        blocks[pair] = block
    return blocks
