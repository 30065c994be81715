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
from pipeline.dedup.shuffle import Rows, Split, slices_of, write_split
from pipeline.dedup.union_find import Indices

RECORD = np.dtype([("key", np.uint64), ("place", np.uint64)])
REPEAT = np.dtype(
    [("key", np.uint64), ("place", np.uint64), ("holders", np.uint64), ("num_occurrences", np.uint32), ("num_documents", np.uint32)]
)
HALF = np.uint64(32)
LOW_HALF = np.uint64(0xFFFFFFFF)
ONE, SPREAD = np.uint64(1), np.uint64(0x9E3779B97F4A7C15)

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
    records: list[Split] = field(default_factory=list)  # by their keys' partition
    repeats: list[Split] = field(default_factory=list)  # by piece

    def add(self, keys: Hashes, places: Hashes, first_document: int) -> None:
        """Write one piece's records under the partitions of their keys."""
        records = np.empty(len(keys), RECORD)
        records["key"], records["place"] = keys, places
        numbers = ((keys >> HALF) * np.uint64(self.num_partitions)) >> HALF
        self.records.append(write_split(records, numbers, self.num_partitions, f"{self.folder}/records/{len(self.records):06d}.bin"))
        self.first_documents.append(first_document)

    def count(self, clusters: Numbers, doc_ids: Indices, min_documents: int) -> int:
        """Keep the records whose key occurs in `min_documents` clusters and return their number; of each document cluster and id."""
        num_repeats, num_pieces = 0, len(self.first_documents)
        seen = np.zeros(int(clusters.max(initial=0)) + 1, np.uint32)
        for partition in range(self.num_partitions):
            pieces = [piece.read(RECORD) for piece in slices_of(self.records, partition)]
            if pieces:
                repeats = count_records(np.concatenate(pieces), clusters, doc_ids, min_documents, seen)
                piece_of = np.searchsorted(self.first_documents, documents_of(repeats["place"]), side="right") - 1
                path = f"{self.folder}/repeats/{len(self.repeats):06d}.bin"
                self.repeats.append(write_split(repeats, piece_of.astype(np.uint64), num_pieces, path))
                num_repeats += len(repeats)
        return num_repeats

    def repeats_of(self, piece: int) -> Rows:
        """Return one piece's kept records, in no order."""
        return np.concatenate([np.empty(0, REPEAT), *(own.read(REPEAT) for own in slices_of(self.repeats, piece))])


def count_records(records: Rows, clusters: Numbers, doc_ids: Indices, min_documents: int, seen: Numbers) -> Rows:
    """Return the records whose key occurs in at least `min_documents` clusters, each with its key's counts and holders, in no order.

    Records come in order of their documents. Holders is a number that keys in the same documents share, and no others (by chance, one
    pair in 2^64). `seen` has room for a number of every cluster; what stands in it does not matter.
    """
    keys, documents = np.ascontiguousarray(records["key"]), documents_of(records["place"])
    order, ends = _group_repeats(keys, min_documents)
    num_clusters, holders = _count_distinct(documents, clusters, doc_ids, order, ends, seen)
    occurrences = np.diff(ends, prepend=0)
    enough = num_clusters >= min_documents
    chosen = order[np.repeat(enough, occurrences)]
    repeats = np.empty(len(chosen), REPEAT)
    repeats["key"], repeats["place"] = keys[chosen], records["place"][chosen]
    for name, values in (("num_occurrences", occurrences), ("num_documents", num_clusters), ("holders", holders)):
        repeats[name] = np.repeat(values[enough], occurrences[enough])
    return repeats


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
def _count_distinct(
    documents: Indices, clusters: Numbers, doc_ids: Indices, order: Indices, ends: Indices, seen: Numbers
) -> tuple[Indices, Hashes]:
    """Return for each group how many clusters its members have, and the sum of their documents' mixed ids."""
    seen[:] = 0
    distinct, holders = np.zeros(len(ends), np.int64), np.zeros(len(ends), np.uint64)
    start = 0
    for group in range(len(ends)):
        last = -1
        for i in range(start, ends[group]):
            document = documents[order[i]]
            if document == last:
                continue
            last = document
            distinct[group] += seen[clusters[document]] != group + 1
            seen[clusters[document]] = group + 1
            # Source: Steele, Lea, Flood 2014, Fast splittable pseudorandom number generators, figure 14 (mix64)
            h = (np.uint64(doc_ids[document]) + ONE) * SPREAD
            h = (h ^ (h >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            h = (h ^ (h >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            holders[group] += h ^ (h >> np.uint64(31))
        start = ends[group]
    return distinct, holders
