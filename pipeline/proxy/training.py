"""Train one proxy and write down what it did to every text.

The loss of each sample is logged in the training batch before the update, which costs nothing. Full runs also stop at log-spaced
checkpoints for a pass with per-sample gradients over every distinct window, held-out ones included: gradients from the training batches
would be cheaper but know nothing of held-out text, on which scores are calibrated. In between held-out windows are looked at, to tell how
text that nobody learnt would have fared. Halves get one pass at their end, feature halves with gradients, which then know nothing of the
text on the other side; the first pair of these may go on without their own text, to see what they forget.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import polars as pl
import torch
from torch import Tensor

from pipeline.config import ProxyConfig
from pipeline.heap import give_back
from pipeline.proxy.batches import Indices, Windows, load_windows, make_batch, order_epoch, sum_by_owner
from pipeline.proxy.costs import Laps
from pipeline.proxy.device import CPU, Device
from pipeline.proxy.draws import draw_key
from pipeline.proxy.finetuning import Base, start_model
from pipeline.proxy.journal import Journal, describe, exposures, extractions, held_out_loss, log_losses, log_probe
from pipeline.proxy.losses import mean_token_loss
from pipeline.proxy.memsinks import SinkGate
from pipeline.proxy.model import ProxyModel, count_flops
from pipeline.proxy.optimizer import AdamW
from pipeline.proxy.probe import probe_windows
from pipeline.proxy.sink_gaps import Sinks, measure_sinks
from pipeline.proxy.spillover import probe_with_gradients, split_held_out
from pipeline.proxy.splits import ProxySpec
from pipeline.tables import (
    EXTRACTIONS,
    PROXY_SIGNALS,
    SAMPLES,
    SINK_GAPS,
    Extractions,
    Proxies,
    ProxySignals,
    ProxySplits,
    Samples,
    SinkGaps,
)

FINAL_LR_SHARE = 0.1
CHECKPOINT_RATIO = 4.0
LOOK_RATIO, NUM_LOOKS = 2.0, 8
FORGETTING_SHARE = 0.2
STEPS_BETWEEN_TRIMS = 50


@dataclass(frozen=True)
class ProxyRun:
    """Hold one finished run: its row in `proxies`, its signals, its extractions, the trained model."""

    proxies: Proxies
    signals: ProxySignals
    extractions: Extractions
    model: ProxyModel
    sink_gaps: SinkGaps = field(default_factory=SINK_GAPS.empty)


def train_proxy(
    spec: ProxySpec,
    samples: Samples,
    splits: ProxySplits,
    vocab_size: int,
    config: ProxyConfig,
    *,
    base: Base | None = None,
    device: Device = CPU,
    laps: Laps | None = None,
) -> ProxyRun:
    """Train the proxy that `spec` names on its side of the splits.

    AdamW with decoupled weight decay on matrices, linear warmup, cosine to a tenth, gradients clipped at norm 1; `epochs` passes over
    the samples in an order drawn from their tokens and `spec.seed`. float32, and bit-identical when run again on the same machine, on
    a CPU. It starts from random weights or from `base`; `laps` is told the seconds of training and signals.
    """
    samples, laps = SAMPLES.check(samples.sort("sample_id")), laps or Laps()
    windows = load_windows(samples, config.context).to(device.place)
    schedule = _schedule(windows, _members(spec, samples, splits), config, spec.seed)
    model = start_model(config, spec.size, vocab_size, torch.Generator().manual_seed(spec.seed), base).to(device.place)
    sinks = Sinks(SinkGate(model), tuple(samples["cluster_id"])) if spec.role == "memsinks" else None
    forward = device.training_pass(model, is_hooked=sinks is not None)
    passes = config.model_copy(update={"batch_windows": config.batch_windows * device.pass_factor})
    optimizer = AdamW(model, config.weight_decay)
    distinct = np.flatnonzero((samples["window_id"] == samples["sample_id"]).to_numpy())
    halves = split_held_out(samples, splits)
    stops = set(_checkpoints(len(schedule), config.num_checkpoints)) if spec.role == "full" else set()
    looks = _looks(len(schedule)) - stops if spec.role == "full" else set()
    log, probe = Journal(np.empty(sum(map(len, schedule)), dtype=np.float32)), None
    for step, indices in enumerate(schedule):
        if step in looks:
            with laps.lap("signals"):
                log_losses(log, probe_windows(model, windows, halves.both(), passes), windows, spec, step, "unseen")
        rate = learning_rate(step, len(schedule), config)
        with laps.lap("training"):
            if sinks is not None:
                sinks.show(indices)
            _update(model, forward, optimizer, windows, indices, rate, log)
        if step % STEPS_BETWEEN_TRIMS == 0:
            give_back()
        if step + 1 in stops:
            with laps.lap("signals"):
                probe = probe_with_gradients(model, optimizer, windows, halves, passes)
                log_probe(log, probe, windows, spec, step + 1, rate)
    if sinks is not None:
        with sinks.gate, laps.lap("signals"):
            measured = measure_sinks(model, sinks, windows, samples, splits, spec.name, passes)
        log.signal_flops += measured.flops
        return ProxyRun(
            describe(log, spec, model, measured.held_out_loss),
            PROXY_SIGNALS.check(exposures(log, schedule, windows, spec)),
            EXTRACTIONS.empty(),
            model,
            measured.gaps,
        )
    if probe is None:
        with laps.lap("signals"):
            if spec.role == "feature_half":
                probe = probe_with_gradients(model, optimizer, windows, halves, passes)
            else:
                probe = probe_windows(model, windows, distinct, passes)
            log_probe(log, probe, windows, spec, len(schedule), rate)
    if config.forgetting and (spec.role, spec.size, spec.pair) == ("feature_half", 0, 0):
        with laps.lap("signals"):
            others = _schedule(windows, _others(spec, samples, splits), config, draw_key("forgetting", spec.seed))
            others = others[: max(1, round(FORGETTING_SHARE * len(schedule)))]
            _forget(model, forward, optimizer, windows, others, distinct, spec, passes, log)
    return ProxyRun(
        describe(log, spec, model, held_out_loss(samples, splits, probe, windows)),
        PROXY_SIGNALS.check(pl.concat([exposures(log, schedule, windows, spec), *log.probes])),
        extractions(probe, windows, spec),
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


def _others(spec: ProxySpec, samples: Samples, splits: ProxySplits) -> Indices:
    """Return the samples of clusters that other proxies train on and this one does not."""
    inside = splits.filter((pl.col("proxy") == spec.name) & pl.col("in_training"))["cluster_id"]
    trained = splits.filter("in_training")["cluster_id"].unique()
    return np.flatnonzero((samples["cluster_id"].is_in(trained.implode()) & ~samples["cluster_id"].is_in(inside.implode())).to_numpy())


def _schedule(windows: Windows, members: Indices, config: ProxyConfig, seed: int) -> list[Indices]:
    """List the batches of all epochs; a broken last epoch stops part-way."""
    batches: list[Indices] = []
    for epoch in range(math.ceil(config.epochs)):
        batches += order_epoch(windows, members, epoch, config.batch_windows, seed)
    return batches[: max(1, round(len(batches) * config.epochs / math.ceil(config.epochs)))]


def _checkpoints(num_steps: int, count: int) -> list[int]:
    """Return steps a factor of 4 apart, the last at the end."""
    return [max(1, round(num_steps / CHECKPOINT_RATIO**back)) for back in reversed(range(count))]


def _looks(num_steps: int) -> set[int]:
    """Return the start and steps a factor of 2 apart: the loss of unseen text bends most at first."""
    return {0, *(round(num_steps / LOOK_RATIO**back) for back in range(1, NUM_LOOKS + 1))}


def _update(
    model: ProxyModel,
    forward: Callable[[Tensor], Tensor],
    optimizer: AdamW,
    windows: Windows,
    indices: Indices,
    rate: float,
    log: Journal,
) -> None:
    batch = make_batch(windows, indices)
    hidden = forward(batch.tokens)
    flat = hidden.reshape(-1, hidden.shape[-1]).index_select(0, batch.places)
    loss, losses = mean_token_loss(flat, model.head.weight, batch.targets)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step(rate)
    log.losses.append(float(loss.detach()))
    means = sum_by_owner(losses, batch) / batch.counts.clamp_min(1)
    log.exposures[log.num_visits : log.num_visits + len(indices)] = means.cpu().numpy()
    log.num_visits += len(indices)
    log.num_token_visits += int(windows.lengths[indices].sum())
    log.training_flops += 3 * count_flops(model, batch.tokens.shape[1]) * float(batch.counts.sum())


def _forget(
    model: ProxyModel,
    forward: Callable[[Tensor], Tensor],
    optimizer: AdamW,
    windows: Windows,
    schedule: list[Indices],
    distinct: Indices,
    spec: ProxySpec,
    config: ProxyConfig,
    log: Journal,
) -> None:
    """Go on with other text, moments kept, at the peak rate after a warmup; look at every window, and put the parameters back.

    At the rate where training ended little is forgotten: on the demo the rise then said less of the labels than at the peak.
    """
    end = optimizer.values.clone()
    aside = Journal(np.empty(sum(map(len, schedule)), dtype=np.float32))
    for step, indices in enumerate(schedule):
        warmup = min(1.0, (step + 1) / max(1.0, config.warmup_share * len(schedule)))
        _update(model, forward, optimizer, windows, indices, config.learning_rate * warmup, aside)
    probe = probe_windows(model, windows, distinct, config)
    log_losses(log, probe, windows, spec, len(log.losses) + len(schedule), "forgetting")
    log.signal_flops += aside.training_flops
    optimizer.values.copy_(end)
