"""Train one target: a model larger than any proxy, on whatever documents a plan gives it, resumable in the middle.

Targets share their arithmetic with the proxies and nothing else: seeds, order and splits are their own. The order of an epoch is that of a
keyed hash of each window's tokens, without batches of like length: so taking documents away leaves the rest in order, and runs of one
seed on different filters of one corpus are paired. What is left behind is small: one pass over every distinct window of the raw corpus,
removed and held-out ones included. Never a weight.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from torch import Tensor

from pipeline.config import ProxyConfig
from pipeline.errors import IntegrityError
from pipeline.heap import give_back
from pipeline.proxy.batches import Batch, Indices, Windows, load_windows, make_batch
from pipeline.proxy.device import CPU, Device
from pipeline.proxy.draws import draw_key, mix
from pipeline.proxy.emission import measure_emission
from pipeline.proxy.losses import mean_token_loss
from pipeline.proxy.model import ProxyModel, build_model, count_flops
from pipeline.proxy.optimizer import AdamW
from pipeline.proxy.probe import Probe, probe_windows
from pipeline.proxy.splits import ProxySpec, Role
from pipeline.proxy.training import STEPS_BETWEEN_TRIMS, learning_rate
from pipeline.tables import EXTRACTIONS, PROXIES, PROXY_SIGNALS, SAMPLES, Extractions, Proxies, ProxySignals, Samples

EARLY_SHARE = 0.1
"""Of a full run's steps: where a baseline looks that can pay for a part of the target's training."""
MASKED = pl.List(pl.Int32)
MEMBERS = {"sample_id": pl.Int64, "weight": pl.Float64, "masked": MASKED}
"""What a run trains on: each sample once an epoch, its loss times `weight`, tokens at the places `masked` left out of the loss."""

Floats64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TargetSpec:
    """Name one run. Runs of one seed share initialisation and order. `pair` and `side` are -1 for a run that is no half."""

    name: str
    role: Role
    pair: int
    side: int
    seed: int
    num_steps: int
    has_early_look: bool = False


@dataclass(frozen=True)
class TargetRun:
    """Hold what one run leaves: its row of `proxies`, its probes, its extractions, in the proxies' own shapes.

    `emission`: see `measure_emission`; None for halves, of which nobody asks it.
    """

    proxies: Proxies
    signals: ProxySignals
    extractions: Extractions
    emission: float | None


@dataclass
class _Log:
    losses: list[float] = field(default_factory=list)
    num_token_visits: int = 0
    training_flops: float = 0.0
    signal_flops: float = 0.0
    early: pl.DataFrame = field(default_factory=PROXY_SIGNALS.empty)


def train_target(
    spec: TargetSpec,
    samples: Samples,
    members: pl.DataFrame,
    validation: pl.Series,
    vocab_size: int,
    config: ProxyConfig,
    state: bytes | None = None,
    keep: Callable[[bytes], None] | None = None,
    checkpoint_steps: int = 0,
    device: Device = CPU,
) -> TargetRun:
    """Train the run that `spec` names on `members` (columns as in MEMBERS) and read every distinct window of `samples` at its end.

    `config` is a proxy's, its ladder the target's dial alone. `validation`: window_ids whose mean loss is `held_out_loss`, in nats per
    token. Every `checkpoint_steps` steps `keep` is given all that going on needs; handed back as `state` it leads to the same bits as a
    run that was never stopped. Raises: IntegrityError when `state` is not of such a run.
    """
    samples = SAMPLES.check(samples.sort("sample_id"))
    windows = load_windows(samples, config.context).to(device.place)
    places, weights, masks = _members(windows, members)
    model = build_model(config, config.ladder[0], vocab_size, torch.Generator().manual_seed(spec.seed)).to(device.place)
    forward, optimizer, log = device.training_pass(model), AdamW(model, config.weight_decay), _Log()
    passes = config.model_copy(update={"batch_windows": config.batch_windows * device.pass_factor})
    distinct = np.flatnonzero((samples["window_id"] == samples["sample_id"]).to_numpy())
    start = 0 if state is None else _restore(state, optimizer, log)
    early = max(1, round(EARLY_SHARE * spec.num_steps)) if spec.has_early_look else -1
    for step, indices in enumerate(schedule(windows, places, spec.num_steps, config.batch_windows, spec.seed)):
        if step < start:
            continue
        rate = learning_rate(step, spec.num_steps, config)
        _update(model, forward, optimizer, windows, indices, rate, weights, masks, log)
        if step % STEPS_BETWEEN_TRIMS == 0:
            give_back()
        if step + 1 == early:
            probe = probe_windows(model, windows, distinct, passes)
            log.early = _signals(probe, windows, spec.name, early)
            log.signal_flops += probe.flops
        if keep is not None and (step + 1) % checkpoint_steps == 0 and step + 1 < spec.num_steps:
            keep(_state(step + 1, optimizer, log))
    probe = probe_windows(model, windows, distinct, passes)
    log.signal_flops += probe.flops
    emission = None
    if spec.role == "full":
        emission, flops = measure_emission(model, windows, distinct, torch.Generator().manual_seed(draw_key("emission", spec.seed)))
        log.signal_flops += flops
    signals = pl.concat([log.early, _signals(probe, windows, spec.name, spec.num_steps)])
    row = _describe(spec, model, log, _mean_loss(probe, windows, validation))
    return TargetRun(row, PROXY_SIGNALS.check(signals), _extractions(probe, windows, spec.name), emission)


def schedule(windows: Windows, members: Indices, num_steps: int, batch_windows: int, seed: int) -> list[Indices]:
    """List `num_steps` batches: epochs end to end, each in the order of a keyed hash of the windows' tokens; a batch may span two."""
    assert len(members), "a target trains on something"
    wanted, drawn, epoch = num_steps * batch_windows, list[Indices](), 0
    while sum(map(len, drawn)) < wanted:
        key = np.uint64(draw_key("target order", seed, epoch))
        drawn.append(members[np.argsort(mix(windows.digests[members] ^ key), kind="stable")])
        epoch += 1
    stream = np.concatenate(drawn)
    return [stream[at * batch_windows : (at + 1) * batch_windows] for at in range(num_steps)]


