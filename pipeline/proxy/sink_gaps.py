"""What a MemSinks proxy still knows of each text with its sinks on, with all sinks off, and with a random other mask in their place."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl

from pipeline.config import ProxyConfig
from pipeline.proxy.batches import Indices, Windows
from pipeline.proxy.memsinks import SinkGate, general_mask, sink_masks
from pipeline.proxy.model import ProxyModel
from pipeline.proxy.probe import Probe, probe_windows
from pipeline.tables import SINK_GAPS, ProxySplits, Samples, SinkGaps

OWN_KEY, OTHER_KEY = 0, 1
"""Keys of the masks: a cluster's own, which trainers may derive anew, and the placebo, which shares 30% of the sinks by chance."""
FACTORS = tuple(round(0.9 + 0.05 * step, 2) for step in range(13))
"""Tried on the general part with sinks off. Switched off is 9 in 79 of what is on in training, so the best lies near 1.1."""


@dataclass(frozen=True)
class Sinks:
    """Join a gate on a model's MLPs with the cluster of every window."""

    gate: SinkGate
    cluster_ids: tuple[bytes, ...]

    def show(self, indices: Indices, key: int = OWN_KEY) -> None:
        """Give each of these windows its cluster's mask for the next forward pass."""
        self.gate.show(sink_masks([self.cluster_ids[at] for at in indices], self.gate.width, key))

    def hide(self, factor: float) -> None:
        """Switch all sinks off, the general part rescaled."""
        self.gate.show(general_mask(self.gate.width, factor))


@dataclass(frozen=True)
class SinkMeasure:
    """Hold the table, the factor of the general part, the held-out loss with sinks off (nats per token, NaN without), and the cost."""

    gaps: SinkGaps
    factor: float
    held_out_loss: float
    flops: float


def measure_sinks(
    model: ProxyModel, sinks: Sinks, windows: Windows, samples: Samples, splits: ProxySplits, proxy: str, config: ProxyConfig
) -> SinkMeasure:
    """Pass over every distinct window of every cluster with its own sinks on, with all off, and with a random other mask.

    `samples` are in order of sample_id, as `windows` are. The factor of the general part is the one of FACTORS with the lowest loss on
    held-out clusters, 1 where there are none.
    """
    firsts = samples.with_row_index("number").group_by("cluster_id", "window_id").agg(pl.col("number").min())
    members = firsts["number"].sort().to_numpy().astype(np.int64)
    trained = splits.filter("in_training")["cluster_id"].unique()
    unseen = members[~samples["cluster_id"].is_in(trained.implode()).to_numpy()[members]]
    factor, held_out_loss, flops = _best_factor(model, sinks, windows, unseen, config)
    frames = []
    for mask, key in (("own", OWN_KEY), ("off", None), ("other", OTHER_KEY)):
        sinks.hide(factor)
        on_batch = None if key is None else partial(sinks.show, key=key)
        probe = probe_windows(model, windows, members, config, on_batch=on_batch)
        frames.append(_frame(probe, windows, proxy, mask))
        flops += probe.flops
    return SinkMeasure(SINK_GAPS.check(pl.concat(frames)), factor, held_out_loss, flops)


def _best_factor(model: ProxyModel, sinks: Sinks, windows: Windows, unseen: Indices, config: ProxyConfig) -> tuple[float, float, float]:
    if len(unseen) == 0:
        return 1.0, float("nan"), 0.0
    weights, losses, flops = (windows.lengths[unseen] - 1).astype(np.float64), [], 0.0
    for factor in FACTORS:
        sinks.hide(factor)
        probe = probe_windows(model, windows, unseen, config)
        losses.append(float(probe.loss.astype(np.float64) @ weights / weights.sum()))
        flops += probe.flops
    best = int(np.argmin(losses))
    return FACTORS[best], losses[best], flops


def _frame(probe: Probe, windows: Windows, proxy: str, mask: str) -> pl.DataFrame:
    columns = {
        "sample_id": windows.sample_ids[probe.indices],
        "loss": probe.loss,
        "memorization_score": probe.memorization_score,
        "greedy_match": probe.greedy_match,
    }
    frame = pl.DataFrame(columns).with_columns(proxy=pl.lit(proxy), mask=pl.lit(mask), is_scored=pl.Series(probe.is_scored))
    scored = [pl.when("is_scored").then(pl.col(name)).alias(name) for name in ("memorization_score", "greedy_match")]
    return frame.with_columns(scored).select(*SINK_GAPS.columns)
