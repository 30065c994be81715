"""Train one proxy and write down what it did to every text.

The loss of each sample is logged in the training batch before the update, which costs nothing. Full runs also stop at log-spaced
checkpoints for a pass with per-sample gradients over every distinct window, held-out ones included: gradients from the training batches
would be cheaper but know nothing of held-out text, on which scores are calibrated. Halves get one forward pass at their end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import polars as pl
import torch

from pipeline.config import ProxyConfig
from pipeline.proxy.batches import Indices, Windows, load_windows, make_batch, order_epoch, sum_by_owner
from pipeline.proxy.extraction import Floats
from pipeline.proxy.losses import mean_token_loss
from pipeline.proxy.memory import release_memory
from pipeline.proxy.model import ProxyModel, build_model, count_flops
from pipeline.proxy.optimizer import AdamW
from pipeline.proxy.probe import Probe, probe_windows
from pipeline.proxy.splits import ProxySpec
from pipeline.tables import EXTRACTIONS, PROXIES, PROXY_SIGNALS, SAMPLES, Extractions, Proxies, ProxySignals, ProxySplits, Samples

FINAL_LR_SHARE = 0.1
CHECKPOINT_RATIO = 4.0
STEPS_BETWEEN_TRIMS = 50


@dataclass(frozen=True)
class ProxyRun:
    """Hold one finished run: its row in `proxies`, its signals, its extractions, the trained model."""

    proxies: Proxies
    signals: ProxySignals
    extractions: Extractions
    model: ProxyModel


@dataclass
class _Log:
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


def train_proxy(spec: ProxySpec, samples: Samples, splits: ProxySplits, vocab_size: int, config: ProxyConfig) -> ProxyRun:
    """Train the proxy that `spec` names on its side of the splits.

    AdamW with decoupled weight decay on matrices, linear warmup, cosine to a tenth, gradients clipped at norm 1; `epochs` passes over
    the samples in an order drawn from their tokens and `spec.seed`. float32, and bit-identical when run again on the same machine.
    """
    samples = SAMPLES.check(samples.sort("sample_id"))
    windows = load_windows(samples, config.context)
    schedule = _schedule(windows, _members(spec, samples, splits), config, spec.seed)
    model = build_model(config, config.ladder[spec.size], vocab_size, torch.Generator().manual_seed(spec.seed))
    optimizer = AdamW(model, config.weight_decay)
    distinct = np.flatnonzero((samples["window_id"] == samples["sample_id"]).to_numpy())
    stops = set(_checkpoints(len(schedule), config.num_checkpoints)) if spec.role == "full" else set()
    log, probe = _Log(np.empty(sum(map(len, schedule)), dtype=np.float32)), None
    for step, indices in enumerate(schedule):
        rate = learning_rate(step, len(schedule), config)
        _update(model, optimizer, windows, indices, rate, log)
        if step % STEPS_BETWEEN_TRIMS == 0:
            release_memory()
        if step + 1 in stops:
            probe = probe_windows(model, windows, distinct, config, optimizer.preconditioner())
            _log_probe(probe, windows, step + 1, rate, spec, log)
    if probe is None:
        probe = probe_windows(model, windows, distinct, config)
        _log_probe(probe, windows, len(schedule), 0.0, spec, log)
    return ProxyRun(
        _describe(spec, model, _held_out_loss(samples, splits, probe, windows), log),
        PROXY_SIGNALS.check(pl.concat([_exposures(log, schedule, windows, spec), *log.probes])),
        _extractions(probe, windows, spec),
        model,
    )


def learning_rate(step: int, num_steps: int, config: ProxyConfig) -> float:
    """Return the rate of step 0 ... num_steps - 1: linear warmup, then a cosine to a tenth of the peak."""
    warmup = max(1, round(config.warmup_share * num_steps))
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(1, num_steps - 1 - warmup)
    return config.learning_rate * (FINAL_LR_SHARE + (1 - FINAL_LR_SHARE) * 0.5 * (1 + math.cos(math.pi * progress)))


def _members(spec: ProxySpec, samples: Samples, splits: ProxySplits) -> Indices:
    inside = splits.filter((pl.col("proxy") == spec.name) & pl.col("in_training"))["cluster_id"]
    return np.flatnonzero(samples["cluster_id"].is_in(inside.implode()).to_numpy())


def _schedule(windows: Windows, members: Indices, config: ProxyConfig, seed: int) -> list[Indices]:
    """List the batches of all epochs; a broken last epoch stops part-way."""
    batches: list[Indices] = []
    for epoch in range(math.ceil(config.epochs)):
        batches += order_epoch(windows, members, epoch, config.batch_windows, seed)
    return batches[: max(1, round(len(batches) * config.epochs / math.ceil(config.epochs)))]


def _checkpoints(num_steps: int, count: int) -> list[int]:
    """Return steps a factor of 4 apart, the last at the end."""
    return [max(1, round(num_steps / CHECKPOINT_RATIO**back)) for back in reversed(range(count))]


def _update(model: ProxyModel, optimizer: AdamW, windows: Windows, indices: Indices, rate: float, log: _Log) -> None:
    batch = make_batch(windows, indices)
    hidden = model(batch.tokens)
    flat = hidden.reshape(-1, hidden.shape[-1]).index_select(0, batch.places)
    loss, losses = mean_token_loss(flat, model.head.weight, batch.targets)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step(rate)
    log.losses.append(float(loss.detach()))
    means = sum_by_owner(losses, batch) / batch.counts.clamp_min(1)
    log.exposures[log.num_visits : log.num_visits + len(indices)] = means.numpy()
    log.num_visits += len(indices)
    log.num_token_visits += int(windows.lengths[indices].sum())
    log.training_flops += 3 * count_flops(model, batch.tokens.shape[1]) * float(batch.counts.sum())


def _log_probe(probe: Probe, windows: Windows, step: int, rate: float, spec: ProxySpec, log: _Log) -> None:
    names = ("loss", "prompt_loss", "suffix_loss", "min_k_plus_plus", "grad_norm")
    columns = {name: getattr(probe, name) for name in names} | {"absorption": np.float32(rate) * probe.preconditioned}
    log.probes.append(_frame(windows.sample_ids[probe.indices], spec, np.full(len(probe.indices), step), "probe", columns))
    log.signal_flops += probe.flops


def _exposures(log: _Log, schedule: list[Indices], windows: Windows, spec: ProxySpec) -> pl.DataFrame:
    steps = np.repeat(np.arange(len(schedule)), [len(indices) for indices in schedule])
    return _frame(windows.sample_ids[np.concatenate(schedule)], spec, steps, "exposure", {"loss": log.exposures})


def _frame(sample_ids: Indices, spec: ProxySpec, steps: Indices, phase: str, columns: dict[str, Floats]) -> pl.DataFrame:
    values = [pl.Series(name, column, dtype=pl.Float32, nan_to_null=True) for name, column in columns.items()]
    frame = pl.DataFrame([pl.Series("sample_id", sample_ids, dtype=pl.Int64), *values]).with_columns(
        pl.lit(spec.name).alias("proxy"), pl.Series("step", steps, dtype=pl.Int64), pl.lit(phase).alias("phase")
    )
    missing = [pl.lit(None, dtype=dtype).alias(name) for name, dtype in PROXY_SIGNALS.columns.items() if name not in frame.columns]
    return frame.with_columns(missing).select(*PROXY_SIGNALS.columns)


def _extractions(probe: Probe, windows: Windows, spec: ProxySpec) -> Extractions:
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


def _held_out_loss(samples: Samples, splits: ProxySplits, probe: Probe, windows: Windows) -> float:
    """Average over the predicted tokens of distinct windows that no proxy trains on, in nats; NaN when there are none."""
    trained = splits.filter("in_training")["cluster_id"].unique()
    held_out = (~samples["cluster_id"].is_in(trained.implode())).to_numpy()[probe.indices]
    weights = (windows.lengths[probe.indices] - 1) * held_out
    return float((probe.loss * weights).sum(dtype=np.float64) / weights.sum()) if weights.any() else math.nan


def _describe(spec: ProxySpec, model: ProxyModel, held_out_loss: float, log: _Log) -> Proxies:
    row = {
        "proxy": spec.name,
        "role": spec.role,
        "size": spec.size,
        "num_parameters": model.count_parameters(),
        "num_steps": len(log.losses),
        "num_token_visits": log.num_token_visits,
        "training_flops": log.training_flops,
        "signal_flops": log.signal_flops,
        "final_loss": float(np.mean(log.losses[-max(1, len(log.losses) // 10) :])),
        "held_out_loss": held_out_loss,
    }
    return PROXIES.check(pl.DataFrame([row], schema=dict(PROXIES.columns)))
