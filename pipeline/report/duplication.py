"""Say how much of the corpus repeats itself, where, and how surely we would have seen it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from pipeline.config import DedupConfig
from pipeline.report.ledger import name
from pipeline.report.measures import histogram, interval, share, thin, tidy
from pipeline.tables import Clusters, DuplicatePairs, Removals

MAX_OVERLAP = 8
"""Sources with a row and a column of their own in the overlap matrix."""

MAX_SIZES = 60
OTHERS = "(other sources)"


def duplication(
    ledger: pl.DataFrame,
    clusters: Clusters,
    pairs: DuplicatePairs,
    removals: Removals,
    config: DedupConfig,
    band_curve: Sequence[Sequence[float]],
    facts: Mapping[str, Mapping[str, Any]],
    repeated: Mapping[str, Any] | None,
    references: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """Return the band curve, recall on planted copies, other thresholds, counts and the overlap between sources.

    repeated: what `repeated_spans` found, references: what `references` counted, both taken in as they are.
    """
    groups = clusters.group_by("cluster_id").agg(pl.col("cluster_size").first()).filter(pl.col("cluster_size") > 1)
    removed = ledger.filter(pl.col("fate").is_in(["exact", "near"])).height
    planted = facts.get("planted", {})
    return {
        "settings": {key: getattr(config, key) for key in ("ngram", "num_perm", "num_bands", "rows_per_band", "threshold", "max_copies")},
        "keep": list(config.keep),
        "band_curve": [[tidy(x), tidy(y)] for x, y in thin(band_curve)],
        "planted_recall": interval(planted.get("recall")),
        "planted": _planted(planted),
        "sweep": [tidy(row) for row in planted.get("sweep") or []],
        "num_verified_pairs": pairs.height,
        "num_clusters": groups.height,
        "rows_in_clusters": int(groups["cluster_size"].sum()),
        "rows_removed": removed,
        "share_removed": share(removed, ledger.height),
        "largest_size": int(groups["cluster_size"].max() or 0),  # type: ignore[arg-type]
        "cluster_sizes": _sizes(groups["cluster_size"]),
        "jaccard_histogram": _jaccard(pairs, config.threshold),
        "overlap": _overlap(ledger, removals),
        "references": list(references),
        "rows_of_references": sum(reference["rows"] for reference in references),
        "repeated_spans": repeated,
    }


def _planted(planted: Mapping[str, Any]) -> dict[str, Any]:
    """Return what became of the planted pairs by similarity, and the precision of their removals."""
    bins = [
        {
            **{key: tidy(bin_[key]) for key in ("low", "high", "num_pairs", "proposed", "in_one_cluster", "removed", "expected")},
            "proposed_share": interval(bin_["proposed_share"]),
            "recall": interval(bin_["recall"]),
        }
        for bin_ in planted.get("bins") or []
    ]
    return {"num_pairs": planted.get("num_pairs") or 0, "bins": bins, "precision": interval(planted.get("precision"))}


def _sizes(sizes: pl.Series) -> list[dict[str, Any]]:
    """Count clusters per size; beyond 60 distinct sizes per doubling, the mean size of each bin standing for it."""
    frame = pl.DataFrame({"size": sizes})
    if sizes.n_unique() > MAX_SIZES:
        frame = frame.with_columns(bin=pl.col("size").log(2).mul(4).floor())
    else:
        frame = frame.with_columns(bin=pl.col("size").cast(pl.Float64))
    counted = frame.group_by("bin").agg(size=pl.col("size").mean(), count=pl.len(), rows=pl.col("size").sum()).sort("bin")
    return [tidy(row) for row in counted.drop("bin").iter_rows(named=True)]


def _jaccard(pairs: DuplicatePairs, threshold: float) -> list[dict[str, Any]]:
    values = pairs["jaccard"].to_numpy()
    low = min(threshold, float(values.min())) if len(values) else threshold
    start = np.floor(low * 50) / 50
    edges = np.linspace(min(start, 0.98), 1.0, round((1.0 - min(start, 0.98)) * 50) + 1)
    return histogram(values, edges)


def _overlap(ledger: pl.DataFrame, removals: Removals) -> dict[str, Any]:
    """Count removed rows by their own source and by the source of the copy that was kept instead; copies of references are no overlap."""
    sources = ledger.select("doc_id", "source")
    pairs = (
        removals.filter(pl.col("kept_doc_id") >= 0)
        .select("doc_id", "kept_doc_id")
        .join(sources, on="doc_id", how="left")
        .join(sources.rename({"doc_id": "kept_doc_id", "source": "kept_source"}), on="kept_doc_id", how="left")
    )
    ranked = (
        pl.concat([pairs["source"], pairs["kept_source"]])
        .alias("source")
        .to_frame()
        .group_by("source")
        .len()
        .sort(["len", "source"], descending=[True, False])["source"]
        .to_list()
    )
    named = sorted(ranked[:MAX_OVERLAP])
    labels = [*named, OTHERS] if len(ranked) > MAX_OVERLAP else named
    place = {source: index for index, source in enumerate(named)}
    matrix = [[0] * len(labels) for _ in labels]
    for source, kept, rows in pairs.group_by("source", "kept_source").len().iter_rows():
        matrix[place.get(source, len(labels) - 1)][place.get(kept, len(labels) - 1)] += rows
    across = int((pairs["source"] != pairs["kept_source"]).sum())
    return {"sources": [name(label) for label in labels], "rows": matrix, "num_rows": pairs.height, "num_across": across}
