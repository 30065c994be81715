"""Does a text teach: passes with per-sample gradients that also say what a step on each text would do to text no proxy trains on.

A step on x moves the parameters by -lr P g_x and so lowers the held-out loss by lr g_x' P g_val. Held-out clusters are cut in two: theirs
is measured by the other half's gradient, so that no text is judged by itself; trained text by all of them.
The gradients are at hand, so the product is exact and costs one pass over the held-out windows; a central difference along P g_val, two
passes over everything, cost more, and cannot have each text's own step in its P.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import torch
from torch import Tensor

from pipeline.config import ProxyConfig
from pipeline.proxy.batches import Indices, Windows, make_batch, order_probe
from pipeline.proxy.draws import draw_ranks
from pipeline.proxy.gradients import NextStep
from pipeline.proxy.losses import mean_token_loss
from pipeline.proxy.model import ProxyModel, count_flops
from pipeline.proxy.optimizer import AdamW
from pipeline.proxy.probe import Probe, join_probes, probe_windows
from pipeline.tables import ProxySplits, Samples


@dataclass(frozen=True)
class HeldOutHalves:
    """Hold numbers of distinct windows: those of held-out clusters in two halves, a cluster never cut in two, and all others.

    A window that both halves hold, or a trained cluster too, is among the others: no gradient is taken of it.
    """

    first: Indices
    second: Indices
    others: Indices

    def both(self) -> Indices:
        """Return the windows of both halves, in order."""
        return np.sort(np.concatenate([self.first, self.second]))


def split_held_out(samples: Samples, splits: ProxySplits) -> HeldOutHalves:
    """Find the distinct windows of clusters that no proxy trains on, and deal their clusters to two halves by a hash of their ids.

    `samples` are in order of sample_id, so that a window's number is its place among them.
    """
    trained = splits.filter("in_training")["cluster_id"].unique()
    held_out = samples.filter(~pl.col("cluster_id").is_in(trained.implode())).select("cluster_id").unique().sort("cluster_id")
    ranks = draw_ranks(held_out["cluster_id"], "spillover") if held_out.height else np.empty(0, np.uint64)
    half = held_out.with_columns(half=pl.Series(np.argsort(np.argsort(ranks)) % 2, dtype=pl.Int64))
    numbered = samples.with_row_index("number").join(half, on="cluster_id", how="left").with_columns(pl.col("half").fill_null(-1))
    low, high = pl.col("half").min(), pl.col("half").max()
    windows = numbered.group_by("window_id").agg(pl.col("number").min(), half=pl.when(low == high).then(low).otherwise(-1)).sort("number")
    numbers, halves = windows["number"].to_numpy().astype(np.int64), windows["half"].to_numpy()
    return HeldOutHalves(numbers[halves == 0], numbers[halves == 1], numbers[halves == -1])


def probe_with_gradients(model: ProxyModel, optimizer: AdamW, windows: Windows, halves: HeldOutHalves, config: ProxyConfig) -> Probe:
    """Pass over every distinct window, forward and backward; spillover is NaN where no held-out window is left to judge by."""
    gradients = [_sum_gradient(model, optimizer, windows, half, config.batch_windows) for half in (halves.first, halves.second)]
    counts = [int((windows.lengths[half] - 1).sum()) for half in (halves.first, halves.second)]
    second_moment, share = optimizer.second_moment()
    carried = optimizer.by_parameter(second_moment)

    def judged_by(gradient: Tensor, count: int) -> NextStep:
        return NextStep(carried, share, optimizer.by_parameter(gradient / count) if count else None)

    parts = (
        (halves.others, judged_by(gradients[0] + gradients[1], sum(counts))),
        (halves.first, judged_by(gradients[1], counts[1])),
        (halves.second, judged_by(gradients[0], counts[0])),
    )
    probe = join_probes([probe_windows(model, windows, members, config, step) for members, step in parts])
    lengths = windows.lengths[halves.both()].tolist()
    return replace(probe, flops=probe.flops + 3 * sum(count_flops(model, length) * (length - 1) for length in lengths))


def _sum_gradient(model: ProxyModel, optimizer: AdamW, windows: Windows, members: Indices, batch_windows: int) -> Tensor:
    """Return the gradient of the members' summed token losses, laid out as the optimizer's vectors; zeros for no members."""
    total = torch.zeros_like(optimizer.values)
    for indices in order_probe(windows, members, batch_windows):
        batch = make_batch(windows, indices)
        hidden = model(batch.tokens)
        flat = hidden.reshape(-1, hidden.shape[-1]).index_select(0, batch.places)
        loss, _ = mean_token_loss(flat, model.head.weight, batch.targets)
        gradients = torch.autograd.grad(loss, optimizer.parameters)
        total.add_(torch.cat([gradient.reshape(-1) for gradient in gradients]), alpha=len(batch.targets))
    return total
