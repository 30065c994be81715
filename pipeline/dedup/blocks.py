"""Blocks: which documents' shingle sets are in memory together, so that exact comparison needs no more memory on a larger corpus.

Work is put in an order in which one component of the candidate graph stands together and cut where the sets of the documents it needs
would exceed `block_bytes`. A document goes to every block that needs it: nearly always one. The sets are made part by part from
the documents, written under their block's number, and read back a block at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
from numba import njit

from pipeline.config import DedupConfig
from pipeline.dedup.shingles import Hashes, shingle_hashes, shingle_sets
from pipeline.dedup.shuffle import read_split, write_split
from pipeline.dedup.signatures import cut_blocks
from pipeline.dedup.union_find import Indices, connect
from pipeline.store import Artifact, Part, part_names, read_arrow
from pipeline.tables import CandidatePairs
from pipeline.text import Offsets

SETS: dict[str, pl.DataType | type[pl.DataType]] = {"doc_id": pl.Int64, "shingles": pl.List(pl.UInt64())}


@dataclass(frozen=True)
class Blocks:
    """Hold work with its `block` column, and `needs`: block and doc_id of every set that a block reads."""

    work: pl.DataFrame
    needs: pl.DataFrame

    @property
    def num_blocks(self) -> int:
        """Count the blocks."""
        return int(self.work["block"].max() or 0) + 1 if self.work.height else 0  # type: ignore[arg-type]


@dataclass(frozen=True)
class ShingleSets:
    """Hold shingle sets: document `doc_ids[i]` has `values[offsets[i]:offsets[i + 1]]`, rising and distinct."""

    doc_ids: Indices
    values: Hashes
    offsets: Offsets

    def rows_of(self, doc_ids: npt.NDArray[np.int64]) -> Indices:
        """Return the row of each document; every one must be held."""
        rows = np.searchsorted(self.doc_ids, doc_ids)
        assert np.array_equal(self.doc_ids[rows], doc_ids), "a block lacks a document that it needs"
        return rows.astype(np.int64)


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


def iter_blocks(documents: Artifact, blocks: Blocks, config: DedupConfig, folder: str) -> Iterator[tuple[pl.DataFrame, ShingleSets]]:
    """Yield each block's work and sets; `folder` takes the sets and may be removed afterwards."""
    parts: list[Part] = []
    paths = documents.paths() if blocks.needs.height else []
    for path, name in zip(paths, part_names(len(paths)), strict=True):
        parts += write_sets(read_arrow(path, ["doc_id", "text"]), blocks, config, folder, name)
    for work in blocks.work.sort("block", maintain_order=True).partition_by("block", maintain_order=True):
        yield work, read_sets(folder, parts, int(work["block"][0]))


def write_sets(documents: pa.Table, blocks: Blocks, config: DedupConfig, folder: str, name: str) -> list[Part]:
    """Write the shingle sets of one part's needed documents, one file for each block."""
    doc_ids = pl.Series(pl.from_arrow(documents["doc_id"]))
    is_needed = doc_ids.is_in(blocks.needs["doc_id"].unique().implode())
    needed = documents.filter(pa.array(is_needed))
    sets = [pl.DataFrame(schema=SETS)]
    start = 0
    for texts in cut_blocks(needed["text"]):
        hashes, offsets, _ = shingle_hashes(texts, config)
        values, bounds = shingle_sets(hashes, offsets)
        lists = pl.Series(pl.from_arrow(pa.LargeListArray.from_arrays(pa.array(bounds), pa.array(values))))
        ids = pl.Series(pl.from_arrow(needed["doc_id"].slice(start, len(texts))))
        sets.append(pl.DataFrame({"doc_id": ids, "shingles": lists}))
        start += len(texts)
    return write_split(pl.concat(sets).join(blocks.needs, on="doc_id").sort("block", "doc_id"), "block", folder, name)


def read_sets(folder: str, parts: list[Part], block: int) -> ShingleSets:
    """Read a block's sets, in order of doc_id."""
    frame = read_split(folder, parts, block)
    if frame is None:
        return ShingleSets(np.empty(0, np.int64), np.empty(0, np.uint64), np.zeros(1, np.int64))
    frame = frame.sort("doc_id")
    lengths = frame["shingles"].list.len().to_numpy().astype(np.int64)
    values = frame["shingles"].explode().drop_nulls().to_numpy()
    return ShingleSets(frame["doc_id"].to_numpy(), values, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))


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
