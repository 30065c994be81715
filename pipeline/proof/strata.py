"""Which clusters are judged together: natural text first, by copies, by who scored them and by source; plants apart."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline.proof.inputs import ProofInputs
from pipeline.proof.labels import TargetLabels

MAX_SOURCES = 12
MIN_SOURCE_CLUSTERS = 50

COPIES = (("copies 1", 1, 1), ("copies 2-5", 2, 5), ("copies 6-20", 6, 20), ("copies over 20", 21, None), ("copies up to 5", 1, 5))
NATURAL = "natural"
UNIQUE = "natural, copies 1"
FEW = "natural, copies up to 5"
PLANTED = "planted"

Mask = NDArray[np.bool_]


def join_evidence(inputs: ProofInputs, labels: TargetLabels) -> tuple[pl.DataFrame, TargetLabels]:
    """Return the clusters that are both predicted and labelled, one row each in the order of cluster_id, and their labels.

    Columns: those of clusters, then predictions (the signals copies and length become log2_copies and text_length), then labels.
    """
    signals = inputs.predictions.rename({"copies": "log2_copies", "length": "text_length"}, strict=False)
    named = pl.col("cluster_id").is_in(inputs.clusters.join(signals, on="cluster_id", how="semi")["cluster_id"].implode())
    kept = labels.where(labels.frame.select(named).to_series().to_numpy())
    ours = inputs.clusters.join(signals, on="cluster_id").join(kept.frame, on="cluster_id", suffix="_label").sort("cluster_id")
    assert ours["cluster_id"].equals(kept.frame["cluster_id"]), "labels and predictions are in the order of cluster_id"
    return ours, kept


def strata(judged: pl.DataFrame, *, by_source: bool = True) -> Iterator[tuple[str, Mask]]:
    """Yield each stratum's name and the mask of its rows."""
    natural, copies = judged["is_natural"].to_numpy(), judged["copies"].to_numpy()
    by_teacher = (judged["scored_by"] == "teacher").to_numpy()
    yield NATURAL, natural
    for name, low, high in COPIES:
        yield f"{NATURAL}, {name}", natural & (copies >= low) & (copies <= (high or np.inf))
    for scorer, scored in (("teacher", by_teacher), ("student", ~by_teacher)):
        yield f"{NATURAL}, by the {scorer}", natural & scored
        yield f"{UNIQUE}, by the {scorer}", natural & scored & (copies == 1)
    yield PLANTED, ~natural
    yield f"{PLANTED}, copies 1", ~natural & (copies == 1)
    yield "all", np.ones(judged.height, dtype=bool)
    if by_source:
        for source in _sources(judged):
            yield f"source {source}", (judged["source"] == source).to_numpy()


def mask_of(judged: pl.DataFrame, name: str) -> Mask:
    """Return the mask of one stratum."""
    return next(mask for known, mask in strata(judged) if known == name)


def _sources(judged: pl.DataFrame) -> list[str]:
    counted = judged.group_by("source").len().filter(pl.col("len") >= MIN_SOURCE_CLUSTERS)
    return counted.sort(["len", "source"], descending=[True, False]).head(MAX_SOURCES)["source"].to_list()
