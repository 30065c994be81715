"""Signatures: bit-identical with datasketch, whatever the documents."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from datasketch import MinHash
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import DedupConfig
from pipeline.dedup.shingles import shingle_hashes
from pipeline.dedup.signatures import SCHEME, compute_signatures, minhash, permutations, signature_matrix
from pipeline.tables import Documents


def datasketch_values(hashes: list[int], config: DedupConfig) -> list[int]:
    sketch = MinHash(num_perm=config.num_perm, seed=config.seed, scheme=SCHEME, hashfunc=lambda value: value & 0xFFFFFFFF)
    sketch.update_batch(hashes)
    return list(map(int, sketch.hashvalues))


SETS = st.lists(st.lists(st.integers(0, 2**64 - 1), max_size=40), min_size=1, max_size=6)


@settings(max_examples=150, deadline=None)
@given(sets=SETS, num_perm=st.sampled_from([16, 17, 30, 127, 128, 256]), seed=st.integers(0, 2**32 - 1))
def test_signatures_are_bit_identical_with_datasketch(sets: list[list[int]], num_perm: int, seed: int) -> None:
    """The kernel gives datasketch's numbers for any shingle hashes, number of permutations and seed."""
    config = DedupConfig(num_perm=num_perm, seed=seed, num_bands=2, rows_per_band=8)
    hashes = np.array([value for each in sets for value in each], np.uint64)
    offsets = np.cumsum([0, *map(len, sets)], dtype=np.int64)
    ours = minhash(hashes, offsets, *permutations(config))
    assert ours.tolist() == [datasketch_values(each, config) for each in sets]


def test_signatures_of_real_text_equal_datasketch(make_documents: Callable[..., Documents]) -> None:
    """From text to signature: the table holds, row by row, what datasketch computes from the same shingles."""
    config = DedupConfig()
    documents = make_documents(["It is a truth universally acknowledged, that a single man", "short", "", None, "中文文档" * 5], first_id=7)
    signatures, facts = compute_signatures(documents, config)
    hashes, offsets, _ = shingle_hashes(documents["text"], config)
    expected = [datasketch_values(hashes[offsets[i] : offsets[i + 1]].tolist(), config) for i in range(5)]
    assert signature_matrix(signatures, config).tolist() == expected
    assert signatures["doc_id"].to_list() == [7, 8, 9, 10, 11]
    assert signatures["num_shingles"].to_list() == [6, 1, 0, 0, 16]
    assert signatures["is_spaceless"].to_list() == [False, False, False, False, True]
    assert signatures["content_hash"].to_list() == documents["content_hash"].to_pylist()
    assert facts == {"num_documents": 5, "num_shingles": 23, "num_spaceless": 1, "num_short": 1, "num_empty": 2}


def test_blocks_do_not_change_signatures(make_documents: Callable[..., Documents], monkeypatch: pytest.MonkeyPatch) -> None:
    """Cutting a part into blocks of text is invisible in the result."""
    documents = make_documents([f"document {i} has some words of its own {i * i}" for i in range(50)])
    whole, facts = compute_signatures(documents, DedupConfig())
    monkeypatch.setattr("pipeline.text.BLOCK_BYTES", 100)
    parts, part_facts = compute_signatures(documents, DedupConfig())
    assert whole.equals(parts)
    assert facts == part_facts


def test_no_documents_give_no_signatures(make_documents: Callable[..., Documents]) -> None:
    """An empty part is a table without rows."""
    assert compute_signatures(make_documents([]), DedupConfig())[0].height == 0
