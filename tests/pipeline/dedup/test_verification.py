"""Verification: exact similarities, however the work is cut and wherever the two documents lie."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import store
from pipeline.config import DedupConfig
from pipeline.dedup.blocks import plan_pairs
from pipeline.dedup.placed import place
from pipeline.dedup.sets import ShingleSets
from pipeline.dedup.verification import verify_candidates, verify_pairs
from pipeline.tables import CANDIDATE_PAIRS, CandidatePairs, Documents

LONG = [f"word{i}" for i in range(60)]


def candidates(pairs: list[tuple[int, int]]) -> CandidatePairs:
    return CANDIDATE_PAIRS.check(
        pl.DataFrame(
            {
                "doc_id_a": pl.Series([a for a, _ in pairs], dtype=pl.Int64),
                "doc_id_b": pl.Series([b for _, b in pairs], dtype=pl.Int64),
                "shared_bands": pl.Series([1] * len(pairs), dtype=pl.Int32),
                "estimated_jaccard": pl.Series([0.9] * len(pairs), dtype=pl.Float64),
            }
        )
    )


def shingles_of(text: str) -> set[tuple[str, ...]]:
    words = text.lower().split()
    return {tuple(words[i : i + 5]) for i in range(max(1, len(words) - 4))}


@settings(max_examples=100, deadline=None)
@given(
    sets=st.lists(st.sets(st.integers(0, 30), min_size=1, max_size=25), min_size=2, max_size=6), threshold=st.sampled_from([0.3, 0.5, 1.0])
)
def test_jaccard_and_containments_equal_those_of_python_sets(sets: list[set[int]], threshold: float) -> None:
    """Every pair of documents, by plain set arithmetic; the threshold itself is a duplicate."""
    values = np.array([value for each in sets for value in sorted(each)], np.uint64)
    held = ShingleSets(np.arange(len(sets)), values, np.cumsum([0, *map(len, sets)]).astype(np.int64))
    pairs = [(a, b) for a in range(len(sets)) for b in range(a + 1, len(sets))]
    found, facts = verify_pairs(candidates(pairs), held, DedupConfig(threshold=threshold))
    expected = [
        (
            a,
            b,
            len(sets[a] & sets[b]) / len(sets[a] | sets[b]),
            len(sets[a] & sets[b]) / len(sets[a]),
            len(sets[a] & sets[b]) / len(sets[b]),
        )
        for a, b in pairs
    ]
    assert found.rows() == [row for row in expected if row[2] >= threshold]
    assert facts == {"num_compared": len(pairs), "num_verified": found.height}


@pytest.mark.parametrize("block_bytes", [2**10, 2**27])
@pytest.mark.parametrize("num_parts", [1, 4])
def test_blocks_and_parts_change_nothing(
    make_documents: Callable[..., Documents], tmp_path: Path, block_bytes: int, num_parts: int
) -> None:
    """Pairs across parts, read in one block or in many, give the similarities of the texts themselves."""
    texts = [" ".join([*LONG[:i], f"changed{i % 3}", *LONG[i + 1 :]]) for i in range(24)]
    size = len(texts) // num_parts
    parts = [make_documents(texts[i : i + size], first_id=i) for i in range(0, len(texts), size)]
    folder = str(tmp_path / "documents")
    documents = store.publish("documents", folder, [store.write_part(folder, f"part-{i}", part) for i, part in enumerate(parts)])
    sizes = pl.DataFrame({"doc_id": np.arange(24), "num_shingles": [len(text.split()) - 4 for text in texts]})
    pairs = [(a, b) for a in range(24) for b in range(a + 1, min(a + 4, 24))]
    config = DedupConfig(threshold=0.5, block_bytes=block_bytes)
    found, facts = verify_candidates(candidates(pairs), place(documents), sizes, config, str(tmp_path / "sets"))
    sets = [shingles_of(text) for text in texts]
    expected = {(a, b): len(sets[a] & sets[b]) / len(sets[a] | sets[b]) for a, b in pairs}
    assert {(a, b): jaccard for a, b, jaccard, *_ in found.rows()} == {pair: value for pair, value in expected.items() if value >= 0.5}
    assert facts["num_blocks"] == (1 if block_bytes == 2**27 else facts["num_blocks"])
    assert (facts["num_blocks"] > 10) == (block_bytes == 2**10)


@settings(max_examples=100, deadline=None)
@given(pairs=st.sets(st.tuples(st.integers(0, 20), st.integers(21, 40)), max_size=60), block_bytes=st.sampled_from([1024, 2048, 4096]))
def test_no_block_needs_more_than_its_bytes(pairs: set[tuple[int, int]], block_bytes: int) -> None:
    """Each block's sets fit, every pair is in one block, and each block's needs are its pairs' documents."""
    sizes = pl.DataFrame({"doc_id": np.arange(41), "num_shingles": np.arange(41) % 7 * 9 + 1})
    blocks = plan_pairs(candidates(sorted(pairs)), sizes, DedupConfig(block_bytes=block_bytes))
    assert sorted(blocks.work.select("doc_id_a", "doc_id_b").rows()) == sorted(pairs)
    for (block,), work in blocks.work.partition_by("block", as_dict=True).items():
        needs = blocks.needs.filter(pl.col("block") == block)
        assert set(needs["doc_id"]) == set(work["doc_id_a"]) | set(work["doc_id_b"])
        assert needs.join(sizes, on="doc_id")["num_shingles"].sum() * 8 <= block_bytes


def test_no_candidates_verify_nothing(make_documents: Callable[..., Documents], tmp_path: Path) -> None:
    """Without candidates no document is even read."""
    documents = store.publish_frame("documents", str(tmp_path / "documents"), make_documents(["one"]))
    (tmp_path / "documents" / "part-00000.parquet").unlink()
    sizes = pl.DataFrame({"doc_id": [0], "num_shingles": [1]})
    found, facts = verify_candidates(candidates([]), place(documents), sizes, DedupConfig(), str(tmp_path / "sets"))
    assert found.height == 0
    assert facts == {"num_compared": 0, "num_verified": 0, "num_blocks": 0}
