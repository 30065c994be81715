"""What a proxy run writes down on its way, and the tables that come of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from pipeline.proxy.batches import Indices, Windows
from pipeline.proxy.extraction import Floats
from pipeline.proxy.model import ProxyModel
from pipeline.proxy.probe import Probe
from pipeline.proxy.splits import ProxySpec
from pipeline.tables import EXTRACTIONS, PROXIES, PROXY_SIGNALS, Extractions, Proxies, ProxySplits, Samples

RATED = ("absorption", "spillover")
"""Columns of a probe that are measured at a learning rate of 1."""


@dataclass
class Journal:
    """Collect the frames of a run and what they cost.

    `exposures` is laid out before training: small arrays left behind by every step would sit between the large ones it frees and keep
    hundreds of megabytes from being used again.
    """

    exposures: Floats  # mean loss of every visit, in the order of the schedule
    losses: list[float] = field(default_factory=list)  # nats per token, one a step
    num_visits: int = 0
    probes: list[pl.DataFrame] = field(default_factory=list)
    num_token_visits: int = 0
    training_flops: float = 0.0
    signal_flops: float = 0.0


def log_probe(journal: Journal, probe: Probe, windows: Windows, spec: ProxySpec, step: int, rate: float) -> None:
    """Write down a pass over all distinct windows after so many steps, the last of them at learning rate `rate`."""
    names = ("loss", "prompt_loss", "suffix_loss", "min_k_plus_plus", "grad_norm")
    columns = {name: getattr(probe, name) for name in names} | {name: np.float32(rate) * getattr(probe, name) for name in RATED}
    journal.probes.append(_frame(windows.sample_ids[probe.indices], spec, np.full(len(probe.indices), step), "probe", columns))
    journal.signal_flops += probe.flops


def log_losses(journal: Journal, probe: Probe, windows: Windows, spec: ProxySpec, step: int, phase: str) -> None:
    """Write down only the losses of a pass, under a phase of its own."""
    journal.probes.append(_frame(windows.sample_ids[probe.indices], spec, np.full(len(probe.indices), step), phase, {"loss": probe.loss}))
    journal.signal_flops += probe.flops


def exposures(journal: Journal, schedule: list[Indices], windows: Windows, spec: ProxySpec) -> pl.DataFrame:
    """Return the losses logged before updates, one row a visit."""
    steps = np.repeat(np.arange(len(schedule)), [len(indices) for indices in schedule])
    return _frame(windows.sample_ids[np.concatenate(schedule)], spec, steps, "exposure", {"loss": journal.exposures})


def extractions(probe: Probe, windows: Windows, spec: ProxySpec) -> Extractions:
    """Return how far each window that has a prompt and a suffix is recited."""
    scored = probe.is_scored
    return EXTRACTIONS.check(
        pl.DataFrame(
            {
                "sample_id": windows.sample_ids[probe.indices[scored]],
                "proxy": np.full(int(scored.sum()), spec.name, dtype=object),
                "memorization_score": probe.memorization_score[scored],
                "greedy_match": probe.greedy_match[scored],
                "suffix_log_prob": probe.suffix_log_prob[scored],
            },
            schema=dict(EXTRACTIONS.columns),
        )
    )


def held_out_loss(samples: Samples, splits: ProxySplits, probe: Probe, windows: Windows) -> float:
    """Average over the predicted tokens of distinct windows that no proxy trains on, in nats; NaN when there are none."""
    trained = splits.filter("in_training")["cluster_id"].unique()
    held_out = (~samples["cluster_id"].is_in(trained.implode())).to_numpy()[probe.indices]
    weights = (windows.lengths[probe.indices] - 1) * held_out
    return float((probe.loss * weights).sum(dtype=np.float64) / weights.sum()) if weights.any() else math.nan


def describe(journal: Journal, spec: ProxySpec, model: ProxyModel, held_out: float) -> Proxies:
    """Return the run's row in `proxies`."""
    row = {
        "proxy": spec.name,
        "role": spec.role,
        "size": spec.size,
        "num_parameters": model.count_parameters(),
        "num_steps": len(journal.losses),
        "num_token_visits": journal.num_token_visits,
        "training_flops": journal.training_flops,
        "signal_flops": journal.signal_flops,
        "final_loss": float(np.mean(journal.losses[-max(1, len(journal.losses) // 10) :])),
        "held_out_loss": held_out,
    }
    return PROXIES.check(pl.DataFrame([row], schema=dict(PROXIES.columns)))


def _frame(sample_ids: Indices, spec: ProxySpec, steps: Indices, phase: str, columns: dict[str, Floats]) -> pl.DataFrame:
    values = [pl.Series(name, column, dtype=pl.Float32, nan_to_null=True) for name, column in columns.items()]
    frame = pl.DataFrame([pl.Series("sample_id", sample_ids, dtype=pl.Int64), *values]).with_columns(
        pl.lit(spec.name).alias("proxy"), pl.Series("step", steps, dtype=pl.Int64), pl.lit(phase).alias("phase")
    )
    missing = [pl.lit(None, dtype=dtype).alias(name) for name, dtype in PROXY_SIGNALS.columns.items() if name not in frame.columns]
    return frame.with_columns(missing).select(*PROXY_SIGNALS.columns)
