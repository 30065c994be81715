"""Exact all-pairs Jaccard similarity: every pair of sets at or above a threshold, none missed, without comparing all with all.

Elements are ranked from rare to common. Two sets of n and m <= n elements that reach threshold t share at least t n elements, so m >= t n,
and both hold one of the shared elements among their n - ceil(t n) + 1 (m - ceil(t m) + 1) rarest. Only these prefixes are indexed.

Source: Bayardo, Ma, Srikant 2007, Scaling up all pairs similarity search, section 4; Xiao, Wang, Lin, Yu 2008, Efficient similarity
joins for near duplicate detection, section 3.1 (the bounds for Jaccard).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

Indices = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]


def find_all_pairs(values: Hashes, offsets: Indices, threshold: float) -> tuple[Indices, Indices, Indices]:
    """Return the rows of all pairs with Jaccard >= threshold, the first below the second, in order, and how many elements they share.

    Row i is `values[offsets[i]:offsets[i + 1]]`, distinct and rising; an empty row is in no pair. The threshold is above 0.
    """
    sizes = np.diff(offsets)
    by_size = np.argsort(sizes, kind="stable")
    prefixes, prefix_offsets = _rarest(values, offsets, by_size, threshold)
    members, starts = _index(prefixes, prefix_offsets)
    found = _join(values, offsets, by_size, prefixes, prefix_offsets, members, starts, threshold)
    first, second = by_size[found[:, 0]], by_size[found[:, 1]]
    low, high = np.minimum(first, second), np.maximum(first, second)
    order = np.lexsort((high, low))
    return low[order], high[order], found[order, 2]


def _rarest(values: Hashes, offsets: Indices, by_size: Indices, threshold: float) -> tuple[Indices, Indices]:
    """Return each row's prefix as codes of elements, rare ones low, rows in order of size."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    rank = np.empty(len(counts), np.int64)
    rank[np.argsort(counts, kind="stable")] = np.arange(len(counts))
    return _cut_prefixes(rank[inverse], offsets, by_size, threshold)


@njit(cache=True, nogil=True)
def _cut_prefixes(ranks: Indices, offsets: Indices, by_size: Indices, threshold: float) -> tuple[Indices, Indices]:
    prefixes, prefix_offsets = np.empty(len(ranks), np.int64), np.zeros(len(by_size) + 1, np.int64)
    for place in range(len(by_size)):
        own = np.sort(ranks[offsets[by_size[place]] : offsets[by_size[place] + 1]])
        # rounding may lengthen a prefix, never shorten it
        length = min(len(own), len(own) - int(np.ceil(threshold * len(own) - 1e-6)) + 1)
        start = prefix_offsets[place]
        prefixes[start : start + length] = own[:length]
        prefix_offsets[place + 1] = start + length
    return prefixes[: prefix_offsets[-1]].copy(), prefix_offsets


def _index(prefixes: Indices, prefix_offsets: Indices) -> tuple[Indices, Indices]:
    """Return the places of the rows that hold each element in their prefix, rising, and where each element's begin."""
    places = np.repeat(np.arange(len(prefix_offsets) - 1), np.diff(prefix_offsets))
    order = np.argsort(prefixes, kind="stable")
    num_elements = int(prefixes.max(initial=-1)) + 1
    return places[order], np.searchsorted(prefixes[order], np.arange(num_elements + 1))


@njit(cache=True, nogil=True)
def _join(
    values: Hashes,
    offsets: Indices,
    by_size: Indices,
    prefixes: Indices,
    prefix_offsets: Indices,
    members: Indices,
    starts: Indices,
    threshold: float,
) -> Indices:
    found, num_found = np.empty((1024, 3), np.int64), 0
    seen = np.full(len(by_size), -1, np.int64)
    first = starts.copy()
    for place in range(len(by_size)):
        row = by_size[place]
        size = offsets[row + 1] - offsets[row]
        for element in prefixes[prefix_offsets[place] : prefix_offsets[place + 1]]:
            # rows too small for this one are too small for all after it
            while members[first[element]] < place:
                smaller = by_size[members[first[element]]]
                if offsets[smaller + 1] - offsets[smaller] >= threshold * size - 1e-6:
                    break
                first[element] += 1
            for at in range(first[element], starts[element + 1]):
                other = members[at]
                if other >= place:
                    break
                if seen[other] == place:
                    continue
                seen[other] = place
                smaller = by_size[other]
                shared = _count_shared(values, offsets, row, smaller, threshold)
                if shared > 0 and shared / (size + offsets[smaller + 1] - offsets[smaller] - shared) >= threshold:
                    if num_found == len(found):
                        larger = np.empty((2 * num_found, 3), np.int64)
                        larger[:num_found] = found
                        found = larger
                    found[num_found, 0], found[num_found, 1], found[num_found, 2] = other, place, shared
                    num_found += 1
    return found[:num_found]


@njit(cache=True, nogil=True)
def _count_shared(values: Hashes, offsets: Indices, row_a: int, row_b: int, threshold: float) -> int:
    """Return how many elements two rows share, or 0 once it is certain that they are too few."""
    a, end_a, b, end_b = offsets[row_a], offsets[row_a + 1], offsets[row_b], offsets[row_b + 1]
    needed = threshold / (1 + threshold) * (end_a - a + end_b - b) - 1e-6
    shared = 0
    while a < end_a and b < end_b:
        if shared + min(end_a - a, end_b - b) < needed:
            return 0
        if values[a] == values[b]:
            shared += 1
            a += 1
            b += 1
        elif values[a] < values[b]:
            a += 1
        else:
            b += 1
    return shared
