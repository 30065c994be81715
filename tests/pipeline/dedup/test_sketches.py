"""Sketches: the packed comparison counts what it says, and its estimate is near the truth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import DedupConfig
from pipeline.dedup.buckets import count_differences
from pipeline.dedup.signatures import minhash, permutations
from pipeline.dedup.sketches import (
    estimate_jaccard,
    make_sketches,
    most_differences,
    standard_deviation,
)


def nibbles(signature: list[int]) -> list[int]:
    return [(value * 0x9E3779B1 & 0xFFFFFFFF) >> 28 for value in signature]


@settings(max_examples=100, deadline=None)
@given(data=st.data(), num_perm=st.sampled_from([1, 15, 16, 17, 128]))
def test_differences_are_those_of_four_bits_of_each_value(data: st.DataObject, num_perm: int) -> None:
    """Packing, unused places and bit tricks give what comparing one value after another gives."""
    value = st.one_of(st.integers(0, 2**32 - 1), st.sampled_from([0, 1, 2]))
    one, two = (data.draw(st.lists(value, min_size=num_perm, max_size=num_perm)) for _ in range(2))
    sketches = make_sketches(np.array([one, two], np.uint32))
    assert count_differences(sketches[0], sketches[1]) == sum(a != b for a, b in zip(nibbles(one), nibbles(two), strict=True))


@pytest.mark.parametrize("jaccard", [0.2, 0.5, 0.8, 0.95])
def test_the_estimate_is_unbiased_and_as_spread_as_stated(jaccard: float) -> None:
    """Over 300 pairs of known similarity, mean and standard deviation are those of the formula."""
    rng = np.random.default_rng(3)
    size, num_pairs = 400, 300
    shared = round(2 * size * jaccard / (1 + jaccard))
    hashes = rng.integers(0, 2**64, (num_pairs, 2, size), np.uint64)
    hashes[:, 1, :shared] = hashes[:, 0, :shared]
    signatures = minhash(hashes.reshape(-1), np.arange(2 * num_pairs + 1) * size, *permutations(DedupConfig()))
    sketches = make_sketches(signatures)
    differences = np.array([count_differences(sketches[2 * i], sketches[2 * i + 1]) for i in range(num_pairs)])
    estimates = estimate_jaccard(differences, 128)
    deviation = standard_deviation(jaccard, 128)
    assert abs(estimates.mean() - jaccard) < 4 * deviation / num_pairs**0.5
    assert 0.8 < estimates.std() / deviation < 1.2


@given(jaccard=st.floats(0.0, 1.0), num_perm=st.sampled_from([16, 128, 1024]))
def test_the_largest_allowed_difference_reaches_the_similarity_and_one_more_does_not(jaccard: float, num_perm: int) -> None:
    """The bound on differences is the estimate's, turned round."""
    most = most_differences(jaccard, num_perm)
    raw = (1 - np.array([most, most + 1]) / num_perm - 1 / 16) / (15 / 16)
    assert raw[0] >= jaccard - 1e-9
    assert raw[1] < jaccard
