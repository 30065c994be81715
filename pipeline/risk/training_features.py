"""Signals of training: how proxies learnt a text, and what they know of it that proxies without it do not."""

from __future__ import annotations

import numpy as np
import polars as pl

from pipeline.risk.forward_features import View, loss, per_cluster, reference_loss

PRIOR_DEGREES = 4.0
"""Weight, in observations, of the corpus-wide variance in each cluster's own. Source: Smyth 2004, moderated t, section 4."""
MIN_MATCHED = 8


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


def trajectory_drop(view: View) -> pl.DataFrame:
    """Return the fall of the loss from the first to the last probe, less the fall that unseen text of like first loss shows.

    Unit: nats per token. Direction: higher, learnt rather than generalized. Null with a single probe. Unseen text is matched by a
    line through the held-out clusters' (first loss, fall), by their mean fall below 8 of them.
    """
    steps = view.checkpoints.select(first=pl.col("step").min(), last=pl.col("step").max()).row(0)
    if steps[0] is None or steps[0] == steps[1]:
        return view.probes.select("cluster_id").unique(maintain_order=True).with_columns(trajectory_drop=pl.lit(None, pl.Float64))
    at = [
        per_cluster(view.checkpoints.filter(pl.col("step") == step), name, pl.col("loss").mean())
        for step, name in zip(steps, ("first", "last"), strict=True)
    ]
    fall = at[0].join(at[1], on="cluster_id").with_columns(fall=pl.col("first") - pl.col("last"))
    unseen = fall.join(view.held_out, on="cluster_id", how="semi")
    slope, level = _line(unseen["first"].to_numpy(), unseen["fall"].to_numpy())
    return fall.select("cluster_id", trajectory_drop=pl.col("fall") - slope * pl.col("first") - level)


def counterfactual_gap(view: View) -> pl.DataFrame:
    """Return the mean loss under feature halves without the cluster less that under halves with it, over the moderated pooled sd.

    Unit: standard deviations. Direction: higher, more memorization. Windows that other clusters share are left out: the other
    cluster's side would decide. Source: Feldman 2020; Zhang 2021, "Counterfactual memorization", section 2.
    """
    models = (
        view.halves.filter(~pl.col("is_shared"))
        .group_by("cluster_id", "proxy", "in_training", maintain_order=True)
        .agg(pl.col("loss").mean())
    )
    sides = models.group_by("cluster_id", "in_training", maintain_order=True).agg(
        mean=pl.col("loss").mean(), squares=((pl.col("loss") - pl.col("loss").mean()) ** 2).sum(), count=pl.len().cast(pl.Float64)
    )
    both = sides.filter("in_training").join(sides.filter(~pl.col("in_training")), on="cluster_id", suffix="_out")
    both = both.with_columns(squares=pl.col("squares") + pl.col("squares_out"), degrees=pl.col("count") + pl.col("count_out") - 2)
    pooled = float(both["squares"].sum()) / max(float(both["degrees"].sum()), 1.0)
    variance = (pl.col("squares") + PRIOR_DEGREES * pooled) / (pl.col("degrees") + PRIOR_DEGREES)
    deviation = (variance * (1 / pl.col("count") + 1 / pl.col("count_out"))).sqrt().clip(lower_bound=1e-6)
    return both.select("cluster_id", counterfactual_gap=(pl.col("mean_out") - pl.col("mean")) / deviation)


def reference_gap(view: View) -> pl.DataFrame:
    """Return reference loss less loss, less the same difference's mean over clusters that neither proxy saw.

    Unit: nats per token. Direction: higher, more memorization. Source: Carlini 2021 (reference models); the design's section 6.
    """
    both = reference_loss(view).join(loss(view), on="cluster_id").with_columns(gap=pl.col("reference_loss") - pl.col("loss"))
    unseen = both.join(view.held_out, on="cluster_id", how="semi")["gap"].mean()
    return both.select("cluster_id", reference_gap=pl.col("gap") - (unseen if isinstance(unseen, float) else 0.0))


def grad_norm(view: View) -> pl.DataFrame:
    """Return log2 of the gradient's norm at the last probe.

    Unit: doublings of nats per token per parameter. Direction: none stated: measured on every corpus. Source: GraNd, Paul 2021.
    """
    return per_cluster(view.probes, "grad_norm", _log2(pl.col("grad_norm").mean()))


def absorption_last(view: View) -> pl.DataFrame:
    """Return log2 of lr x g' P g at the last probe, P the Adam preconditioner: self-influence of one exposure.

    Unit: doublings of nats. Direction: higher, absorbs more. Source: Pruthi 2020 (TracIn), section 3, preconditioned.
    """
    return per_cluster(view.probes, "absorption_last", _log2(pl.col("absorption").mean()))


def absorption_sum(view: View) -> pl.DataFrame:
    """Return log2 of lr x g' P g summed over the checkpoints, per exposure: copies are not counted here.

    Unit: doublings of nats. Direction: higher, absorbs more. Source: Pruthi 2020 (TracIn), section 3, preconditioned.
    """
    by_step = view.checkpoints.group_by("cluster_id", "step", maintain_order=True).agg(pl.col("absorption").mean())
    total = pl.when(pl.col("absorption").is_not_null().any()).then(pl.col("absorption").sum())
    return per_cluster(by_step.sort("cluster_id", "step"), "absorption_sum", _log2(total))


def _log2(value: pl.Expr) -> pl.Expr:
    return pl.when(value > 0).then(value.cast(pl.Float64).log(2))


def _line(at: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    if len(at) == 0:
        return 0.0, 0.0
    if len(at) < MIN_MATCHED or float(np.std(at)) < 1e-9:
        return 0.0, float(np.mean(values))
    slope = float(np.cov(at, values)[0, 1] / np.var(at, ddof=1))
    return slope, float(np.mean(values) - slope * np.mean(at))
