"""Signals of gradients: how strongly a text pulls at a proxy, and whether what it pulls serves text that no proxy saw."""

from __future__ import annotations

import polars as pl

from pipeline.risk.forward_features import View, per_cluster


def grad_norm(view: View) -> pl.DataFrame:
    """Return log2 of |g|, the gradient's norm at the last probe.

    Unit: doublings of nats per token per parameter. Direction: none stated: measured on every corpus. Source: GraNd, Paul 2021.
    """
    return per_cluster(view.probes, "grad_norm", _log2(pl.col("grad_norm").mean()))


def absorption_last(view: View) -> pl.DataFrame:
    """Return log2 of lr x g' P g at the last probe, P Adam's preconditioner after a step on the text: self-influence of one exposure.

    Unit: doublings of nats. Direction: higher, absorbs more. Source: Pruthi 2020 (TracIn), section 3, preconditioned.
    """
    return per_cluster(view.probes, "absorption_last", _log2(pl.col("absorption").mean()))


def absorption_sum(view: View) -> pl.DataFrame:
    """Return log2 of lr x g' P g summed over the checkpoints, per exposure: copies are not counted here.

    Unit: doublings of nats. Direction: higher, absorbs more. Source: Pruthi 2020 (TracIn), section 3, preconditioned.
    """
    return _over_checkpoints(view).select("cluster_id", absorption_sum=_log2(pl.col("absorption")))


def spillover(view: View) -> pl.DataFrame:
    """Return lr x g_x' P g_val summed over the checkpoints: what a step on the text takes off the loss of held-out text, to first order.

    Unit: nats per token. Direction: higher, the text teaches; negative, it harms. Null without held-out text.
    Source: Pruthi 2020 (TracIn), section 3, preconditioned.
    """
    return _over_checkpoints(view).select("cluster_id", "spillover")


def specificity(view: View) -> pl.DataFrame:
    """Return 1 - max(spillover, 0) / absorption, both summed over the checkpoints.

    Unit: share of what a step does to the text's own loss that is not matched by held-out text's, within 0 and 1. Direction: higher, what
    is learnt serves this text alone. Null where absorption is 0. Source: the design's section 3.
    """
    share = pl.col("spillover").clip(lower_bound=0.0) / pl.col("absorption")
    return _over_checkpoints(view).select("cluster_id", specificity=pl.when(pl.col("absorption") > 0).then(1 - share.clip(upper_bound=1.0)))


def reference_grad_norm(view: View) -> pl.DataFrame:
    """Return log2 of |g| under feature halves that did not train on the cluster, at their last probe.

    Unit: doublings of nats per token per parameter. Direction: higher, more to absorb. Source: GraNd, Paul 2021; the design's section 6.
    """
    return per_cluster(_outside(view), "reference_grad_norm", _log2(pl.col("grad_norm").mean()))


def reference_absorption(view: View) -> pl.DataFrame:
    """Return log2 of lr x g' P g under feature halves that did not train on the cluster, at their last probe.

    Unit: doublings of nats. Direction: higher, more to absorb. Source: as absorption_last; the design's section 6.
    """
    return per_cluster(_outside(view), "reference_absorption", _log2(pl.col("absorption").mean()))


def _outside(view: View) -> pl.DataFrame:
    return view.halves.filter(~pl.col("in_training"))


def _over_checkpoints(view: View) -> pl.DataFrame:
    """Return absorption and spillover of each cluster in nats, summed over the checkpoints; null where none has them."""
    names = ("absorption", "spillover")
    by_step = view.checkpoints.group_by("cluster_id", "step", maintain_order=True).agg(pl.col(names).cast(pl.Float64).mean())
    sums = (pl.when(pl.col(name).is_not_null().any()).then(pl.col(name).sum()) for name in names)
    return by_step.sort("cluster_id", "step").group_by("cluster_id", maintain_order=True).agg(sums)


def _log2(value: pl.Expr) -> pl.Expr:
    return pl.when(value > 0).then(value.cast(pl.Float64).log(2))
