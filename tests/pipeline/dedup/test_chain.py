"""The whole chain, from texts to removals: what no order, part or number of partitions may change, and what must never collapse."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from pipeline import store
from pipeline.config import DedupConfig
from pipeline.tables import Documents
from pipeline.text import normalise

Make = Callable[..., Documents]
Run = Callable[..., Any]


def shingles_of(text: str) -> set[tuple[str, ...]]:
    words = normalise(text).split()
    return {tuple(words[i : i + 5]) for i in range(max(1, len(words) - 4))}


def jaccard(one: str, two: str) -> float:
    a, b = shingles_of(one), shingles_of(two)
    return len(a & b) / len(a | b)


def edited(words: Sequence[str], num_edits: int, rng: random.Random) -> str:
    result = list(words)
    for place in rng.sample(range(len(result)), num_edits):
        result[place] = f"edit{rng.randrange(10**6)}"
    return " ".join(result)


def family_corpus(seed: int) -> list[str]:
    """Return families of edited versions, exact copies, short texts, empty texts and other scripts."""
    rng = random.Random(seed)
    texts: list[str] = []
    for family in range(12):
        words = [f"w{family}x{rng.randrange(500)}" for _ in range(rng.randint(60, 200))]
        texts += [" ".join(words)] * rng.randint(1, 3) + [edited(words, rng.randint(1, 4), rng) for _ in range(rng.randint(0, 5))]
    chinese = "".join(chr(0x4E00 + rng.randrange(3000)) for _ in range(120))
    texts += [
        chinese,
        chinese[:60] + "\n" + chinese[60:-1],
        "short",
        "Short ",
        "other short",
        "",
        " ",
        "🎉 🎊 🎈",
        "🎉  🎊 🎈",
        "مرحبا بالعالم",
    ]
    return texts


def test_order_parts_and_partitions_change_no_fate(make_documents: Make, deduplicate: Run) -> None:
    """Rows permuted, cut into other parts, and shuffled through other partitions: the same rows go, for the same kept rows."""
    texts = family_corpus(1)
    tags = [f"t{row % 3}" for row in range(len(texts))]
    expected = deduplicate([make_documents(texts, tags)], DedupConfig()).fates()
    assert sum(reason == "near_duplicate" for *_, reason in expected) > 10
    for seed, num_parts, partitions, block_bytes in ((2, 1, 16, 2**27), (3, 5, 3, 2**12), (4, len(texts), 1, 2**10)):
        order = random.Random(seed).sample(range(len(texts)), len(texts))
        bounds = [len(texts) * part // num_parts for part in range(num_parts + 1)]
        parts = [
            make_documents([texts[row] for row in order[start:end]], [tags[row] for row in order[start:end]], first_id=start)
            for start, end in pairwise(bounds)
        ]
        result = deduplicate(parts, DedupConfig(num_partitions=partitions, block_bytes=block_bytes))
        assert result.fates() == expected


def test_every_near_removal_is_a_true_direct_duplicate_of_a_kept_document(make_documents: Make, deduplicate: Run) -> None:
    """The evidence in each row is the plain Jaccard of the two texts, and the kept document is kept."""
    texts = family_corpus(5)
    result = deduplicate([make_documents(texts)], DedupConfig())
    removed = set(result.removals["doc_id"])
    near = result.removals.filter(pl.col("reason") == "near_duplicate")
    assert near.height > 10
    for doc_id, kept_doc_id, _, value, *_ in near.rows():
        assert kept_doc_id not in removed
        if texts[doc_id].isascii():
            assert value == jaccard(texts[doc_id], texts[kept_doc_id]) >= 0.8


def test_other_scripts_short_and_empty_texts(make_documents: Make, deduplicate: Run) -> None:
    """Near copies are found in Chinese, Thai, Arabic and emoji; short texts fall to equality alone; empty texts meet only each other."""
    rng = random.Random(7)
    chinese = "".join(chr(0x4E00 + rng.randrange(3000)) for _ in range(150))
    thai = "".join(rng.choice("กขคงจฉชซญดตถทธนบปผฝพฟมยรลวศษสหอฮ") for _ in range(150))
    arabic = " ".join("".join(rng.choice("ابتثجحخدذرزسشصضطظعغفقكلمنهوي") for _ in range(6)) for _ in range(120))
    emoji = " ".join(chr(0x1F300 + rng.randrange(300)) for _ in range(120))
    long = [chinese, thai, arabic, emoji]
    near = [chinese[:-2], thai[2:], arabic.rsplit(" ", 2)[0], emoji.split(" ", 2)[2]]
    short = ["hello world", "hello there", "Hello  World", "x", "", "\u3000"]
    result = deduplicate([make_documents([*long, *near, *short])], DedupConfig())
    ids = result.clusters.sort("doc_id")["cluster_id"].to_list()
    assert ids[:4] == ids[4:8]
    assert len(set(ids[:4])) == 4
    assert ids[8] == ids[10] != ids[9]
    assert ids[12] == ids[13]
    assert len(set(ids[8:])) == 4
    assert result.facts["num_near"] == 4
    assert result.facts["num_exact"] == 2


def test_a_shared_template_with_other_facts_does_not_collapse(make_documents: Make, deduplicate: Run) -> None:
    """2,000 documents share nine tenths of their words: only those go that reach the threshold against a kept one directly."""
    rng = random.Random(11)
    # fifteen facts in a row part two documents of one template (Jaccard 0.77), four do not (0.89)
    texts = []
    for row in range(2_000):
        template = [f"template{row % 2}word{i}" for i in range(135)]
        facts = [f"fact{rng.randrange(40)}" for _ in range(15 if row % 2 else 4)]
        texts.append(" ".join([*template[:70], *facts, *template[70:]]))
    result = deduplicate([make_documents(texts)], DedupConfig())
    removed = set(result.removals["doc_id"])
    for doc_id, kept_doc_id, reason, value, *_ in result.removals.rows():
        assert kept_doc_id not in removed
        if reason == "near_duplicate":
            assert value == jaccard(texts[doc_id], texts[kept_doc_id]) >= 0.8
    # a few share enough facts by chance
    assert sum(row % 2 for row in removed) < 50
    assert sum(row % 2 == 0 for row in removed) > 990


def test_a_verified_pair_is_not_regrouped_by_its_cluster(make_documents: Make, deduplicate: Run) -> None:
    """A slow drift of edits joins unlike ends in one cluster; each removal is still close to the document kept for it."""
    words = [f"w{i}" for i in range(100)]
    texts = []
    for step in range(40):
        words[(step * 37) % 100] = f"drift{step}"
        texts.append(" ".join(words))
    result = deduplicate([make_documents(texts)], DedupConfig())
    assert result.facts["num_clusters"] == 1
    assert result.facts["num_transitive_only"] > 3
    assert all(jaccard(texts[doc_id], texts[kept]) >= 0.8 for doc_id, kept in result.removals.select("doc_id", "kept_doc_id").rows())


def test_duplicate_rows_are_interchangeable_and_a_second_run_is_equal(make_documents: Make, deduplicate: Run) -> None:
    """Fully equal rows give one kept row, and the same input the same tables."""
    documents = make_documents(["the very same row of text"] * 6 + family_corpus(9))
    one, two = deduplicate([documents], DedupConfig()), deduplicate([documents], DedupConfig())
    for table in ("candidates", "pairs", "clusters", "removals"):
        assert getattr(one, table).equals(getattr(two, table))
    assert one.removals.filter(pl.col("doc_id") < 6).height == 5


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.9])
def test_duplicate_pairs_are_exactly_the_candidates_at_or_above_the_threshold(
    make_documents: Make, deduplicate: Run, threshold: float
) -> None:
    """Precision is one by construction: every pair in the table has its plain Jaccard."""
    texts = [text for text in family_corpus(13) if text.isascii()]
    result = deduplicate([make_documents(texts)], DedupConfig(threshold=threshold))
    found = {(a, b): value for a, b, value, *_ in result.pairs.rows()}
    plain = {(a, b): jaccard(texts[a], texts[b]) for a, b, *_ in result.candidates.rows()}
    assert found == {pair: value for pair, value in plain.items() if value >= threshold}


def test_stored_documents_are_never_changed(make_documents: Make, deduplicate: Run) -> None:
    """The ledger's documents are read, not rewritten."""
    documents = make_documents(family_corpus(15))
    result = deduplicate([documents], DedupConfig())
    assert store.find(result.documents.folder) == result.documents
    assert pa.concat_tables(store.iter_arrow(result.documents)).equals(documents)
