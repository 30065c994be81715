"""What deduplication finds of what there is: recall against exact all-pairs Jaccard, on real corpora and on one of known edits.

`make bench` prints a table for each corpus, a row for each banding, over five seeds of the permutations; the bars hold for the default.

    BENCH_CORPORA=/folder   where fetched corpora lie or are put; default: .benchmarks in the repository

Pairs: share of the true pairs of which both documents end in one cluster. Removals: share of the near-duplicates removed where all true
pairs are known, under the same walk, that are removed. Both at and above the threshold, then where the true Jaccard is below 0.85, with
the lower end of the 95% interval. Missed: true pairs a seed without a common band, and with one but not proposed. CPU seconds are those
of candidates and verification.
"""

from __future__ import annotations

import os
import random
from itertools import combinations
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import store
from pipeline.config import DedupConfig, InputConfig
from pipeline.corpus.documents import read_corpus
from pipeline.statistics import wilson_interval
from pipeline.text import normalise
from tests.benchmarks import known_edits
from tests.benchmarks.corpora import fetch
from tests.benchmarks.dedup_recall import PAIR, Run, Truth, count_misses, find_truth, found_pairs, found_removals, run, sign

ROOT = Path(__file__).parents[2]
KNOWN_EDITS, SAMPLES = "known edits", "samples"
BANDINGS = ((16, 8), (18, 7), (20, 6), (21, 6), (25, 5), (32, 4))
SEEDS = range(1, 6)
NUM_FAMILIES = 4000
NUM_CHECKED_PAIRS, NUM_CHECKED_OTHERS = 150, 200
GREY = 0.85
MIN_RECALL, MIN_GREY_RECALL = 0.99, 0.95

Banding = tuple[int, int]
Texts = dict[int, tuple[str, bool]]  # of each doc_id: text, and whether it is cut into characters


