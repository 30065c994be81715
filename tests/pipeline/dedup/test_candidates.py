"""Candidate pairs: who is proposed to whom, and what that costs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import DedupConfig
from pipeline.dedup.buckets import find_repeats
from pipeline.dedup.candidates import Members, band_keys, join_sketches, merge_proposals, partition_of, propose_pairs
from pipeline.dedup.signatures import compute_signatures
from pipeline.tables import Documents, Signatures

Make = Callable[..., Documents]
LOREM = [f"word{i}" for i in range(200)]


def signatures_of(make_documents: Make, texts: Sequence[str], config: DedupConfig | None = None) -> Signatures:
    return compute_signatures(make_documents(texts), config or DedupConfig())[0]


def candidates_of(signatures: Signatures, config: DedupConfig) -> pl.DataFrame:
    keys, sketches = band_keys(signatures, config)
    partitions = partition_of(keys["band_key"], config.num_partitions)
    joined = [join_sketches(keys[partitions == partition], [sketches], config) for partition in np.unique(partitions)]
    return merge_proposals([propose_pairs(part, config) for part in joined])[0]


def one_bucket(sketches: list[list[int]]) -> Members:
    """Return one bucket, member i having the i-th content and nibbles sketches[i]."""
    words = np.array([[sum(value << 4 * i for i, value in enumerate(nibbles))] for nibbles in sketches], np.uint64)
    ids = np.arange(len(words))
    return Members(np.full(len(words), 7, np.uint64), ids, ids, words)


SMALL = DedupConfig(num_perm=16, num_bands=2, rows_per_band=8, threshold=1.0)
A, B, C = [1] * 16, [2] * 16, [3] * 16


def test_edited_copies_are_proposed_and_strangers_are_not(make_documents: Make) -> None:
    """A copy with one word changed is a candidate; another text is not."""
    edited = [*LOREM[:100], "changed", *LOREM[101:]]
    signatures = signatures_of(make_documents, [" ".join(LOREM), " ".join(edited), " ".join(reversed(LOREM))])
    pairs = candidates_of(signatures, DedupConfig())
    assert pairs.select("doc_id_a", "doc_id_b").rows() == [(0, 1)]
    assert 0.85 < pairs["estimated_jaccard"][0] <= 1.0
    assert pairs["shared_bands"][0] >= 8


def test_equal_contents_count_once_and_empty_texts_never(make_documents: Make) -> None:
    """Copies propose nothing to each other: the content hash joins them. Empty signatures are equal and mean nothing."""
    signatures = signatures_of(make_documents, ["", " ", "\n", *[" ".join(LOREM)] * 5, " ".join(LOREM).upper()])
    keys, sketches = band_keys(signatures, DedupConfig())
    assert set(keys["doc_id"]) == set(sketches["doc_id"]) == {3}
    assert candidates_of(signatures, DedupConfig()).height == 0


def test_copies_in_different_parts_count_once(make_documents: Make) -> None:
    """A bucket that meets one content from two parts keeps its first document."""
    edited = " ".join([*LOREM[:100], "changed", *LOREM[101:]])
    first, second = (compute_signatures(make_documents([" ".join(LOREM), edited], first_id=start), DedupConfig())[0] for start in (0, 2))
    config = DedupConfig(num_partitions=1)
    (first_keys, first_sketches), (second_keys, second_sketches) = band_keys(first, config), band_keys(second, config)
    keys = join_sketches(np.concatenate([first_keys, second_keys]), [first_sketches, second_sketches], config)
    assert propose_pairs(keys, config)[0].select("doc_id_a", "doc_id_b").rows() == [(0, 1)]


@pytest.mark.parametrize("num_partitions", [1, 3, 64])
def test_the_number_of_partitions_changes_nothing(make_documents: Make, num_partitions: int) -> None:
    """Partitions are a matter of memory only."""
    texts = [" ".join([*LOREM[: 10 * i], f"changed{i}", *LOREM[10 * i + 1 :]]) for i in range(15)]
    signatures = signatures_of(make_documents, texts)
    expected = candidates_of(signatures, DedupConfig())
    assert expected.height > 10
    assert candidates_of(signatures, DedupConfig(num_partitions=num_partitions)).equals(expected)
    keys, _ = band_keys(signatures, DedupConfig())
    assert partition_of(keys["band_key"], num_partitions).max() < num_partitions


def test_a_clean_bucket_is_a_star_around_the_smallest_content_hash() -> None:
    """Members that surely duplicate the centre are proposed to it and to nothing else."""
    pairs, facts = propose_pairs(one_bucket([A] * 6), SMALL)
    assert pairs.select("doc_id_a", "doc_id_b").rows() == [(0, i) for i in range(1, 6)]
    assert facts["num_buckets"] == 1
    assert facts["largest_bucket"] == 6
    assert facts["num_cut_short"] == 0


def test_where_the_centre_fails_the_next_one_is_tried() -> None:
    """Two groups in one bucket become two stars; what the sketches rule out is counted."""
    pairs, facts = propose_pairs(one_bucket([A, B, A, B, C, B]), SMALL)
    assert pairs.select("doc_id_a", "doc_id_b").rows() == [(0, 2), (1, 3), (1, 5)]
    assert facts["num_comparisons"] == 15
    assert facts["num_rejected_by_estimate"] == 15 - 4


def test_a_giant_bucket_is_capped_and_what_was_skipped_is_counted() -> None:
    """Beyond one comparison a member the cap holds, the star survives it, and the members not fully compared are known."""
    members = [A, *([i % 16] * 8 + [i // 16] * 8 for i in range(2, 100))]
    pairs, facts = propose_pairs(one_bucket([*members, A]), SMALL.model_copy(update={"max_bucket_pairs": 250}))
    assert pairs.select("doc_id_a", "doc_id_b").rows() == [(0, 16), (0, 99)]
    assert facts["num_comparisons"] <= 99 + 250
    assert facts["num_comparisons"] + facts["num_skipped_comparisons"] + (16 - 3) + (99 - 3) == 100 * 99 // 2
    assert facts["num_cut_short"] == 94


def test_no_documents_propose_nothing(make_documents: Make) -> None:
    """Empty parts and empty partitions are tables without rows."""
    signatures = signatures_of(make_documents, [])
    keys, sketches = band_keys(signatures, DedupConfig())
    assert len(keys) == len(sketches) == 0
    assert propose_pairs(join_sketches(keys, [sketches], DedupConfig()), DedupConfig())[0].height == 0
    assert merge_proposals([])[0].height == 0


@given(keys=st.lists(st.one_of(st.integers(0, 40), st.integers(0, 2**64 - 1)), max_size=60))
def test_no_key_that_occurs_again_is_sifted_out(keys: list[int]) -> None:
    """The sift may keep a key too many, never one too few."""
    kept = find_repeats(np.array(keys, np.uint64))
    assert all(is_kept or keys.count(key) == 1 for key, is_kept in zip(keys, kept, strict=True))


def test_the_sift_keeps_few_keys_that_do_not_occur_again() -> None:
    """Of a hundred thousand different keys of one partition about one in ten stays."""
    keys = np.random.default_rng(5).integers(0, 2**60, 100_000, np.uint64)
    assert find_repeats(keys).mean() < 0.15
