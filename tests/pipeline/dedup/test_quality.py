"""Planted copies: made up, of known similarity, independent of order, and a fair measure of what the chain finds."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline.config import DedupConfig
from pipeline.dedup.plants import MAX_BYTES, Plants, bin_edges, choose_sample, plant_copies, true_jaccards
from pipeline.dedup.quality import measure_quality
from pipeline.dedup.sweep import sweep_thresholds
from pipeline.rows import profile_documents
from pipeline.tables import Documents
from pipeline.text import normalise

Make = Callable[..., Documents]
Run = Callable[..., Any]


def corpus(seed: int = 1) -> list[str]:
    """Return texts of several lengths in a script with blanks and one without, and some that are not fit for plants."""
    rng = random.Random(seed)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(3000)]
    spaced = [" ".join(rng.choices(words, k=length)) for length in (*range(25, 45), 200, 500, 900, 3000)]
    spaceless = ["".join(chr(0x4E00 + rng.randrange(2000)) for _ in range(length)) for length in (80, 400, 1500)]
    return [*spaced, *spaceless, "too short", "", "the same few words " * 40, " ".join(rng.choices(words, k=40_000))]


def sample_of(texts: Sequence[str], make_documents: Make) -> pl.DataFrame:
    documents = make_documents(texts)
    hashes = profile_documents(documents)["content_hash"]
    return pl.DataFrame({"doc_id": range(len(texts)), "content_hash": hashes, "text": texts})


@pytest.fixture(scope="module")
def plants(make_documents: Make) -> Plants:
    return plant_copies(sample_of(corpus(), make_documents), DedupConfig(), 7)


def shingles(text: str, *, are_characters: bool = False, ngram: int = 5) -> set[tuple[str, ...]]:
    units = [unit for unit in normalise(text) if unit != " "] if are_characters else normalise(text).split()
    return {tuple(units[i : i + ngram]) for i in range(len(units) - ngram + 1)}


def test_jaccard_is_that_of_plain_shingle_sets(plants: Plants) -> None:
    """Every pair's recorded similarity is counted again from its two texts."""
    texts = plants.documents["text"].to_pylist()
    for pair, jaccard, are_characters in plants.pairs.select("pair", "jaccard", "is_spaceless").rows():
        one, other = (shingles(texts[2 * pair + side], are_characters=are_characters) for side in (0, 1))
        assert jaccard == len(one & other) / len(one | other)
    assert true_jaccards([], 5) == []


def test_similarities_lengths_and_scripts_are_as_aimed(plants: Plants) -> None:
    """Each bin has its pairs, two thirds lie at or above the threshold, and every class of length and script is there."""
    pairs, edges = plants.pairs, bin_edges(0.8)
    assert edges == [0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0]
    counts = [pairs.filter(pl.col("jaccard").is_between(low, low + 0.05)).height for low in edges[:-1]]
    assert min(counts) > 15
    assert 380 <= pairs.height <= 400
    assert 0.6 < pairs.filter(pl.col("jaccard") >= 0.8).height / pairs.height < 0.73
    assert pairs["is_spaceless"].sum() > 50
    assert pairs["num_bytes"].min() < 500  # type: ignore[operator]
    assert MAX_BYTES > pairs["num_bytes"].max() > 10_000  # type: ignore[operator]


def test_plants_share_no_shingle_with_the_corpus_or_with_one_another(plants: Plants) -> None:
    """Neither member of a pair meets a natural document or another pair, by more than a coincidence."""
    natural: set[tuple[str, ...]] = set()
    for text in corpus():
        natural |= shingles(text) | shingles(text, are_characters=True)
    seen: set[tuple[str, ...]] = set()
    texts = plants.documents["text"].to_pylist()
    for pair, are_characters in plants.pairs.select("pair", "is_spaceless").rows():
        both = shingles(texts[2 * pair], are_characters=are_characters) | shingles(texts[2 * pair + 1], are_characters=are_characters)
        assert len(both & natural) <= 0.02 * len(both) + 1
        assert len(both & seen) <= 0.02 * len(both) + 1
        seen |= both


