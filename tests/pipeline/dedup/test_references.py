"""References: what is compared and never removed, alone, with earlier runs, and against a plain form of the rule."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from pipeline import store
from pipeline.config import DedupConfig
from pipeline.dedup.candidates import Members, find_candidates, propose_pairs
from pipeline.dedup.clusters import cluster_documents
from pipeline.dedup.placed import place
from pipeline.dedup.references import Corpus, choose_references, place_references, with_references, without_references
from pipeline.dedup.removals import find_removals
from pipeline.dedup.signatures import compute_signatures
from pipeline.dedup.sweep import sweep_thresholds
from pipeline.dedup.verification import verify_candidates
from pipeline.parallel import in_threads
from pipeline.tables import CandidatePairs, Clusters, Documents, DuplicatePairs, ReferenceDocuments, Removals
from pipeline.text import normalise

Make = Callable[..., Documents]
# bands that miss next to nothing, so that what goes is what the rule says
SEEING = DedupConfig(num_bands=64, rows_per_band=2)


@dataclass(frozen=True)
class Found:
    """Hold what came of documents that were compared with references."""

    corpus: Corpus
    candidates: CandidatePairs
    references: ReferenceDocuments
    pairs: DuplicatePairs
    clusters: Clusters
    removals: Removals
    sweep: list[dict[str, float]]

    @property
    def removed(self) -> set[int]:
        return set(self.removals["doc_id"])


@dataclass(frozen=True)
class Bench:
    """Run deduplication with references the way the flow does, every table in a folder of its own."""

    folder: Path
    make_documents: Make

    def store_corpus(
        self, name: str, texts: Sequence[str | None], config: DedupConfig, size: int = 7, sources: Sequence[str] | None = None
    ) -> Corpus:
        """Store and sign texts, ids from 0, in parts of a size."""
        sources = sources or ["s"] * len(texts)
        starts = range(0, len(texts), size)
        parts = [self.make_documents(texts[start : start + size], sources[start : start + size], first_id=start) for start in starts]
        tables = []
        for table, frames in (("documents", parts), ("signatures", [compute_signatures(part, config)[0] for part in parts])):
            folder = str(self.folder / name / table)
            written = [store.write_part(folder, part, frame) for part, frame in zip(store.part_names(len(parts)), frames, strict=True)]
            tables.append(store.publish(table, folder, written))
        return Corpus(f"{name}-digest", *tables)

    def run(self, corpus: Corpus, references: Sequence[Corpus], config: DedupConfig) -> Found:
        """Compare a corpus with itself and with references."""
        placed, folder = place_references(references), self.folder / f"run{len(list(self.folder.iterdir()))}"
        parts = [part for reference in placed for part in reference.signatures]
        left_out = np.concatenate([np.empty(0, np.int64), *(reference.left_out for reference in placed)])
        candidates, _ = find_candidates([*parts, *place(corpus.signatures)], config, str(folder / "keys"), in_threads(2), left_out)
        rows = store.read_frame(corpus.signatures, ["doc_id", "content_hash", "num_bytes", "num_shingles"])
        known = choose_references(placed, rows["content_hash"], candidates)
        sizes, documents = pl.concat([known.select(rows.columns), rows]), [part for reference in placed for part in reference.documents]
        sets = str(folder / "sets")
        pairs, _ = verify_candidates(candidates, [*documents, *place(corpus.documents)], sizes, config, sets)
        whole, _ = cluster_documents(sizes, pairs)
        clusters = without_references(whole)
        walked = with_references(clusters, rows, known, pairs)
        removals, _ = find_removals(corpus.documents, walked, pairs, sizes, config, sets, documents, mapper=in_threads(2))
        sweep = sweep_thresholds(corpus.documents, sizes.select("doc_id", "content_hash"), candidates, pairs, removals, [], config)
        published = store.publish_frame("removals", str(folder / "removals"), removals)
        return Found(replace(corpus, removals=published), candidates, known, pairs, clusters, removals, sweep)


@pytest.fixture
def bench(tmp_path: Path, make_documents: Make) -> Bench:
    return Bench(tmp_path, make_documents)


@cache
def shingles_of(text: str) -> frozenset[tuple[str, ...]]:
    words = normalise(text).split()
    return frozenset(tuple(words[i : i + 5]) for i in range(max(1, len(words) - 4))) if words else frozenset()


def jaccard(one: str, two: str) -> float:
    a, b = shingles_of(one), shingles_of(two)
    return len(a & b) / len(a | b)


def are_copies(one: str, two: str, threshold: float) -> bool:
    return normalise(one) == normalise(two) or (bool(one.strip() and two.strip()) and jaccard(one, two) >= threshold)


def plain_removals(texts: list[str], references: list[str], config: DedupConfig, first: Sequence[int] = ()) -> set[int]:
    """Walk the texts, the `first` ones first, then the longest: one goes for any reference with text, or for enough kept ones."""
    removed, kept = set(), list[int]()
    for row in sorted(range(len(texts)), key=lambda row: (row not in first, -len(texts[row].encode()))):
        is_known = any(are_copies(texts[row], other, config.threshold) for other in references if other.strip())
        copies = sum(are_copies(texts[row], texts[other], config.threshold) for other in kept)
        if is_known or copies >= config.max_copies:
            removed.add(row)
        else:
            kept.append(row)
    return removed


def families(seed: int, num_families: int, max_edits: int = 3) -> list[str]:
    """Return drifting versions of texts, no two of one length, so that their order is plain; some are copies of others."""
    rng, texts = random.Random(seed), list[str]()
    for family in range(num_families):
        words = [f"w{family}x{rng.randrange(500)}" for _ in range(rng.randint(40, 90))]
        for _ in range(rng.randint(1, 7)):
            for place_ in rng.sample(range(len(words)), rng.randint(0, max_edits)):
                words[place_] = f"edit{rng.randrange(10**6)}"
            texts.append(" ".join(words))
    rng.shuffle(texts)
    # white space is no part of what is compared, but of the length
    return [text + " " * row for row, text in enumerate(texts)]


@pytest.mark.parametrize("max_copies", [1, 2])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_what_goes_is_what_the_plain_rule_says(bench: Bench, seed: int, max_copies: int) -> None:
    """A row goes iff it copies a reference, or enough kept rows before it; two references in several parts."""
    config = SEEING.model_copy(update={"max_copies": max_copies, "max_bucket_pairs": 10**6, "block_bytes": 2**12})
    texts = families(seed, 25)
    held, texts = texts[: len(texts) // 3], texts[len(texts) // 3 :]
    references = [bench.store_corpus("a", held[::2], config), bench.store_corpus("b", held[1::2], config, 3)]
    found = bench.run(bench.store_corpus("own", texts, config), references, config)
    assert found.removed == plain_removals(texts, held, config)
    ids = [*held[::2], *held[1::2]]  # in order of their digests, up to -1
    for doc_id, kept, reason, value, *_ in found.removals.rows():
        other = texts[kept] if kept >= 0 else ids[kept]
        assert kept not in found.removed
        assert value == (1.0 if reason == "exact_duplicate" else jaccard(texts[doc_id], other)) >= config.threshold
    assert (found.removals["kept_doc_id"] < 0).any()
    assert (found.removals["kept_doc_id"] >= 0).any()


def test_references_are_tied_to_nothing_but_rows(bench: Bench) -> None:
    """Nothing is proposed among references, clusters hold rows alone, and of the references only those that matter are taken."""
    texts = families(4, 12)
    found = bench.run(bench.store_corpus("own", texts[::2], SEEING), [bench.store_corpus("a", [*texts[1::2], "alone"], SEEING)], SEEING)
    assert (found.candidates["doc_id_b"] >= 0).all()
    assert (found.candidates["doc_id_a"] < 0).any()
    assert found.clusters["doc_id"].to_list() == list(range(len(texts[::2])))
    assert found.clusters["cluster_size"].to_list() == found.clusters.select(pl.len().over("cluster_id"))["len"].to_list()
    named = {*found.candidates.filter(pl.col("doc_id_a") < 0)["doc_id_a"]}
    assert named <= {*found.references["doc_id"]} < {-1 - row for row in range(len(texts[1::2]) + 1)}
    assert set(found.references["reference"]) == {"a-digest"}


def test_each_of_several_like_references_is_compared_with() -> None:
    """A row is proposed to every reference in its bucket that estimates do not rule out, for none speaks for another."""
    sketches = [[1] * 16, [1] * 15 + [2], [1] * 8 + [3] * 8]
    words = [sum(value << 4 * i for i, value in enumerate(nibbles)) for nibbles in sketches]
    bucket = Members(np.full(3, 7, np.uint64), np.arange(3), np.array([-2, -1, 0]), np.array(words, np.uint64)[:, None])
    config = DedupConfig(num_perm=16, num_bands=2, rows_per_band=8, threshold=0.5)
    pairs, facts = propose_pairs(bucket, config)
    assert pairs.select("doc_id_a", "doc_id_b").rows() == [(-2, 0), (-1, 0)]
    assert (facts["num_buckets"], facts["num_comparisons"]) == (1, 2)
    only_references = replace(bucket, doc_ids=np.array([-3, -2, -1]))
    assert propose_pairs(only_references, config)[1]["num_buckets"] == 0


def test_empty_and_short_rows(bench: Bench) -> None:
    """Empty rows are copies of each other as ever, never of a reference; a short row goes for an equal one alone."""
    own = bench.store_corpus("own", ["", None, "\u3000", "Yes ", "yes sir", "no"], SEEING)
    reference = bench.store_corpus("a", ["", " ", None, "yes", "maybe"], SEEING)
    found, alone = bench.run(own, [reference], SEEING), bench.run(own, [], SEEING)
    assert found.references["source_id"].to_list() == ["3"]
    assert found.removals.filter(pl.col("doc_id") < 3).equals(alone.removals)
    assert found.removals.filter(pl.col("doc_id") >= 3).select("doc_id", "kept_doc_id", "reason").rows() == [(3, -2, "exact_duplicate")]


def test_a_copy_of_a_reference_goes_whatever_may_stay(bench: Bench) -> None:
    """The allowance of copies and the policy count among rows; what copies a reference has none."""
    text = " ".join(f"w{i}" for i in range(60))
    config = SEEING.model_copy(update={"max_copies": 5})
    reference = bench.store_corpus("a", [text], config)
    found = bench.run(bench.store_corpus("own", [text, text, f"{text} and some more", "other words"], config), [reference], config)
    assert found.removals.select("doc_id", "kept_doc_id", "reason").rows() == [
        (0, -1, "exact_duplicate"),
        (1, -1, "exact_duplicate"),
        (2, -1, "near_duplicate"),
    ]
    assert found.clusters["cluster_size"].to_list() == [3, 3, 3, 1]


def test_the_order_in_which_references_are_named_changes_nothing(bench: Bench) -> None:
    """References are numbered by digest, so ids, evidence and all are the same."""
    texts = families(5, 10)
    own, one, two = (bench.store_corpus(name, texts[start::3], SEEING) for start, name in enumerate(("own", "a", "b")))
    there, back = bench.run(own, [one, two], SEEING), bench.run(own, [two, one], SEEING)
    for table in ("candidates", "references", "pairs", "clusters", "removals"):
        assert getattr(there, table).equals(getattr(back, table))
    assert there.removals.height > 5


@pytest.mark.parametrize("seed", [7, 8, 9, 10])
def test_three_nights_remove_what_one_run_in_their_order_does(bench: Bench, seed: int) -> None:
    """Each night compares with what the nights before kept; chains included, the same rows go as in one run with the old ones first."""
    config = SEEING.model_copy(update={"max_bucket_pairs": 10**6})
    texts = families(seed, 30, max_edits=1)
    nights = [texts[start::3] for start in range(3)]
    earlier, removed = list[Corpus](), list[set[str]]()
    for number, night in enumerate(nights):
        found = bench.run(bench.store_corpus(f"night{number}", night, config), earlier, config)
        removed.append({night[row] for row in found.removed})
        earlier.append(found.corpus)
    rows = [text for night in nights for text in night]
    sources = [f"n{number}" for number, night in enumerate(nights) for _ in night]
    priority = config.model_copy(update={"source_priority": ("n0", "n1", "n2")})
    together = bench.run(bench.store_corpus("together", rows, priority, len(rows), sources), [], priority)
    assert {rows[row] for row in together.removed} == set().union(*removed)
    # texts that only a chain ties: one that went for an old row, another that stayed beside both
    stayed = set(rows) - set().union(*removed)
    assert any(are_copies(gone, text, 0.8) for gone in removed[0] | removed[1] for text in stayed & {*nights[1], *nights[2]})


def test_what_an_earlier_run_removed_removes_nothing(bench: Bench) -> None:
    """A new row that resembles only an old copy that went stays, as it would have beside both."""
    words = [f"w{i}" for i in range(1000, 1112)]
    kept, gone, new = " ".join([*words[:100], "longest"]), " ".join(words[6:106]), " ".join(words[12:112])
    assert jaccard(kept, gone) > 0.8 < jaccard(gone, new)
    assert jaccard(kept, new) < 0.8
    first = bench.run(bench.store_corpus("old", [kept, gone], SEEING), [], SEEING)
    assert first.removed == {1}
    own = bench.store_corpus("own", [new, gone], SEEING)
    assert bench.run(own, [first.corpus], SEEING).removals.select("doc_id", "kept_doc_id").rows() == [(1, -2)]
    assert bench.run(own, [replace(first.corpus, removals=None)], SEEING).removed == {0, 1}


def test_other_thresholds_count_rows_that_go_for_references(bench: Bench) -> None:
    """The sweep's counts above the threshold are those of runs at the higher ones; its clusters are of rows alone."""
    texts = [text for text in families(11, 14) if len(text) > 200]
    own, reference = bench.store_corpus("own", texts[::2], SEEING), bench.store_corpus("a", texts[1::2], SEEING)
    found = bench.run(own, [reference], SEEING)
    swept = {row["threshold"]: row for row in found.sweep if row["threshold"] >= 0.8}
    assert swept[0.8]["num_removable"] == found.removals.height > 0
    sizes = found.clusters.filter(pl.col("cluster_size") > 1)["cluster_id"].n_unique()
    assert swept[0.8]["num_clusters"] == sizes
    stricter = bench.run(own, [reference], SEEING.model_copy(update={"threshold": 0.9}))
    assert swept[0.9]["num_removable"] == stricter.removals.height
