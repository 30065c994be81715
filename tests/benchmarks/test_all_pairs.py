"""The exact join that deduplication is measured against, measured itself against comparing all with all."""

from __future__ import annotations

from itertools import combinations

import numpy as np
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.benchmarks.all_pairs import find_all_pairs

# few elements and ratios that fall on the thresholds, so that ties and bounds are met
SETS = st.lists(st.frozensets(st.integers(0, 24), max_size=16), max_size=24)
THRESHOLDS = st.sampled_from([0.05, 1 / 3, 0.5, 0.6, 2 / 3, 0.75, 0.8, 0.9, 1.0])


def compare_all(sets: list[frozenset[int]], threshold: float) -> list[tuple[int, int, int]]:
    pairs = [(a, b, len(sets[a] & sets[b]), len(sets[a] | sets[b])) for a, b in combinations(range(len(sets)), 2)]
    return [(a, b, shared) for a, b, shared, union in pairs if shared and shared / union >= threshold]


@settings(deadline=None, max_examples=300)
@given(SETS, THRESHOLDS)
@example([], 0.8)
@example([frozenset(), frozenset()], 0.8)
@example([frozenset(range(5)), frozenset(range(4))], 0.8)
def test_the_join_finds_what_comparing_all_with_all_finds(sets: list[frozenset[int]], threshold: float) -> None:
    """Every pair at or above the threshold is found once, with the size of its intersection, and no other."""
    offsets = np.cumsum([0, *map(len, sets)])
    values = np.array([element for each in sets for element in sorted(each)], np.uint64)
    found = find_all_pairs(values, offsets, threshold)
    assert list(zip(*(column.tolist() for column in found), strict=True)) == compare_all(sets, threshold)
