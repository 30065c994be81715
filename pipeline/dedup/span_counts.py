"""Occurrences counted out of core: how often each key occurs and in how many clusters, over records that lie on disk.

A record is a key and a place: the number of its document, in order of reading, in the upper half, a number of the caller's in the lower.
Records are split by key into partitions, one of which is in memory at a time; what repeats is split again by the piece it came from, so
that each piece gets its own back. A key that one cluster holds, however often, does not repeat.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from numba import njit

from pipeline.dedup.kernels import Hashes
from pipeline.dedup.shuffle import Rows, read_split
from pipeline.store import write_scratch

RECORD = np.dtype([("key", np.uint64), ("place", np.uint64)])
REPEAT = np.dtype([("key", np.uint64), ("place", np.uint64), ("num_occurrences", np.uint32), ("num_documents", np.uint32)])
HALF = np.uint64(32)
LOW_HALF = np.uint64(0xFFFFFFFF)
SPREAD = np.uint64(0x9E3779B97F4A7C15)

Indices = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.uint32]


def places_of(documents: Indices, numbers: Indices | int) -> Hashes:
    """Join documents' numbers and the caller's own into places."""
    return (documents.astype(np.uint64) << HALF) | np.asarray(numbers).astype(np.uint64)


def documents_of(places: Hashes) -> Indices:
    """Return the number of each place's document."""
    return (places >> HALF).astype(np.int64)


def numbers_of(places: Hashes) -> Indices:
    """Return the caller's own number in each place."""
    return (places & LOW_HALF).astype(np.int64)


@dataclass
class Tally:
    """Count the keys that pieces add. Pieces are added in order of reading, each from a higher document on than the one before."""

    folder: str
    num_partitions: int
    first_documents: list[int] = field(default_factory=list)  # of each piece
    records: list[str] = field(default_factory=list)  # paths
    repeats: list[str] = field(default_factory=list)

    def add(self, keys: Hashes, places: Hashes, first_document: int) -> None:
        """Write one piece's records under the partitions of their keys."""
        records = np.empty(len(keys), RECORD)
        records["key"], records["place"] = keys, places
        # the lower half, because anchors are minima: their upper bits are not even
        numbers = ((keys & LOW_HALF) * np.uint64(self.num_partitions)) >> HALF
        self.records += _write_split(records, numbers, self.num_partitions, f"{self.folder}/records", len(self.first_documents))
        self.first_documents.append(first_document)

    def count(self, clusters: Numbers, min_documents: int) -> int:
        """Keep the records whose key occurs in `min_documents` clusters and return their number; `clusters` has each document's."""
        num_repeats, num_pieces = 0, len(self.first_documents)
        seen = np.zeros(int(clusters.max(initial=0)) + 1, np.uint32)
        for partition in range(self.num_partitions):
            pieces = read_split(f"{self.folder}/records", self.records, partition)
            if pieces:
                repeats = count_records(np.concatenate(pieces), clusters, min_documents, seen)
                piece_of = np.searchsorted(self.first_documents, documents_of(repeats["place"]), side="right") - 1
                self.repeats += _write_split(repeats, piece_of.astype(np.uint64), num_pieces, f"{self.folder}/repeats", partition)
                num_repeats += len(repeats)
        return num_repeats

    def repeats_of(self, piece: int) -> Rows:
        """Return one piece's kept records, in no order."""
        return np.concatenate([np.empty(0, REPEAT), *read_split(f"{self.folder}/repeats", self.repeats, piece)])


def count_records(records: Rows, clusters: Numbers, min_documents: int, seen: Numbers) -> Rows:
    """Return the records whose key occurs in at least `min_documents` clusters, each with its key's counts, in no order.

    `seen` has room for a number of every cluster; what stands in it does not matter.
    """
    keys, owners = np.ascontiguousarray(records["key"]), clusters[documents_of(records["place"])]
    order, ends = _group_repeats(keys, min_documents)
    documents = _count_distinct(owners, order, ends, seen)
    occurrences = np.diff(ends, prepend=0)
    chosen = order[np.repeat(documents >= min_documents, occurrences)]
    repeats = np.empty(len(chosen), REPEAT)
    repeats["key"], repeats["place"] = keys[chosen], records["place"][chosen]
    enough = documents >= min_documents
    repeats["num_occurrences"] = np.repeat(occurrences[enough], occurrences[enough])
    repeats["num_documents"] = np.repeat(documents[enough], occurrences[enough])
    return repeats


def _write_split(rows: Rows, numbers: Hashes, num_numbers: int, folder: str, name: int) -> list[str]:
    """Write a file of rows for each number that occurs, as `shuffle.write_split` does, by counting alone."""
    order, ends = _order_by(numbers, num_numbers)
    starts = np.append(0, ends)
    paths = [f"{folder}/{number:06d}-{name:06d}.npy" for number in range(num_numbers)]
    found = np.flatnonzero(np.diff(starts)).tolist()
    for number in found:
        write_scratch(paths[number], rows[order[starts[number] : ends[number]]])
    return [paths[number] for number in found]


@njit(cache=True, nogil=True)
def _order_by(numbers: Hashes, num_numbers: int) -> tuple[Indices, Indices]:
    """Return the order that sorts numbers below `num_numbers`, equal ones as they stand, and where each number's end."""
    ends = np.zeros(num_numbers + 1, np.int64)
    for number in numbers:
        ends[np.int64(number) + 1] += 1
    ends = np.cumsum(ends)
    order = np.empty(len(numbers), np.int64)
    for i in range(len(numbers)):
        number = np.int64(numbers[i])
        order[ends[number]] = i
        ends[number] += 1
    return order, ends[:num_numbers]


@njit(cache=True, nogil=True)
def _group_repeats(keys: Hashes, min_count: int) -> tuple[Indices, Indices]:
    """Return the places of keys that occur at least `min_count` times, those of one key together, and where each key's end.

    A table with open addressing, half full at most: a look or two for each key.
    """
    bits = 4
    while (1 << bits) < 2 * len(keys):
        bits += 1
    shift, mask = np.uint64(64 - bits), (1 << bits) - 1
    held, counts = np.empty(1 << bits, np.uint64), np.zeros(1 << bits, np.int32)
    slots = np.empty(len(keys), np.int32)
    for i in range(len(keys)):
        slot = np.int64((keys[i] * SPREAD) >> shift)
        while counts[slot] and held[slot] != keys[i]:
            slot = (slot + 1) & mask
        held[slot] = keys[i]
        counts[slot] += 1
        slots[i] = slot
    groups, size = 0, 0
    group_of, starts = np.full(1 << bits, -1, np.int32), np.empty(len(keys) // min_count + 1, np.int64)
    for i in range(len(keys)):
        slot = slots[i]
        if counts[slot] >= min_count and group_of[slot] < 0:
            group_of[slot], starts[groups] = groups, size
            size += counts[slot]
            groups += 1
    order = np.empty(size, np.int64)
    for i in range(len(keys)):
        group = group_of[slots[i]]
        if group >= 0:
            order[starts[group]] = i
            starts[group] += 1
    return order, starts[:groups].copy()


@njit(cache=True, nogil=True)
def _count_distinct(owners: Numbers, order: Indices, ends: Indices, seen: Numbers) -> Indices:
    """Return for each group how many owners its members have."""
    seen[:] = 0
    distinct = np.zeros(len(ends), np.int64)
    start = 0
    for group in range(len(ends)):
        for i in range(start, ends[group]):
            owner = owners[order[i]]
            distinct[group] += seen[owner] != group + 1
            seen[owner] = group + 1
        start = ends[group]
    return distinct
