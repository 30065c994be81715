"""BLAKE3 in lanes against the library."""

from __future__ import annotations

import numpy as np
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.hashing import hash_messages

EDGES = st.sampled_from([0, 1, 63, 64, 65, 1023, 1024, 1025, 2048, 2049, 3072, 5120, 7 * 1024 + 1])


def check(lengths: list[int], seed: int, gap: int = 0) -> None:
    """Hash random messages, `gap` bytes apart, and compare each with the library's hash of it."""
    starts = np.cumsum([0, *(length + gap for length in lengths)], dtype=np.int64)[:-1]
    ends = starts + np.array(lengths, np.int64)
    data = np.random.default_rng(seed).integers(0, 256, int(ends.max(initial=0)), np.uint8)
    wanted = [blake3(data[start:end].tobytes()).digest(length=16) for start, end in zip(starts, ends, strict=True)]
    assert [bytes(each) for each in hash_messages(data, starts, ends)] == wanted


@settings(deadline=None)  # kernels compile in the first example
@given(st.lists(EDGES | st.integers(0, 4000), max_size=40), st.integers(0, 9), st.integers(0, 3))
def test_digests_are_the_librarys(lengths: list[int], seed: int, gap: int) -> None:
    """Whatever lies side by side in the lanes, and wherever it begins."""
    check(lengths, seed, gap)


@pytest.mark.parametrize("length", [16 * 1024, 17 * 1024, 31 * 1024 + 5, 1_000_001])
def test_trees_of_many_levels(length: int) -> None:
    """Also where a level has an odd number of values."""
    check([length, 0, length // 2], 1)


def test_messages_may_lie_anywhere_in_memory_that_is_not_ours_to_write() -> None:
    """Nothing beyond the data counts, and data may be read only."""
    data = np.frombuffer(b"xabcx" * 30, np.uint8)[1:-1]
    digests = hash_messages(data, np.array([0, 5, 0]), np.array([3, 8, 0]))
    assert bytes(digests[0]) == bytes(digests[1]) == blake3(b"abc").digest(length=16)
    assert bytes(digests[2]) == blake3(b"").digest(length=16)
