"""Buckets: band keys made, sifted for those that occur again, and the members of one key compared by sketch, compiled.

The last two functions share a file because numba's cache sees changes of a function's own file only.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from pipeline.dedup.kernels import Hashes
from pipeline.dedup.sketches import Sketches

LOW_BITS = np.uint64(0x1111111111111111)
LOW_NIBBLES = np.uint64(0x0F0F0F0F0F0F0F0F)
LOW_BYTES = np.uint64(0x0101010101010101)
# the partition has taken the keys' upper bits: the multiplier brings the lower ones up
SPREAD = np.uint64(0x9E3779B97F4A7C15)


@njit(cache=True, nogil=True)
def hash_bands(signatures: npt.NDArray[np.uint32], num_bands: int, rows_per_band: int, seed: np.uint64, step: np.uint64) -> Hashes:
    """Return a 64-bit key for each document and band, (documents, num_bands)."""
    keys = np.empty((len(signatures), num_bands), np.uint64)
    for document in range(len(signatures)):
        for band in range(num_bands):
            h, start = seed ^ np.uint64(band), band * rows_per_band
            for row in range(rows_per_band + 1):
                # the first value once more, so that the last reaches every bit of the key
                h = (h ^ np.uint64(signatures[document, start + row % rows_per_band])) * step
                h ^= h >> np.uint64(32)
            keys[document, band] = h
    return keys


@njit(cache=True, nogil=True)
def find_repeats(keys: Hashes) -> npt.NDArray[np.bool_]:
    """Say of each key whether it may occur again: surely so if it does, and for about one in ten of the others.

    A bit for each of at least eight slots a key says that one came by, another that a second did: no sorting, little memory.
    """
    bits = 6
    while (1 << bits) < 8 * len(keys):
        bits += 1
    shift = np.uint64(64 - bits)
    once, twice = np.zeros(1 << (bits - 6), np.uint64), np.zeros(1 << (bits - 6), np.uint64)
    for key in keys:
        slot = (key * SPREAD) >> shift
        word, bit = np.int64(slot >> np.uint64(6)), np.uint64(1) << (slot & np.uint64(63))
        twice[word] |= once[word] & bit
        once[word] |= bit
    repeats = np.empty(len(keys), np.bool_)
    for i in range(len(keys)):
        slot = (keys[i] * SPREAD) >> shift
        repeats[i] = (twice[np.int64(slot >> np.uint64(6))] >> (slot & np.uint64(63))) & np.uint64(1)
    return repeats


@njit(cache=True, nogil=True)
def count_differences(sketch_a: Sketches, sketch_b: Sketches) -> int:
    """Return the number of permutations on which two sketches differ."""
    differences = np.uint64(0)
    for word in range(len(sketch_a)):
        unlike = sketch_a[word] ^ sketch_b[word]
        unlike |= unlike >> np.uint64(1)
        unlike = (unlike | (unlike >> np.uint64(2))) & LOW_BITS
        pairs = (unlike + (unlike >> np.uint64(4))) & LOW_NIBBLES
        differences += (pairs * LOW_BYTES) >> np.uint64(56)
    return int(differences)


@njit(cache=True, nogil=True)
def compare_buckets(
    sketches: Sketches,
    rows: npt.NDArray[np.int64],
    is_reference: npt.NDArray[np.bool_],
    starts: npt.NDArray[np.int64],
    max_bucket_pairs: int,
    reject_above: int,
    sure_below: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return members of the proposed pairs, their differences, and the counts.

    Member i is document rows[i]; bucket j is members starts[j] .. starts[j + 1].

    References come first in their bucket. They are not compared with one another and each is a group of its own: what ties members of a
    group to one another is the comparison of all contents of a cluster, and references have no ties.
    """
    proposals = np.empty((1024, 3), np.int64)
    counts = np.zeros(7, np.int64)
    found = 0
    for bucket in range(len(starts) - 1):
        begin, size = starts[bucket], starts[bucket + 1] - starts[bucket]
        if size < 2 or is_reference[rows[begin + size - 1]]:
            continue
        counts[0] += 1
        counts[1] = max(counts[1], size)
        counts[2] += size
        most = min(size, 1 + max_bucket_pairs // size)
        # of the compared members: its group; of each group: its first member, and the nearest to the member at hand
        group_of, leader = np.zeros(most, np.int64), np.zeros(most, np.int64)
        nearest, fewest, to_leader = np.zeros(most, np.int64), np.zeros(most, np.int64), np.zeros(most, np.int64)
        num_groups = 1
        for member in range(1, size):
            if is_reference[rows[begin + member]]:
                if member < most:
                    group_of[member] = leader[num_groups] = num_groups
                    num_groups += 1
                continue
            compared = min(member, most)
            fewest[:num_groups] = 1 << 30
            for other in range(compared):
                differences = count_differences(sketches[rows[begin + member]], sketches[rows[begin + other]])
                counts[4] += differences > reject_above
                group = group_of[other]
                if leader[group] == other:
                    to_leader[group] = differences
                if differences < fewest[group]:
                    fewest[group], nearest[group] = differences, other
            counts[3] += compared
            own = -1
            for group in range(num_groups):
                if fewest[group] > reject_above:
                    continue
                if own < 0 or fewest[group] < fewest[own]:
                    own = group
                is_star = to_leader[group] <= sure_below
                if found == len(proposals):
                    larger = np.empty((2 * found, 3), np.int64)
                    larger[:found] = proposals
                    proposals = larger
                proposals[found, 0] = begin + (leader[group] if is_star else nearest[group])
                proposals[found, 1] = begin + member
                proposals[found, 2] = to_leader[group] if is_star else fewest[group]
                found += 1
            is_sure = own >= 0 and fewest[own] <= sure_below
            if member > compared and not is_sure:
                counts[5] += member - compared
                counts[6] += 1
            if member < most:
                if not is_sure:
                    own = num_groups
                    leader[own] = member
                    num_groups += 1
                group_of[member] = own
    return proposals[:found, 0].copy(), proposals[:found, 1].copy(), proposals[:found, 2].copy(), counts
