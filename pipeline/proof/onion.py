"""Look again after filtering: whether removing the most exposed layer of a corpus exposes the next.

Every arm is a corpus filtered and trained on anew. Of the natural clusters that it keeps, those with the highest frozen scores are the
next layer. What a model recites of them beyond models that never saw them is held against the arm that was deduplicated alone, seeds
paired. At equal steps a removal gives its steps to the rest; the `random` arm shows what that alone does.

Source: Carlini 2022, The privacy onion effect, section 3.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from pipeline.proof.inputs import Arms
from pipeline.proof.noise import mean_difference, paired_noise
from pipeline.proof.outcome import BASE, RAW, counterfactual_recall, unseen_recall
from pipeline.risk.evidence import Evidence
from pipeline.risk.linear import Array

LAYER_SHARE = 0.1
"""Of the kept clusters, those with the highest scores: the next layer."""
NEXT, REST = "next", "rest"


def onion(arms: Arms, clusters: pl.DataFrame, predictions: pl.DataFrame, target: Evidence, interval: float) -> list[dict[str, Any]]:
    """Return one entry a kind and arm that is not the base's own runs: what became of its next layer and of the rest, in mean recall.

    `predictions`: cluster_id, sink_score. `verdict`: supported where the whole interval of the next layer's change is above 0, not
    supported where none of it is, cannot be resolved otherwise.
    """
    recall = counterfactual_recall(arms.clusters, clusters, unseen_recall(target)).filter("is_natural")
    found = []
    for kind in recall["kind"].unique().sort().to_list():
        own = recall.filter(pl.col("kind") == kind).join(predictions.select("cluster_id", "sink_score"), on="cluster_id")
        changes = {arm: _changes(own, arm) for arm in own["arm"].unique().sort().to_list() if arm not in (BASE, RAW)}
        other = {arm: layers for arm, layers in changes.items() if layers is not None}
        noise = {layer: paired_noise([layers[layer][0] for layers in other.values()], np.array([])) for layer in (NEXT, REST)}
        for arm, layers in other.items():
            told = {layer: mean_difference(change, *noise[layer], interval) for layer, (change, _) in layers.items()}
            sizes = {f"num_{layer}": size for layer, (_, size) in layers.items()}
            found.append({"kind": kind, "arm": arm, **told, **sizes, "verdict": _verdict(told[NEXT])})
    return found


def _changes(recall: pl.DataFrame, arm: str) -> dict[str, tuple[Array, int]] | None:
    """Return each layer's change in mean recall, one value a seed, and its clusters; None where the arm is the base's runs, or lacks it."""
    mine, base = (recall.filter(pl.col("arm") == name) for name in (arm, BASE))
    kept = mine.filter("is_kept").select("cluster_id", "sink_score").unique().sort("sink_score", "cluster_id", descending=[True, False])
    paired = mine.join(base, on=["cluster_id", "seed"], suffix="_base")
    if kept.height < 2 or (paired["beyond"] == paired["beyond_base"]).all():
        return None
    size = max(1, round(LAYER_SHARE * kept.height))
    layers = {NEXT: kept.head(size), REST: kept.slice(size)}
    change = pl.col("beyond") - pl.col("beyond_base")
    return {
        name: (
            paired.join(layer, on="cluster_id", how="semi").group_by("seed").agg(change.mean()).sort("seed")["beyond"].to_numpy(),
            layer.height,
        )
        for name, layer in layers.items()
    }


def _verdict(change: dict[str, Any]) -> str:
    if change["low"] is None or change["low"] <= 0 < change["high"]:
        return "cannot be resolved"
    return "supported" if change["low"] > 0 else "not supported"
