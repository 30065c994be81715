"""Blocks: which documents' shingle sets are in memory together, so that exact comparison needs no more memory on a larger corpus.

Work is put in an order in which one component of the candidate graph stands together and cut where the sets of the documents it needs
would exceed `block_bytes`. A document goes to every block that needs it: nearly always one. The sets are made part by part from
the documents, written under their block's number, and read back a block at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import polars as pl
from numba import njit

from pipeline.config import DedupConfig
from pipeline.dedup.shingles import Hashes, shingle_hashes, shingle_sets
from pipeline.dedup.signatures import cut_blocks
from pipeline.dedup.union_find import Indices, connect
from pipeline.store import Artifact, iter_chosen, part_names, read_arrow, read_scratch, write_scratch
from pipeline.tables import CandidatePairs
from pipeline.text import Offsets

Piece: TypeAlias = tuple[Indices, Indices, str]  # documents, sizes of their sets, the file that holds these


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
    paths = documents.paths() if blocks.needs.height else []
    needs = blocks.needs.sort("doc_id", "block")
    doc_ids, block_of = needs["doc_id"].to_numpy(), needs["block"].to_numpy()
    pieces: list[list[Piece]] = [[] for _ in range(blocks.num_blocks)]
    for path, name in zip(paths, part_names(len(paths)), strict=True):
        for number, held in enumerate(make_sets(path, doc_ids, config)):
            first, last = np.searchsorted(doc_ids, held.doc_ids[[0, -1]] + [0, 1])
            for block in np.unique(block_of[first:last]).tolist():
                own = np.isin(held.doc_ids, doc_ids[first:last][block_of[first:last] == block])
                pieces[block].append(write_piece(held, own, f"{folder}/{block:06d}-{name}-{number:04d}.npy"))
    for work in blocks.work.sort("block", maintain_order=True).partition_by("block", maintain_order=True):
        yield work, read_sets(pieces[int(work["block"][0])])


def make_sets(path: str, doc_ids: Indices, config: DedupConfig) -> Iterator[ShingleSets]:
    """Yield the shingle sets of those documents of a part that are among `doc_ids`, a run of text at a time."""
    own = read_arrow(path, ["doc_id"])["doc_id"].to_numpy()
    for rows in iter_chosen(path, ["doc_id", "text"], np.isin(own, doc_ids)):
        start = 0
        for texts in cut_blocks(rows["text"]):
            hashes, offsets, _ = shingle_hashes(texts, config)
            yield ShingleSets(rows["doc_id"].slice(start, len(texts)).to_numpy(), *shingle_sets(hashes, offsets))
            start += len(texts)


def write_piece(held: ShingleSets, is_chosen: npt.NDArray[np.bool_], path: str) -> Piece:
    """Write the hashes of the chosen sets one after another; whose they are and how many stays in memory."""
    lengths = np.diff(held.offsets)
    write_scratch(path, held.values if is_chosen.all() else held.values[np.repeat(is_chosen, lengths)])
    return held.doc_ids[is_chosen], lengths[is_chosen], path


def read_sets(pieces: list[Piece]) -> ShingleSets:
    """Read a block's sets, written in order of doc_id."""
    doc_ids = np.concatenate([np.empty(0, np.int64), *(ids for ids, _, _ in pieces)])
    offsets = np.cumsum(np.concatenate([[0], *(lengths for _, lengths, _ in pieces)]), dtype=np.int64)
    values = np.empty(offsets[-1], np.uint64)
    start = 0
    for _, lengths, path in pieces:
        end = start + int(lengths.sum())
        values[start:end] = read_scratch(path)
        start = end
    return ShingleSets(doc_ids, values, offsets)


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
