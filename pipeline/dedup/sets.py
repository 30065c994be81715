"""Shingle sets on disk: made once of every document that some candidate pair names, read back a few at a time.

Texts are read and cut once, whatever is compared afterwards: verification asks for the sets of its pairs, the choice of removals for
those of its clusters. Sets of one part of the documents lie one after another in a file of 64-bit hashes; which document's lie where is
the index, written last: sets without one are made again.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from pipeline.config import DedupConfig
from pipeline.dedup.kernels import Hashes
from pipeline.dedup.placed import Placed, placed_ids
from pipeline.dedup.shingles import shingle_hashes, shingle_sets
from pipeline.dedup.union_find import Indices
from pipeline.errors import IntegrityError
from pipeline.parallel import Mapper, in_order
from pipeline.store import digest_of, iter_chosen, read_bytes, read_scratch, scratch_bytes, write_bytes, write_scratch
from pipeline.text import Offsets, cut_blocks

ENTRY = np.dtype([("doc_id", np.int64), ("part", np.int64), ("start", np.int64), ("length", np.int64)])


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


@dataclass(frozen=True)
class StoredSets:
    """Point at sets on disk; `index` is in order of doc_id."""

    folder: str
    index: npt.NDArray[np.void]

    def of(self, doc_ids: npt.NDArray[np.int64]) -> StoredSets:
        """Point at the sets of some documents, given in rising order."""
        places = np.searchsorted(self.index["doc_id"], doc_ids)
        assert np.array_equal(self.index["doc_id"][places], doc_ids), "a document's shingles were not stored"
        return StoredSets(self.folder, self.index[places])

    def read(self) -> ShingleSets:
        """Read all sets pointed at."""
        wanted = self.index
        offsets = np.concatenate([[0], np.cumsum(wanted["length"])]).astype(np.int64)
        values = np.empty(offsets[-1], np.uint64)
        for part in np.unique(wanted["part"]).tolist():
            stored = read_scratch(_path(self.folder, part), np.uint64)
            for row in np.flatnonzero(wanted["part"] == part).tolist():
                start, length = int(wanted["start"][row]), int(wanted["length"][row])
                values[offsets[row] : offsets[row + 1]] = stored[start : start + length]
        return ShingleSets(np.ascontiguousarray(wanted["doc_id"]), values, offsets)


def store_sets(
    parts: Sequence[Placed], doc_ids: npt.NDArray[np.int64], config: DedupConfig, folder: str, mapper: Mapper = in_order
) -> StoredSets:
    """Make the sets of the documents `doc_ids`, which rise, from the documents' parts; or find them, and perhaps others, made."""
    if not len(doc_ids):
        return StoredSets(folder, np.empty(0, ENTRY))
    # parts lie under names that say what they were made from
    path = f"{folder}/index-{digest_of(config.ngram, list(parts))}.npy"
    found = _find(path, folder, doc_ids)
    if found is None:
        make = partial(_store_part, doc_ids=doc_ids, config=config, folder=folder)
        index = np.concatenate([np.empty(0, ENTRY), *mapper(make, list(enumerate(parts)))])
        found = StoredSets(folder, index[np.argsort(index["doc_id"], kind="stable")])
        stream = io.BytesIO()
        np.save(stream, found.index)
        write_bytes(path, stream.getvalue())
        assert np.array_equal(found.index["doc_id"], doc_ids), "a pair names a document that is not there"
    return found


def _find(path: str, folder: str, doc_ids: npt.NDArray[np.int64]) -> StoredSets | None:
    try:
        index = np.load(io.BytesIO(read_bytes(path)), allow_pickle=False)
    except (IntegrityError, ValueError, EOFError):
        return None
    parts, which = np.unique(index["part"], return_inverse=True)
    sizes = np.bincount(which, weights=index["length"], minlength=len(parts)) * 8
    is_whole = all(scratch_bytes(_path(folder, part)) == size for part, size in zip(parts.tolist(), sizes.tolist(), strict=True))
    return StoredSets(folder, index) if is_whole and not len(np.setdiff1d(doc_ids, index["doc_id"])) else None


def _store_part(numbered: tuple[int, Placed], doc_ids: npt.NDArray[np.int64], config: DedupConfig, folder: str) -> npt.NDArray[np.void]:
    """Write the sets of those documents of a part that are among `doc_ids`, and return their index."""
    number, part = numbered
    is_wanted = np.isin(placed_ids(part), doc_ids)
    own, lengths, pieces = [np.empty(0, np.int64)], [np.empty(0, np.int64)], []
    for rows in iter_chosen(part[0], ["doc_id", "text"], is_wanted) if is_wanted.any() else ():
        own.append(rows["doc_id"].to_numpy() + part[1])
        for texts in cut_blocks(rows["text"]):
            hashes, offsets, _ = shingle_hashes(texts, config)
            values, set_offsets = shingle_sets(hashes, offsets)
            lengths.append(np.diff(set_offsets))
            pieces.append(values)
    if pieces:
        write_scratch(_path(folder, number), *pieces)
    index = np.empty(sum(map(len, own)), ENTRY)
    index["doc_id"], index["part"], index["length"] = np.concatenate(own), number, np.concatenate(lengths)
    index["start"] = np.cumsum(index["length"]) - index["length"]
    return index


def _path(folder: str, number: int) -> str:
    return f"{folder}/part-{number:05d}.bin"
