"""Signals of loss over time: how soon a text was learnt, how much beyond unseen text, and what is left when training goes on without it."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline.risk.forward_features import View, per_cluster

MIN_MATCHED = 8
"""Held-out clusters from which a line through them is trusted; fewer give a mean."""

Floats = NDArray[np.float64]


def trajectory_sum(view: View) -> pl.DataFrame:
    """Return the sum of losses over exposures divided by their number, so that copies and part epochs don't count.

    Unit: nats per token. Direction: lower, learnt earlier. Source: Pruthi 2020 and "loss trajectory" membership inference.
    """
    return per_cluster(view.exposures, "trajectory_sum", pl.col("loss").mean())


def trajectory_iqr(view: View) -> pl.DataFrame:
    """Return the upper less the lower quartile of the losses at exposures ("LT-IQR"), null below two exposures.

    Unit: nats per token. Direction: higher, more memorization. Source: LT-IQR, measured on images; see the design's section 3.
    """
    spread = pl.col("loss").quantile(0.75, "linear") - pl.col("loss").quantile(0.25, "linear")
    return per_cluster(view.exposures, "trajectory_iqr", pl.when(pl.len() >= 2).then(spread))


def exposure_drop(view: View) -> pl.DataFrame:
    """Return the fall of the loss from a window's first exposure to its last, less that of matched unseen text over the same steps.

    Difference in differences: what was learnt by seeing the text, not the time. Both losses are those before the update, so the first is of
    text never seen. Unseen text is held-out clusters, matched by a line through their losses at the two steps, by their mean fall below 8
    of them; between looks at them losses are linear in log2(1 + step). Unit: nats per token. Direction: higher, learnt rather than
    generalized. Null for one exposure and without held-out text. Source: the design's section 3; Lesci 2024, "Causal estimation of
    memorisation profiles", section 4.
    """
    by_step = view.exposures.group_by("cluster_id", "window_id", "step", maintain_order=True).agg(pl.col("loss").cast(pl.Float64).mean())
    ends = by_step.sort("cluster_id", "window_id", "step").group_by("cluster_id", "window_id", maintain_order=True)
    loss, step = pl.col("loss"), pl.col("step")
    seen = ends.agg(first=step.first(), last=step.last(), before=loss.first(), after=loss.last()).filter(pl.col("first") < pl.col("last"))
    expected = _unseen_loss(view.unseen, *(seen[name].to_numpy() for name in ("first", "last", "before")))
    drops = seen.with_columns(drop=pl.Series(expected, dtype=pl.Float64, nan_to_null=True) - pl.col("after"))
    clusters = view.exposures.select("cluster_id").unique().sort("cluster_id")
    return clusters.join(per_cluster(drops.sort("cluster_id", "drop"), "exposure_drop", pl.col("drop").mean()), on="cluster_id", how="left")


def forgetting(view: View) -> pl.DataFrame:
    """Return the rise of the loss after training went on without the text, less the mean rise of held-out text.

    The two sides of the first pair of feature halves go on for a fifth of their steps on each other's clusters (`proxy.forgetting`).
    Windows that other clusters share are left out: they may be trained on again. Unit: nats per token. Direction: higher, was stored
    rather than generalized. Null where no such run was made; it has the smallest size whatever the view's. Source: the design's section 3;
    Toneva 2019, "An empirical study of example forgetting", section 3.
    """
    unseen = view.forgotten.join(view.held_out, on="cluster_id", how="semi")["rise"].mean()
    own = view.forgotten.filter(pl.col("in_training") & ~pl.col("is_shared"))
    return per_cluster(own, "forgetting", pl.col("rise").mean() - (unseen if isinstance(unseen, float) else 0.0))


def _unseen_loss(unseen: pl.DataFrame, first: Floats, last: Floats, before: Floats) -> Floats:
    """Return the loss (n,) at step `last` of unseen text that had the loss `before` at step `first`; NaN without unseen text.

    Interpolation being linear, means and covariances of the looks give those at every pair of steps.
    """
    if unseen.is_empty():
        return np.full(len(before), np.nan)
    table = unseen.pivot("step", index="cluster_id", values="loss").sort("cluster_id").drop_nulls()
    steps = sorted(int(name) for name in table.columns if name != "cluster_id")
    losses = table.select(map(str, steps)).to_numpy().astype(np.float64)
    start, end = (_weights(np.log2(1.0 + at), np.log2(1.0 + np.array(steps, np.float64))) for at in (first, last))
    means = losses.mean(axis=0)
    deviations = losses - means
    covariance = deviations.T @ deviations / len(losses)
    variance = np.einsum("ns,st,nt->n", start, covariance, start)
    shared = np.einsum("ns,st,nt->n", start, covariance, end)
    # without a line the fall is the mean fall, which is a line of slope 1
    is_line = (variance > 1e-9) & (len(losses) >= MIN_MATCHED)
    slope = np.divide(shared, variance, out=np.ones(len(before)), where=is_line)
    return np.asarray(end @ means + slope * (before - start @ means))


def _weights(at: Floats, grid: Floats) -> Floats:
    """Return the weights (n, S) with which values on a rising grid (S,) make up those at other points."""
    weights = np.zeros((len(at), len(grid)))
    for column in range(len(grid)):
        weights[:, column] = np.interp(at, grid, np.eye(len(grid))[column])
    return weights