def check_seeds(proxies: Sequence[ProxySpec], targets: Sequence[TargetSpec]) -> None:
    """Refuse a target that begins as a proxy did: the two would not be independent draws.

    Raises: IntegrityError naming both.
    """
    names = {proxy.seed: proxy.name for proxy in proxies}
    for target in targets:
        if target.seed in names:
            raise IntegrityError(
                "a target has the seed of a proxy",
                where=f"proxy {names[target.seed]} and target {target.name}",
                wanted="seeds of their own",
                do="set another validation.seed",
            )


def count_steps(num_members: int, epochs: float, batch_windows: int) -> int:
    """Return the steps of so many epochs over so many samples, at least one."""
    return max(1, round(num_members * epochs / batch_windows))


def _members(windows: Windows, members: pl.DataFrame) -> tuple[Indices, Floats64, dict[int, list[int]]]:
    """Return the members' places, the weight (S,) of every sample, and the masked tokens of those that have any, by place."""
    places = np.searchsorted(windows.sample_ids, members["sample_id"].to_numpy())
    weights = np.ones(len(windows))
    weights[places] = members["weight"].to_numpy()
    masked = {int(place): tokens for place, tokens in zip(places, members["masked"].to_list(), strict=True) if tokens}
    return np.sort(places).astype(np.int64), weights, masked


def _update(
    model: ProxyModel,
    forward: Callable[[Tensor], Tensor],
    optimizer: AdamW,
    windows: Windows,
    indices: Indices,
    rate: float,
    weights: Floats64,
    masked: dict[int, list[int]],
    log: _Log,
) -> None:
    batch = make_batch(windows, indices)
    hidden = forward(batch.tokens)
    flat = hidden.reshape(-1, hidden.shape[-1]).index_select(0, batch.places)
    loss, losses = mean_token_loss(flat, model.head.weight, batch.targets, _token_weights(batch, weights, masked))
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step(rate)
    log.losses.append(float(losses.mean()))
    log.num_token_visits += int(windows.lengths[indices].sum())
    log.training_flops += 3 * count_flops(model, batch.tokens.shape[1]) * float(batch.counts.sum())


def _token_weights(batch: Batch, weights: Floats64, masked: dict[int, list[int]]) -> Tensor | None:
    """Return the weight of each predicted token (N,), or None where all are 1."""
    own = weights[batch.indices]
    if (own == 1.0).all() and not any(int(place) in masked for place in batch.indices):
        return None
    grid = torch.from_numpy(own.astype(np.float32))[:, None].repeat(1, batch.tokens.shape[1])
    for row, place in enumerate(batch.indices):
        # the loss of token t stands at the place of the token before it
        grid[row, [token - 1 for token in masked.get(int(place), ()) if token]] = 0.0
    return grid.view(-1).to(batch.places.device)[batch.places]


