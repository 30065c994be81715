"""Sweep: what another threshold would have found, from one run's pairs, without reading or hashing any text again.

At and above the run's threshold counts come from the verified pairs and the comparisons that decided removals; at its own threshold
they are those of the run. Above it they are exact for the pairs that were compared, and nothing else: members of a large family are
compared with the family's centre first, so two members closer to one another than to the centre may not be counted, and a run at the
higher threshold can find more. Where more than one copy may stay, comparisons that left a document in place are not stored either.

Below it, candidates stand in with the similarity estimated from their sketches, kept below the threshold if verification turned them
down. What each step down adds is divided by the share of planted pairs in that bin that were proposed: an estimate, labelled so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from pipeline.config import DedupConfig
from pipeline.dedup.clusters import cluster_documents
from pipeline.dedup.curve import proposal_probability
from pipeline.dedup.plants import BIN_WIDTH, bin_edges
from pipeline.dedup.policy import order_members, read_members
from pipeline.dedup.references import without_references
from pipeline.dedup.removals import choose_removals, put_references_first
from pipeline.dedup.sets import ShingleSets
from pipeline.store import Artifact
from pipeline.tables import CLUSTERS, DUPLICATE_PAIRS, CandidatePairs, DuplicatePairs, Removals

STEPS_BELOW = 3
MIN_PLANTS = 10
"""Planted pairs in a bin from which their share is used; with fewer, the band curve is."""

COUNTS = ("num_pairs", "num_clusters", "num_removable")


def sweep_thresholds(
    documents: Artifact,
    identities: pl.DataFrame,
    candidates: CandidatePairs,
    pairs: DuplicatePairs,
    removals: Removals,
    bins: Sequence[Mapping[str, Any]],
    config: DedupConfig,
) -> list[dict[str, Any]]:
    """Return threshold, num_pairs, num_clusters (of two or more), num_removable and is_estimate, thresholds rising.

    `identities` has doc_id, content_hash and num_bytes (without it, texts are read) of every document, those of references included, which
    are in no count but that of pairs; `bins` are those of `measure_quality`.
    """
    thresholds = _thresholds(config)
    edges = _edges(identities, candidates, pairs, removals, config)
    # only families at the loosest threshold can have any at another
    loosest = cluster_documents(identities, _at(edges, thresholds[0]))[0].filter(pl.col("cluster_size") > 1)
    members = read_members(documents, loosest, config, identities).drop("cluster_id")  # type: ignore[arg-type]
    references = identities.filter(pl.col("doc_id") < 0).select("doc_id", "content_hash")
    observed = [_count(members, references, edges, config, threshold) for threshold in thresholds]
    observed[thresholds.index(config.threshold)][COUNTS.index("num_removable")] = float(removals.height)
    return _corrected(thresholds, observed, bins, config)


def _thresholds(config: DedupConfig) -> list[float]:
    return [edge for edge in bin_edges(config.threshold) if edge >= config.threshold - (STEPS_BELOW + 0.5) * BIN_WIDTH]


def _edges(
    identities: pl.DataFrame, candidates: CandidatePairs, pairs: DuplicatePairs, removals: Removals, config: DedupConfig
) -> pl.DataFrame:
    """Return every known tie of two contents once, each by its first document, with `is_pair`: whether it counts as a pair."""
    near = removals.filter(pl.col("reason") == "near_duplicate")
    # what the walk compared beyond the verified pairs: needed for its removals, but no pair of the table
    walked = near.select(doc_id_a="doc_id", doc_id_b="kept_doc_id", jaccard="jaccard", is_pair=pl.lit(False))
    verified = pairs.select("doc_id_a", "doc_id_b", "jaccard", is_pair=pl.lit(True))
    estimates = candidates.join(pairs, on=("doc_id_a", "doc_id_b"), how="anti").select(
        "doc_id_a", "doc_id_b", jaccard=pl.min_horizontal("estimated_jaccard", np.nextafter(config.threshold, 0.0)), is_pair=pl.lit(True)
    )
    ties = pl.concat([verified, walked, estimates])
    tied = pl.concat([ties["doc_id_a"], ties["doc_id_b"]]).unique().to_frame("doc_id").join(identities, on="doc_id")
    # a tied document's equals, and nobody else
    equals = identities.join(tied, on="content_hash", how="semi")
    first = equals.select("doc_id", first=pl.col("doc_id").min().over("content_hash"))
    ends = ties.join(first.rename({"first": "a"}), left_on="doc_id_a", right_on="doc_id", maintain_order="left").join(
        first.rename({"first": "b"}), left_on="doc_id_b", right_on="doc_id", maintain_order="left"
    )
    known = ends.select(pl.min_horizontal("a", "b").alias("doc_id_a"), pl.max_horizontal("a", "b").alias("doc_id_b"), "jaccard", "is_pair")
    # exact before estimated, a pair before a comparison of the walk
    return known.group_by("doc_id_a", "doc_id_b").agg(pl.col("jaccard").max(), pl.col("is_pair").any()).sort("doc_id_a", "doc_id_b")


def _at(edges: pl.DataFrame, threshold: float) -> DuplicatePairs:
    """Return the ties of at least a similarity in the form that clusters and removals take; containment plays no part there."""
    chosen = edges.filter(pl.col("jaccard") >= threshold).select("doc_id_a", "doc_id_b", "jaccard")
    return DUPLICATE_PAIRS.check(chosen.with_columns(containment_a=pl.lit(0.0), containment_b=pl.lit(0.0)))


def _count(members: pl.DataFrame, references: pl.DataFrame, edges: pl.DataFrame, config: DedupConfig, threshold: float) -> list[float]:
    pairs = _at(edges, threshold)
    clusters, _ = cluster_documents(pl.concat([references, members.select("doc_id", "content_hash")]), pairs)
    shared = CLUSTERS.check(clusters.filter(pl.col("cluster_size") > 1))
    ordered = order_members(members.join(shared.select("doc_id", "cluster_id"), on="doc_id"), config)
    ordered = put_references_first(ordered, shared, references)
    no_sets = ShingleSets(np.empty(0, np.int64), np.empty(0, np.uint64), np.zeros(1, np.int64))
    removable, _ = choose_removals(ordered, pairs, no_sets, config.model_copy(update={"threshold": threshold}))
    num_pairs = edges.filter("is_pair", pl.col("jaccard") >= threshold).height
    own = without_references(shared).filter(pl.col("cluster_size") > 1)
    return [float(num_pairs), float(own["cluster_id"].n_unique()), float(removable.height)]


def _corrected(
    thresholds: Sequence[float], observed: Sequence[Sequence[float]], bins: Sequence[Mapping[str, Any]], config: DedupConfig
) -> list[dict[str, Any]]:
    """Divide what each step below the run's threshold adds by the share that is proposed there."""
    rows = []
    counts = np.asarray(observed[-1])
    for step in range(len(thresholds) - 1, -1, -1):
        is_estimate = thresholds[step] < config.threshold
        if is_estimate:
            added = np.asarray(observed[step]) - np.asarray(observed[step + 1])
            counts = counts + added / _proposed_share(thresholds[step], thresholds[step + 1], bins, config)
        else:
            counts = np.asarray(observed[step])
        numbers = dict(zip(COUNTS, (max(0, round(number)) for number in counts.tolist()), strict=True))
        rows.append({"threshold": thresholds[step], **numbers, "is_estimate": is_estimate})
    return rows[::-1]


def _proposed_share(low: float, high: float, bins: Sequence[Mapping[str, Any]], config: DedupConfig) -> float:
    for bin_ in bins:
        if bin_["low"] == low and bin_["num_pairs"] >= MIN_PLANTS and bin_["proposed"]:
            return float(bin_["proposed"] / bin_["num_pairs"])
    return proposal_probability((low + high) / 2, config.num_bands, config.rows_per_band)
