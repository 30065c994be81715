"""Quality: how many planted copies this run's deduplication finds, measured on the corpus's own kind of text.

Plants go through the very functions that the corpus goes through, once, in a folder of their own. What this measures is the chain from
text to removal at the run's settings: shingles, signatures, bands, sketches, exact comparison, clusters, walk. What it does not: plants
meet no natural document, so their buckets are never crowded, nothing of theirs falls to the caps on comparisons, and every family has
two members. What the caps left out in the corpus is counted by `candidates` and `removals` and has a gate of its own.

Pairs are measured with one copy kept and without the corpus's columns for the keep policy: which of two copies stays is not at issue.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl

from pipeline import store
from pipeline.config import DedupConfig
from pipeline.dedup.candidates import find_candidates
from pipeline.dedup.clusters import cluster_documents
from pipeline.dedup.curve import proposal_probability
from pipeline.dedup.placed import place
from pipeline.dedup.plants import LENGTH_EDGES, Plants, bin_edges, true_jaccards
from pipeline.dedup.removals import find_removals
from pipeline.dedup.signatures import compute_signatures
from pipeline.dedup.verification import verify_candidates
from pipeline.statistics import wilson_interval
from pipeline.tables import PLANTED_PAIRS, CandidatePairs, Clusters, Documents, PlantedPairs, Removals

Facts = dict[str, Any]


def measure_quality(plants: Plants, config: DedupConfig, folder: str) -> tuple[PlantedPairs, Facts]:
    """Return what became of every planted pair, and recall and precision with their 95% intervals; `folder` may be removed afterwards.

    Facts: `recall` is the share of pairs at or above the threshold of which one was removed for the other, `pair_recall` of which both
    ended in one cluster, `precision` the share of removals whose true Jaccard reaches the threshold; each with value, low, high and n.
    `bins` has the same by Jaccard, with the share that the bands should propose (mean of the band curve over the bin's pairs), `groups`
    by length and script. Nothing planted: n is 0 and the values are None.
    """
    if not plants.pairs.height:
        empty = PLANTED_PAIRS.empty()
        return empty, _facts(empty, plants.pairs, (0, 0), config)
    candidates, clusters, removals = _deduplicate(plants.documents, config, folder)
    table = _outcomes(plants.pairs, candidates, clusters, removals)
    return table, _facts(table, plants.pairs, _count_true_removals(plants, removals, config), config)


def _deduplicate(documents: Documents, config: DedupConfig, folder: str) -> tuple[CandidatePairs, Clusters, Removals]:
    """Run all stages over the plants, the way the flow does over the corpus (in one partition: how many there are changes nothing)."""
    settings = config.model_copy(update={"num_partitions": 1, "max_copies": 1, "quality_column": None, "earliest_column": None})
    stored = store.publish_frame("documents", f"{folder}/documents", documents)
    computed, _ = compute_signatures(documents, settings)
    signatures = store.publish_frame("signatures", f"{folder}/signatures", computed)
    sizes = computed.select("doc_id", "num_shingles")
    candidates, _ = find_candidates(place(signatures), settings, f"{folder}/keys")
    pairs, _ = verify_candidates(candidates, place(stored), sizes, settings, f"{folder}/sets")
    clusters, _ = cluster_documents(computed.select("doc_id", "content_hash"), pairs)
    removals, _ = find_removals(stored, clusters, pairs, sizes, settings, f"{folder}/sets")
    return candidates, clusters, removals


def _outcomes(pairs: pl.DataFrame, candidates: CandidatePairs, clusters: Clusters, removals: Removals) -> PlantedPairs:
    a, b = 2 * pl.col("pair"), 2 * pl.col("pair") + 1
    proposed = candidates.filter((pl.col("doc_id_a") % 2 == 0) & (pl.col("doc_id_b") == pl.col("doc_id_a") + 1))["doc_id_a"] // 2
    # each removal names the kept copy: only the pair's own other member counts
    removed = removals.filter(pl.col("doc_id") // 2 == pl.col("kept_doc_id") // 2)["doc_id"] // 2
    cluster_of = clusters.select("doc_id", "cluster_id")
    frame = (
        pairs.with_columns(a=a, b=b)
        .join(cluster_of.rename({"cluster_id": "cluster_a"}), left_on="a", right_on="doc_id", maintain_order="left")
        .join(cluster_of.rename({"cluster_id": "cluster_b"}), left_on="b", right_on="doc_id", maintain_order="left")
        .with_columns(
            is_proposed=pl.col("pair").is_in(proposed.implode()),
            in_one_cluster=pl.col("cluster_a") == pl.col("cluster_b"),
            is_removed=pl.col("pair").is_in(removed.implode()),
        )
    )
    return PLANTED_PAIRS.check(frame.select(list(PLANTED_PAIRS.columns)))


def _count_true_removals(plants: Plants, removals: Removals, config: DedupConfig) -> tuple[int, int]:
    """Return how many removals there are and how many of them hold against plain sets of shingles."""
    texts = plants.documents["text"]
    known = plants.pairs["jaccard"].to_list()
    true = 0
    for doc_id, kept in removals.select("doc_id", "kept_doc_id").rows():
        if doc_id // 2 == kept // 2:
            jaccard = known[doc_id // 2]
        else:
            jaccard = true_jaccards([texts[doc_id].as_py(), texts[kept].as_py()], config.ngram)[0]
        true += jaccard >= config.threshold
    return removals.height, true


def _facts(table: PlantedPairs, pairs: pl.DataFrame, removals: tuple[int, int], config: DedupConfig) -> Facts:
    duplicates = table.filter(pl.col("jaccard") >= config.threshold)
    return {
        "num_pairs": table.height,
        "num_duplicates": duplicates.height,
        "recall": _share(duplicates["is_removed"]),
        "pair_recall": _share(duplicates["in_one_cluster"]),
        "precision": _interval(removals[1], removals[0]),
        "bins": _by_jaccard(table, config),
        "groups": _by_kind(pairs.join(table.select("pair", "is_removed"), on="pair"), config),
    }


def _by_jaccard(table: PlantedPairs, config: DedupConfig) -> list[Facts]:
    edges = bin_edges(config.threshold)
    bins = []
    for low, high in pairwise(edges):
        # the last bin holds both its edges
        rows = table.filter((pl.col("jaccard") >= low) & ((pl.col("jaccard") < high) | (high == 1.0)))
        expected = [proposal_probability(jaccard, config.num_bands, config.rows_per_band) for jaccard in rows["jaccard"]]
        bins.append(
            {
                "low": low,
                "high": high,
                "num_pairs": rows.height,
                **{name: int(rows[column].sum()) for name, column in OUTCOMES.items()},
                "proposed_share": _share(rows["is_proposed"]),
                "recall": _share(rows["is_removed"]) if low >= config.threshold else None,
                "expected": float(np.mean(expected)) if expected else None,
            }
        )
    return bins


OUTCOMES: Mapping[str, str] = {"proposed": "is_proposed", "in_one_cluster": "in_one_cluster", "removed": "is_removed"}


def _by_kind(rows: pl.DataFrame, config: DedupConfig) -> list[Facts]:
    """Return recall at or above the threshold by script and class of length in bytes."""
    duplicates = rows.filter(pl.col("jaccard") >= config.threshold)
    bounds = [0, *LENGTH_EDGES]
    kinds: Sequence[tuple[bool, int]] = [(is_spaceless, length) for is_spaceless in (False, True) for length in range(len(bounds))]
    length_of = np.digitize(duplicates["num_bytes"].to_numpy(), LENGTH_EDGES)
    found = []
    for is_spaceless, length in kinds:
        chosen = duplicates.filter((pl.col("is_spaceless") == is_spaceless) & pl.Series(length_of == length, dtype=pl.Boolean))
        if chosen.height:
            found.append({"is_spaceless": is_spaceless, "min_bytes": bounds[length], "recall": _share(chosen["is_removed"])})
    return found


def _share(hits: pl.Series) -> Facts:
    return _interval(int(hits.sum()), len(hits))


def _interval(hits: int, n: int) -> Facts:
    low, high = wilson_interval(hits, n)
    return {"value": hits / n if n else None, "low": low if n else None, "high": high if n else None, "n": n}
