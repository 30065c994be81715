"""Anchors: sifting them never loses one that enough clusters hold, and loses most others."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.dedup.span_anchors import read_anchors, sift_anchors, store_anchors
from pipeline.store import read_scratch

ROWS = st.lists(st.tuples(st.lists(st.integers(0, 60), max_size=6), st.integers(-1, 4)), max_size=12)


def stored(path: str, rows: list[list[int]]) -> None:
    column = pa.array([np.array(row, np.uint32).tobytes() for row in rows], pa.large_binary())
    store_anchors(path, pa.table({"num_windows": pa.array([7] * len(rows), pa.uint32()), "anchors": column}))


def flags_of(folder: Path, parts: list[list[tuple[list[int], int]]], min_documents: int, most_bits: int) -> list[list[bool]]:
    paths = [f"{folder}/{number}.bin" for number in range(len(parts))]
    for path, rows in zip(paths, parts, strict=True):
        stored(path, [row for row, _ in rows])
    clusters = [np.array([cluster for _, cluster in rows], np.int64) for rows in parts]
    flagged, left = sift_anchors(paths, clusters, min_documents, f"{folder}/flags", most_bits)
    flags = [read_scratch(path, np.bool_).tolist() for path in flagged]
    assert left == sum(map(sum, flags))
    return flags


@settings(max_examples=100, deadline=None)
@given(parts=st.lists(ROWS, min_size=1, max_size=3), min_documents=st.integers(2, 5), most_bits=st.sampled_from([5, 6, 20]))
def test_what_enough_clusters_hold_is_never_lost(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[tuple[list[int], int]]], min_documents: int, most_bits: int
) -> None:
    """Whatever the filter's size and number of rounds, every such anchor keeps its flag in all kept rows, and rows not kept have none."""
    holders: dict[int, set[int]] = defaultdict(set)
    for row, cluster in (each for rows in parts for each in rows if each[1] >= 0):
        for value in row:
            holders[value].add(cluster)
    flags = flags_of(tmp_path_factory.mktemp("anchors"), parts, min_documents, most_bits)
    for rows, own in zip(parts, flags, strict=True):
        anchors = [(value, cluster) for row, cluster in rows for value in row]
        assert len(own) == len(anchors)
        assert not any(flag for flag, (_, cluster) in zip(own, anchors, strict=True) if cluster < 0)
        assert all(
            flag for flag, (value, cluster) in zip(own, anchors, strict=True) if cluster >= 0 and len(holders[value]) >= min_documents
        )


def test_what_too_few_clusters_hold_is_sifted_out(tmp_path: Path) -> None:
    """Of anchors in one cluster, or in two where three are wanted, hardly any is left, though a document repeats a thousand of them."""
    values = np.random.default_rng(1).integers(0, 2**32, 30_000).tolist()
    rows = [([*values[:1000] * 3, *values[1000:10_000]], 0), (values[10_000:] + values[:5], 1), (values[10_000:20_000] + values[:5], 2)]
    for bits, most in ((27, 40), (12, 600)):
        (flags,) = flags_of(tmp_path / str(bits), [rows], 3, bits)
        assert sum(flags) - 25 <= most
        assert flags[:5] == [True] * 5


def test_rows_without_anchors_are_stored_too(tmp_path: Path) -> None:
    """Counts stay beside their rows; a file cut short is none at all."""
    stored(f"{tmp_path}/some.bin", [[], [5, 6], [], [7]])
    found = read_anchors(f"{tmp_path}/some.bin")
    assert found is not None
    assert (found.counts.tolist(), found.values.tolist(), found.num_windows.tolist()) == ([0, 2, 0, 1], [5, 6, 7], [7] * 4)
    whole = (tmp_path / "some.bin").read_bytes()
    for size in (0, 2, 4, 12, len(whole) - 4, len(whole) - 2):
        (tmp_path / "some.bin").write_bytes(whole[:size])
        assert read_anchors(f"{tmp_path}/some.bin") is None
    assert read_anchors(f"{tmp_path}/none.bin") is None
