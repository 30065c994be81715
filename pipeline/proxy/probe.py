"""A pass over windows that changes nothing: losses, Min-K%++, extraction, and per-sample gradients if a step is to be measured."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt
import torch

from pipeline.config import ProxyConfig
from pipeline.proxy.batches import Batch, Indices, Windows, make_batch, order_probe, sum_by_owner
from pipeline.proxy.extraction import Floats, mean_loss, score_extraction
from pipeline.proxy.gradients import NextStep, sample_gradients
from pipeline.proxy.losses import TokenStatistics, token_statistics
from pipeline.proxy.model import ProxyModel, count_flops

MIN_K_SHARE = 0.2


@dataclass(frozen=True)
class Probe:
    """Hold one value per window (M,), in order of `indices`; NaN where a window is too short or nothing was asked.

    `absorption` is g'Pg and `spillover` g'P g_val, both without the learning rate; `flops` is what the pass cost.
    """

    flops: float
    indices: Indices
    loss: Floats
    prompt_loss: Floats
    suffix_loss: Floats
    min_k_plus_plus: Floats
    grad_norm: Floats
    absorption: Floats
    spillover: Floats
    is_scored: npt.NDArray[np.bool_]
    memorization_score: Floats
    greedy_match: npt.NDArray[np.int32]
    suffix_log_prob: Floats


def probe_windows(
    model: ProxyModel,
    windows: Windows,
    members: Indices,
    config: ProxyConfig,
    next_step: NextStep | None = None,
    on_batch: Callable[[Indices], None] | None = None,
) -> Probe:
    """Pass once over the member windows; with a next step also backward, for per-sample gradients.

    `on_batch` is told the windows of each batch before they are read.
    """
    probe = _lay_out(len(members))
    flops, start = 0.0, 0
    for indices in order_probe(windows, members, config.batch_windows):
        batch = make_batch(windows, indices)
        if on_batch is not None:
            on_batch(indices)
        gradients = None
        if next_step is None:
            statistics = _forward(model, batch)
        else:
            statistics, gradients = sample_gradients(model, batch, next_step)
        rows = slice(start, start + len(indices))
        probe.indices[rows] = indices
        _summarise(probe, rows, statistics, batch, windows.lengths[indices], config)
        if gradients is not None:
            probe.grad_norm[rows] = gradients.squared_norm.sqrt().cpu().numpy()
            probe.absorption[rows] = gradients.absorption.cpu().numpy()
            probe.spillover[rows] = gradients.spillover.cpu().numpy()
        # activations' half of the backward pass, and the products that form the gradients
        flops += count_flops(model, batch.tokens.shape[1]) * float(batch.counts.sum()) * (1 if next_step is None else 3)
        start += len(indices)
    return join_probes([replace(probe, flops=flops)])


def join_probes(probes: Sequence[Probe]) -> Probe:
    """Put probes of different windows into one, in order of the windows' numbers."""
    order = np.argsort(np.concatenate([probe.indices for probe in probes]), kind="stable")
    columns = {
        column.name: np.concatenate([getattr(probe, column.name) for probe in probes])[order]
        for column in fields(Probe)
        if column.name != "flops"
    }
    return Probe(flops=sum(probe.flops for probe in probes), **columns)


def _lay_out(size: int) -> Probe:
    """Make room for every result before the pass: small arrays kept from each batch would pin the large ones' memory between them."""

    def unknown() -> Floats:
        return np.full(size, np.nan, dtype=np.float32)

    return Probe(
        flops=0.0,
        indices=np.zeros(size, dtype=np.int64),
        loss=unknown(),
        prompt_loss=unknown(),
        suffix_loss=unknown(),
        min_k_plus_plus=unknown(),
        grad_norm=unknown(),
        absorption=unknown(),
        spillover=unknown(),
        is_scored=np.zeros(size, dtype=bool),
        memorization_score=unknown(),
        greedy_match=np.zeros(size, dtype=np.int32),
        suffix_log_prob=unknown(),
    )


@torch.no_grad()
def _forward(model: ProxyModel, batch: Batch) -> TokenStatistics:
    hidden = model(batch.tokens)
    flat = hidden.reshape(-1, hidden.shape[-1]).index_select(0, batch.places)
    return token_statistics(flat, model.head.weight, batch.targets)


def _summarise(probe: Probe, rows: slice, statistics: TokenStatistics, batch: Batch, lengths: Indices, config: ProxyConfig) -> None:
    loss = _spread(statistics.loss, batch, 0.0)
    is_argmax = _spread(statistics.is_argmax.to(torch.float32), batch, 0.0) > 0
    prompt, end = config.prompt_tokens, config.prompt_tokens + config.suffix_tokens
    scores = score_extraction(loss, is_argmax, lengths, prompt, config.suffix_tokens)
    probe.loss[rows] = (sum_by_owner(statistics.loss, batch) / batch.counts.clamp_min(1)).cpu().numpy()
    probe.prompt_loss[rows] = mean_loss(loss, lengths, 0, prompt)
    probe.suffix_loss[rows] = mean_loss(loss, lengths, prompt, end)
    probe.min_k_plus_plus[rows] = _lowest_mean(_spread(statistics.z_score, batch, np.inf), batch)
    probe.is_scored[rows] = scores.is_scored
    probe.memorization_score[rows] = scores.memorization_score
    probe.greedy_match[rows] = scores.greedy_match
    probe.suffix_log_prob[rows] = scores.suffix_log_prob


def _spread(values: torch.Tensor, batch: Batch, fill: float) -> Floats:
    """Lay per-token values (N,) out as (B, T), column t about token t."""
    spread = torch.full(batch.tokens.shape, fill, device=values.device)
    spread.view(-1)[batch.places + 1] = values
    return spread.cpu().numpy()


def _lowest_mean(z_scores: Floats, batch: Batch) -> Floats:
    """Average the lowest fifth of a window's z-scores, at least one. Source: Zhang et al. 2024, "Min-K%++", equation 4."""
    counts = np.maximum(np.ceil(MIN_K_SHARE * batch.counts.cpu().numpy()), 1).astype(np.int64)
    ordered = np.sort(z_scores, axis=1)
    taken = np.arange(ordered.shape[1])[None] < counts[:, None]
    return (np.where(taken, ordered, 0.0).sum(1, dtype=np.float64) / counts).astype(np.float32)