def test_plants_follow_content_and_seed_alone(make_documents: Make) -> None:
    """Rows in another order give the same plants byte for byte, another seed others."""
    texts, config = corpus(), DedupConfig(num_plants=60)
    one = plant_copies(sample_of(texts, make_documents), config, 3)
    shuffled = random.Random(5).sample(texts, len(texts))
    two = plant_copies(sample_of(shuffled, make_documents), config, 3)
    assert one.documents.equals(two.documents)
    assert one.pairs.equals(two.pairs)
    assert not one.documents.equals(plant_copies(sample_of(texts, make_documents), config, 4).documents)


def test_the_sample_follows_content_and_seed_alone(make_documents: Make) -> None:
    """The same contents are drawn in any order of rows and any parts; empty and very long texts never are, equal ones once."""
    texts = [*corpus(), *corpus()[:5]]
    config = DedupConfig(num_plants=6)
    shuffled = random.Random(5).sample(texts, len(texts))
    one, two = (
        choose_sample(profile_documents(make_documents(rows)).iter_slices(size), config, 3)
        for rows, size in ((texts, len(texts)), (shuffled, 7))
    )
    assert one["content_hash"].to_list() == two["content_hash"].to_list()
    assert one["content_hash"].is_unique().all()
    assert all(0 < len(texts[doc_id].encode()) <= MAX_BYTES for doc_id in one["doc_id"])


def test_measured_quality_is_that_of_the_table(plants: Plants, tmp_path: Path) -> None:
    """Bins add up to the table, recall is high, precision one, nothing below the threshold goes, and facts are JSON."""
    table, facts = measure_quality(plants, DedupConfig(), str(tmp_path))
    duplicates = table.filter(pl.col("jaccard") >= 0.8)
    assert json.loads(json.dumps(facts)) == facts
    assert facts["num_pairs"] == table.height == sum(bin_["num_pairs"] for bin_ in facts["bins"]) + table.filter(jaccard_below(0.6)).height
    assert facts["recall"]["n"] == facts["num_duplicates"] == duplicates.height
    assert facts["recall"]["value"] == duplicates["is_removed"].mean()
    assert facts["recall"]["value"] > 0.96
    assert facts["recall"]["low"] < facts["recall"]["value"] < facts["recall"]["high"] or facts["recall"]["value"] == 1.0
    assert facts["precision"]["value"] == 1.0
    assert not table.filter(jaccard_below(0.8))["is_removed"].any()
    assert table.filter("is_removed").select("is_proposed", "in_one_cluster").to_numpy().all()
    assert sum(group["recall"]["n"] for group in facts["groups"]) == duplicates.height


def jaccard_below(bound: float) -> pl.Expr:
    return pl.col("jaccard") < bound


def test_fewer_bands_find_fewer_plants(plants: Plants, tmp_path: Path) -> None:
    """The measure sees a weaker setting: two bands of 32 rows lose most copies, and bins agree with the band curve within chance."""
    config = DedupConfig(num_bands=2, rows_per_band=32)
    _, facts = measure_quality(plants, config, str(tmp_path))
    assert facts["recall"]["value"] < 0.6
    for bin_ in facts["bins"]:
        slack = 0.05
        assert bin_["proposed_share"]["low"] - slack <= bin_["expected"] <= bin_["proposed_share"]["high"] + slack


@pytest.mark.parametrize(("texts", "num_plants"), [(["short", "", " "], 400), (corpus(), 0)])
def test_nothing_planted_is_not_measured(make_documents: Make, tmp_path: Path, texts: list[str], num_plants: int) -> None:
    """Without fit documents, or switched off, every value is None, and nobody stumbles."""
    config = DedupConfig(num_plants=num_plants)
    sample = choose_sample([profile_documents(make_documents(texts))], config, 1)
    rows = sample_of(texts, make_documents).join(sample.select("doc_id"), on="doc_id")
    table, facts = measure_quality(plant_copies(rows, config, 1), config, str(tmp_path))
    assert table.is_empty()
    assert facts["recall"] == {"value": None, "low": None, "high": None, "n": 0}