@pytest.mark.benchmark
@pytest.mark.parametrize("name", ["scancode-rules", "installation-guide", "boost", SAMPLES, KNOWN_EDITS])
def test_recall_and_precision_against_all_pairs(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At the default banding 99% of true pairs and removals are found, 95% of those in the grey zone, and every removal is right."""
    documents, known_pairs = read(name, tmp_path)
    config = DedupConfig()
    signatures = sign(documents, config, tmp_path / "signatures")
    truth, texts = find_truth(documents, signatures, config, tmp_path / "truth"), read_texts(documents, signatures)
    check_truth(truth, texts, config)
    if known_pairs is not None:
        assert known_pairs == set(truth.pairs.select(*PAIR, "jaccard").rows())
    default = (config.num_bands, config.rows_per_band)
    measures: dict[Banding, list[pl.DataFrame]] = {
        banding: [] for banding in sorted({*BANDINGS, default}, key=lambda each: (-each[1], each[0]))
    }
    removed: set[tuple[int, int, str, float]] = set()
    for seed in SEEDS:
        signatures = sign(documents, DedupConfig(seed=seed), tmp_path / f"signatures-{seed}")
        for banding, found in measures.items():
            settings = DedupConfig(seed=seed, num_bands=banding[0], rows_per_band=banding[1])
            done = run(documents, signatures, settings, tmp_path / "run")
            found.append(measure(truth, done, signatures, settings))
            removed |= set(done.removals.select("doc_id", "kept_doc_id", "reason", "jaccard").rows())
    check_removals(removed, texts, config)
    with capsys.disabled():
        print_table(name, truth, len(texts), measures, default)
    recalls = pl.concat(measures[default])
    for kind in ("pairs", "removals"):
        assert share(recalls, kind)[0] >= MIN_RECALL
        assert share(recalls, f"grey_{kind}")[0] >= MIN_GREY_RECALL


def read(name: str, folder: Path) -> tuple[store.Artifact, set[tuple[int, int, float]] | None]:
    """Read a corpus into documents; of the one made here, also return all pairs that reach the threshold."""
    known_pairs = None
    if name == KNOWN_EDITS:
        texts, pairs = known_edits.make_corpus(NUM_FAMILIES, seed=0)
        path = folder / "known-edits.parquet"
        pq.write_table(pa.table({"text": texts}), path)
        known_pairs = {pair for pair in pairs if pair[2] >= DedupConfig().threshold}
    elif name == SAMPLES:
        path = ROOT / "data" / "samples" / "corpus"
    else:
        path = fetch(name, Path(os.environ.get("BENCH_CORPORA", ROOT / ".benchmarks")))
    return read_corpus(InputConfig(paths=(str(path),), text_column="text"), str(folder / "documents")), known_pairs


def read_texts(documents: store.Artifact, signatures: store.Artifact) -> Texts:
    rows = store.read_frame(documents, ["doc_id", "text"]).join(store.read_frame(signatures, ["doc_id", "is_spaceless"]), on="doc_id")
    return {doc_id: (text or "", is_spaceless) for doc_id, text, is_spaceless in rows.select("doc_id", "text", "is_spaceless").rows()}


def shingles_of(text: str, is_spaceless: bool, ngram: int) -> frozenset[tuple[str, ...]]:
    units = list("".join(normalise(text).split())) if is_spaceless else normalise(text).split()
    return frozenset(tuple(units[i : i + ngram]) for i in range(max(1, len(units) - ngram + 1)))


def check_truth(truth: Truth, texts: Texts, config: DedupConfig) -> None:
    """Compare the truth on documents in and outside true pairs with plain sets of words, all with all."""
    rng = random.Random(0)
    pairs = truth.pairs.select(*PAIR).rows()
    ends = [doc_id for pair in rng.sample(pairs, min(NUM_CHECKED_PAIRS, len(pairs))) for doc_id in pair]
    others = rng.sample(truth.doc_ids.tolist(), min(NUM_CHECKED_OTHERS, len(truth.doc_ids)))
    sets = {doc_id: shingles_of(*texts[doc_id], config.ngram) for doc_id in sorted({*ends, *others})}
    compared = ((a, b, len(sets[a] & sets[b]) / len(sets[a] | sets[b])) for a, b in combinations(sets, 2))
    chosen = truth.pairs.filter(pl.all_horizontal(pl.col(end).is_in(list(sets)) for end in PAIR))
    assert {pair for pair in compared if pair[2] >= config.threshold} == set(chosen.select(*PAIR, "jaccard").rows())


def check_removals(removed: set[tuple[int, int, str, float]], texts: Texts, config: DedupConfig) -> None:
    """Every document that any run removed equals the one kept for it, or reaches the threshold with it, by plain sets of words."""
    for doc_id, kept, reason, jaccard in sorted(removed):
        if reason == "exact_duplicate":
            assert normalise(texts[doc_id][0]) == normalise(texts[kept][0])
        else:
            one, other = (shingles_of(*texts[each], config.ngram) for each in (doc_id, kept))
            assert config.threshold <= len(one & other) / len(one | other) == jaccard


def measure(truth: Truth, done: Run, signatures: store.Artifact, config: DedupConfig) -> pl.DataFrame:
    """Return one run's counts, `found_...` of `all_...`."""
    pairs, removals = found_pairs(truth, done), found_removals(truth, done)
    counts: dict[str, float] = {"candidates": done.candidates.height, "verified": done.pairs.height, "seconds": done.seconds}
    counts["no_band"], counts["not_proposed"] = count_misses(pairs, done, signatures, config)
    for kind, rows in (("pairs", pairs), ("removals", removals)):
        for name, chosen in ((kind, rows), (f"grey_{kind}", rows.filter(pl.col("jaccard") < GREY))):
            counts[f"found_{name}"], counts[f"all_{name}"] = int(chosen["is_found"].sum()), chosen.height
    return pl.DataFrame({name: [float(count)] for name, count in counts.items()})


def share(counts: pl.DataFrame, name: str) -> tuple[float, float]:
    """Return the share found over all seeds, and the lower end of its interval."""
    found, of_all = (int(counts[f"{column}_{name}"].sum()) for column in ("found", "all"))
    assert of_all, f"the corpus holds no {name}"
    return found / of_all, wilson_interval(found, of_all)[0]


def print_table(name: str, truth: Truth, num_documents: int, measures: dict[Banding, list[pl.DataFrame]], default: Banding) -> None:
    largest = truth.clusters["cluster_size"].to_numpy().max()
    removed = truth.removals.filter(pl.col("reason") == "near_duplicate").height
    print(f"\n\n{name}: {num_documents} documents, {len(truth.doc_ids)} contents, {truth.pairs.height} true pairs, ", end="")
    print(f"{removed} true removals, largest cluster {largest}; seeds {SEEDS.start} to {SEEDS.stop - 1}, `*` the default\n")
    heads = ("pairs", "pairs < .85", "removals", "removals < .85", "missed", "candidates", "verified", "CPU s")
    print("| bands  | " + " | ".join(f"{head:>14}" for head in heads) + " |")
    print("|--------|" + "---------------:|" * len(heads))
    for banding, found in measures.items():
        counts = pl.concat(found)
        mean = counts.mean().row(0, named=True)
        recalls = [share(counts, kind) for kind in ("pairs", "grey_pairs", "removals", "grey_removals")]
        cells = [f"{value:.4f} ({low:.3f})" for value, low in recalls]
        cells += [f"{mean['no_band']:.1f} + {mean['not_proposed']:.1f}", f"{mean['candidates']:.0f}"]
        cells += [f"{mean['verified'] / mean['candidates']:.2f}", f"{mean['seconds']:.2f}"]
        label = f"{banding[0]}x{banding[1]}{'*' if banding == default else ''}"
        print(f"| {label:6} | " + " | ".join(f"{cell:>14}" for cell in cells) + " |")
