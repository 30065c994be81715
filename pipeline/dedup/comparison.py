"""Exact comparison of shingle sets, compiled: one pair, many pairs, and the walk that decides which members of a cluster go.

They share a file because numba's cache sees changes of a function's own file only, not of the files whose functions it calls.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from pipeline.dedup.kernels import Hashes
from pipeline.dedup.union_find import Indices
from pipeline.text import Offsets

Numbers = npt.NDArray[np.float64]


@njit(cache=True, nogil=True)
def _count_one(values: Hashes, offsets: Offsets, row_a: int, row_b: int) -> int:
    """Return the number of hashes that two rows of shingle sets share, by merging the two rising runs."""
    a, end_a = np.uint64(offsets[row_a]), np.uint64(offsets[row_a + 1])
    b, end_b = np.uint64(offsets[row_b]), np.uint64(offsets[row_b + 1])
    shared = 0
    while a < end_a and b < end_b:
        value_a, value_b = values[a], values[b]
        shared += value_a == value_b
        a += np.uint64(value_a <= value_b)
        b += np.uint64(value_b <= value_a)
    return shared


@njit(cache=True, nogil=True)
def count_shared(values: Hashes, offsets: Offsets, rows_a: Indices, rows_b: Indices) -> npt.NDArray[np.int64]:
    """Return for each pair of rows how many hashes they share."""
    shared = np.empty(len(rows_a), np.int64)
    for pair in range(len(rows_a)):
        shared[pair] = _count_one(values, offsets, rows_a[pair], rows_b[pair])
    return shared


@njit(cache=True, nogil=True)
def walk(
    clusters: Indices,
    content: Indices,
    is_reference: npt.NDArray[np.bool_],
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
        if is_reference[row]:
            if num_kept[own] == 0:
                first_kept[own] = row
                kept_contents[num_contents] = own
                num_contents += 1
            # whatever duplicates it has all the copies it may have
            num_kept[own] = max_copies
            continue
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
            shared = _count_one(values, offsets, rows[own], rows[other])
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