@pytest.mark.parametrize(
    "changes", [{"threshold": 1.0}, {"threshold": 0.1}, {"max_copies": 3}, {"quality_column": "q"}, {"ngram": 1, "threshold": 0.83}]
)
def test_any_settings_can_be_measured(make_documents: Make, tmp_path: Path, changes: dict[str, Any]) -> None:
    """Thresholds at both ends, several copies, a user's column that plants lack, single words."""
    config = DedupConfig(num_plants=40, **changes)
    _, facts = measure_quality(plant_copies(sample_of(corpus(), make_documents), config, 1), config, str(tmp_path))
    assert facts["num_pairs"] > 30
    assert all(bin_["high"] <= config.threshold or bin_["low"] >= config.threshold for bin_ in facts["bins"])
    if 0.5 < config.threshold < 1:
        assert facts["recall"]["value"] > 0.5


def family_corpus() -> list[str]:
    rng = random.Random(3)
    texts = []
    for family in range(40):
        words = [f"w{family}x{place}" for place in range(100)]
        texts += [" ".join(words)] * rng.randint(1, 2)
        for version in range(rng.randint(1, 3)):
            copy = list(words)
            for place in rng.sample(range(100), rng.randint(1, 4)):
                copy[place] = f"edit{version}n{place}"
            texts.append(" ".join(copy))
    return texts


@pytest.mark.parametrize("threshold", [0.01, 0.02, 0.99, 0.9999, 1.0])
def test_the_sweep_has_the_threshold_however_near_the_ends(make_documents: Make, deduplicate: Run, threshold: float) -> None:
    """Every threshold that the configuration allows is among those of the sweep, once, and its counts are the run's."""
    config = DedupConfig(threshold=threshold)
    found = deduplicate([make_documents(family_corpus()[:20])], config)
    identities = found.signatures.select("doc_id", "content_hash")
    sweep = sweep_thresholds(found.documents, identities, found.candidates, found.pairs, found.removals, [], config)
    (own,) = [row for row in sweep if row["threshold"] == threshold]
    assert own["num_removable"] == found.removals.height
    assert bin_edges(threshold) == sorted(set(bin_edges(threshold)))


@pytest.mark.parametrize("max_copies", [1, 2])
def test_the_sweep_meets_the_run_at_its_threshold_and_runs_at_others(make_documents: Make, deduplicate: Run, max_copies: int) -> None:
    """At its threshold the counts are the run's own; above they are those of a run there, or less; below, estimates not far off."""
    config = DedupConfig(max_copies=max_copies)
    documents = make_documents(family_corpus())
    found = deduplicate([documents], config)
    identities = found.signatures.select("doc_id", "content_hash")
    sweep = sweep_thresholds(found.documents, identities, found.candidates, found.pairs, found.removals, [], config)
    assert [row["threshold"] for row in sweep] == [0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95, 1.0]
    assert [row["is_estimate"] for row in sweep] == [True] * 3 + [False] * 5
    assert all(one["num_pairs"] >= two["num_pairs"] for one, two in pairwise(sweep))
    for row in sweep:
        other = deduplicate([documents], config.model_copy(update={"threshold": row["threshold"]}))
        clusters = other.clusters.filter(pl.col("cluster_size") > 1)["cluster_id"].n_unique()
        there = (other.pairs.height, clusters, other.removals.height)
        counted = (row["num_pairs"], row["num_clusters"], row["num_removable"])
        if row["threshold"] == config.threshold:
            assert counted == there
        elif row["is_estimate"]:
            assert counted[2] == pytest.approx(there[2], rel=0.2)
        else:
            assert counted[2] <= there[2]
            assert counted[2] >= 0.8 * there[2]
