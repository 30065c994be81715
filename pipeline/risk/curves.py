"""Draw together what an audit shows of memorization itself: against copies, over training, over proxy size."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from scipy.special import ndtri

from pipeline.risk.evidence import Evidence
from pipeline.statistics import wilson_interval

NUM_STEPS = 16


def duplication_curve(labels: pl.DataFrame, evidence: Evidence, interval: float) -> list[dict[str, Any]]:
    """Return the memorized share by copies, in doublings from 1; interval after Wilson 1927.

    Copies are those that proxies trained on. `labels`: one size, memorized not null.
    """
    copies = pl.DataFrame(evidence.samples).group_by("cluster_id").agg(copies=pl.col("doc_id").n_unique())
    binned = labels.join(copies, on="cluster_id").with_columns(bin=pl.col("copies").log(2).floor().cast(pl.Int64))
    groups = binned.group_by("bin").agg(hits=pl.col("memorized").sum(), count=pl.len()).sort("bin")
    z = float(ndtri(0.5 + interval / 2))
    curve = []
    for power, hits, count in groups.iter_rows():
        low, high = wilson_interval(hits, count, z)
        curve.append({"copies": 2**power, "memorized": hits / count, "low": low, "high": high, "count": count})
    return curve


def trajectories(labels: pl.DataFrame, evidence: Evidence) -> list[dict[str, Any]]:
    """Return mean losses of the largest full proxy over its steps: sinks and ordinary text at exposures, unseen text at checkpoints."""
    sizes = evidence.sizes("full")
    if not sizes:
        return []
    seen = evidence.exposures(sizes[-1]).join(labels.select("cluster_id", "memorized"), on="cluster_id")
    num_steps = int(seen["step"].max() or 0) + 1  # type: ignore[arg-type]
    width = max(1, -(-num_steps // NUM_STEPS))
    binned = seen.with_columns(step=(pl.col("step") // width) * width + width // 2)
    curves = [
        {"group": group, "points": _mean_by_step(binned.filter(pl.col("memorized").fill_null(False) == wanted))}
        for group, wanted in (("sinks", True), ("ordinary", False))
    ]
    unseen = evidence.probes("full", sizes[-1], last=False).join(evidence.held_out(), on="cluster_id", how="semi")
    return [*curves, {"group": "unseen", "points": _mean_by_step(unseen)}]


def scale_slope(labels: pl.DataFrame, parameters: dict[int, int], interval: float) -> list[dict[str, Any]]:
    """Return the mean gain over clusters labelled at every size, by the size's parameters, with a normal interval."""
    if labels.is_empty():
        return []
    common = labels.filter(pl.len().over("cluster_id") == len(parameters))
    z = float(ndtri(0.5 + interval / 2))
    slope = []
    for size, count in parameters.items():
        gains = common.filter(pl.col("size") == size)["gain"].to_numpy()
        if len(gains) >= 2:
            reach = z * float(np.std(gains, ddof=1)) / np.sqrt(len(gains))
            slope.append(
                {"size": count, "gain": float(gains.mean()), "low": float(gains.mean() - reach), "high": float(gains.mean() + reach)}
            )
    return slope


def _mean_by_step(rows: pl.DataFrame) -> list[list[float]]:
    by_cluster = rows.group_by("step", "cluster_id").agg(pl.col("loss").cast(pl.Float64).mean()).sort("step", "cluster_id")
    means = by_cluster.group_by("step", maintain_order=True).agg(pl.col("loss").mean())
    return [[int(step), float(value)] for step, value in means.iter_rows()]