def _state(step: int, optimizer: AdamW, log: _Log) -> bytes:
    out, early = io.BytesIO(), io.BytesIO()
    log.early.write_parquet(early)
    np.savez(
        out,
        step=np.int64(step),
        vectors=torch.stack([optimizer.values, optimizer.first, optimizer.second]).cpu().numpy(),
        losses=np.array(log.losses),
        visits=np.int64(log.num_token_visits),
        flops=np.array([log.training_flops, log.signal_flops]),
        early=np.frombuffer(early.getvalue(), np.uint8),
    )
    return out.getvalue()


def _restore(state: bytes, optimizer: AdamW, log: _Log) -> int:
    """Put a run back to where its state was taken and return the step to go on with."""
    try:
        with np.load(io.BytesIO(state), allow_pickle=False) as found:
            vectors = torch.from_numpy(found["vectors"])
            for own, stored in zip((optimizer.values, optimizer.first, optimizer.second), vectors, strict=True):
                own.copy_(stored)
            log.losses = found["losses"].tolist()
            log.num_token_visits = int(found["visits"])
            log.training_flops, log.signal_flops = map(float, found["flops"])
            log.early = PROXY_SIGNALS.check(pl.read_parquet(io.BytesIO(found["early"].tobytes())))
            optimizer.num_steps = step = int(found["step"])
    except (KeyError, ValueError, RuntimeError, OSError) as error:
        raise IntegrityError("not the checkpoint of this target", got=f"{type(error).__name__}: {error}", do="remove it") from error
    return step


def _signals(probe: Probe, windows: Windows, name: str, step: int) -> ProxySignals:
    count = len(probe.indices)
    columns = {
        "sample_id": windows.sample_ids[probe.indices],
        "proxy": pl.repeat(name, count, eager=True),
        "step": np.full(count, step),
        "phase": pl.repeat("probe", count, eager=True),
        "loss": probe.loss,
        "prompt_loss": probe.prompt_loss,
        "suffix_loss": probe.suffix_loss,
    }
    frame = pl.DataFrame(columns).with_columns(pl.col(pl.Float32).fill_nan(None))
    missing = [pl.lit(None, dtype=dtype).alias(column) for column, dtype in PROXY_SIGNALS.columns.items() if column not in columns]
    return PROXY_SIGNALS.check(frame.with_columns(missing).cast({"step": pl.Int64}).select(*PROXY_SIGNALS.columns))


def _extractions(probe: Probe, windows: Windows, name: str) -> Extractions:
    scored = probe.is_scored
    columns = {
        "sample_id": windows.sample_ids[probe.indices[scored]],
        "proxy": pl.repeat(name, int(scored.sum()), eager=True),
        "memorization_score": probe.memorization_score[scored],
        "greedy_match": probe.greedy_match[scored],
        "suffix_log_prob": probe.suffix_log_prob[scored],
    }
    return EXTRACTIONS.check(pl.DataFrame(columns, schema=dict(EXTRACTIONS.columns)))


def _mean_loss(probe: Probe, windows: Windows, validation: pl.Series) -> float:
    """Average over the predicted tokens of the windows of `validation`, in nats; NaN when there are none."""
    chosen = pl.Series(windows.sample_ids[probe.indices]).is_in(validation.implode()).to_numpy()
    weights = (windows.lengths[probe.indices] - 1) * chosen
    return float((probe.loss * weights).sum(dtype=np.float64) / weights.sum()) if weights.any() else math.nan


def _describe(spec: TargetSpec, model: ProxyModel, log: _Log, held_out_loss: float) -> Proxies:
    row = {
        "proxy": spec.name,
        "role": spec.role,
        "size": 0,
        "num_parameters": model.count_parameters(),
        "num_steps": spec.num_steps,
        "num_token_visits": log.num_token_visits,
        "training_flops": log.training_flops,
        "signal_flops": log.signal_flops,
        "final_loss": float(np.mean(log.losses[-max(1, len(log.losses) // 10) :])),
        "held_out_loss": held_out_loss,
    }
    return PROXIES.check(pl.DataFrame([row], schema=dict(PROXIES.columns)))
