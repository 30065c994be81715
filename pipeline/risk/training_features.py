"""Signals of training with and without a text: what proxies that saw it know of it that proxies without it do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import polars as pl

from pipeline.risk.forward_features import View, loss, reference_loss

PRIOR_DEGREES = 4.0
"""Weight, in observations, of the corpus-wide variance in each cluster's own. Source: Smyth 2004, moderated t, section 4."""


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


def scale_slope(view: View) -> pl.DataFrame:
    """Return the slope of reference_gap over log10 of the proxies' parameters, by least squares over the sizes up to the view's.

    Feature halves exist at one size alone, so their counterfactual_gap has no slope; the reference is the same at every size, and what
    unseen text gains from size is taken off at each. Unit: nats per token a decade. Direction: higher, larger models store more of it.
    Null at the smallest size. Source: Carlini 2023, section 4.1 (memorization is log-linear in size); the design's section 3.
    """
    gaps = view.probes.select("cluster_id").unique().sort("cluster_id")
    decades = np.log10([parameters for parameters, _ in view.ladder])
    if np.ptp(decades) == 0:
        return gaps.with_columns(scale_slope=pl.lit(None, pl.Float64))
    weights = (decades - decades.mean()) / np.square(decades - decades.mean()).sum()
    for rank, (_, probes) in enumerate(view.ladder):
        own = reference_gap(replace(view, probes=probes)).rename({"reference_gap": f"gap_{rank}"})
        gaps = gaps.join(own, on="cluster_id", how="left")
    # not sum_horizontal, which takes a missing gap for none
    slope = sum((pl.col(f"gap_{rank}") * weight for rank, weight in enumerate(weights.tolist())), start=pl.lit(0.0))
    return gaps.select("cluster_id", scale_slope=slope)


def sink_gap(view: View) -> pl.DataFrame:
    """Return l(x; all sinks off) - l(x; own sinks on) in the MemSinks proxy, less the mean of the same over held-out clusters.

    Unit: nats per token. Direction: higher, more of the text is stored in its own sinks. Null where no such proxy was trained; it has the
    smallest size whatever the view's. Source: Ghosal 2025, "Memorization Sinks", section 4.
    """
    return _gap(view, "sink_gap", pl.col("off_loss") - pl.col("own_loss"))


def placebo_gap(view: View) -> pl.DataFrame:
    """Return l(x; all sinks off) - l(x; a random other mask) in the MemSinks proxy, less the mean of the same over held-out clusters.

    Unit: nats per token. Direction: none: what sinks that are not the text's own do for it, beside which sink_gap is to be read.
    """
    return _gap(view, "placebo_gap", pl.col("off_loss") - pl.col("other_loss"))


def _gap(view: View, name: str, gap: pl.Expr) -> pl.DataFrame:
    gaps = view.sinks.select("cluster_id", "is_held_out", gap.alias(name))
    unseen = gaps.filter("is_held_out")[name].mean()
    return gaps.select("cluster_id", pl.col(name) - (unseen if isinstance(unseen, float) else 0.0))
