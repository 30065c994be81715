"""Per-sample gradients in one backward pass: how strongly each text pulls at the model, plainly and in Adam's own metric.

A layer sees its inputs and the gradients of its outputs anyway; their product per sample is that sample's gradient, formed layer by layer
and thrown away at once. Parameters ask for no gradient meanwhile, which pays for about half of the extra work.
Source: Goodfellow 2015, "Efficient per-example gradient computations", section 5, extended to sequences and to a diagonal metric.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.proxy.batches import Batch
from pipeline.proxy.losses import TokenStatistics, block_statistics, join_statistics, logit_gradient
from pipeline.proxy.model import ProxyModel

Preconditioner = Mapping[Tensor, Tensor]


@dataclass
class SampleGradients:
    """Add up g'g and g'Pg of each sample's mean token loss, shape (B,), over the parameters seen so far."""

    squared_norm: Tensor
    preconditioned: Tensor

    def add(self, gradient: Tensor, metric: Tensor) -> None:
        """Add a parameter's gradients (B, *shape), which are used up, under its part of P."""
        squares = gradient.square_().reshape(len(gradient), -1)
        self.squared_norm += squares.sum(1)
        self.preconditioned += squares @ metric.reshape(-1)


def sample_gradients(model: ProxyModel, batch: Batch, preconditioner: Preconditioner) -> tuple[TokenStatistics, SampleGradients]:
    """Return the token statistics of a batch and the exact g'g and g'Pg of every sample's mean token loss.

    One backward pass for activations plus one product a layer; nothing is accumulated in the parameters.
    """
    sums = SampleGradients(torch.zeros(len(batch.counts)), torch.zeros(len(batch.counts)))
    with _without_parameter_gradients(model), _hooked(model, sums, preconditioner):
        embedded = model.embedding(batch.tokens).requires_grad_()
        hidden = model.body(embedded)
        statistics, hidden_grad = _head_pass(model, hidden.detach(), batch, sums, preconditioner[model.head.weight])
        hidden.backward(hidden_grad)
        assert embedded.grad is not None
        _add_embedding(sums, embedded.grad, batch.tokens, preconditioner[model.embedding.weight])
    return statistics, sums


@contextmanager
def _without_parameter_gradients(model: nn.Module) -> Iterator[None]:
    model.requires_grad_(False)
    try:
        yield
    finally:
        model.requires_grad_(True)


@contextmanager
def _hooked(model: ProxyModel, sums: SampleGradients, preconditioner: Preconditioner) -> Iterator[None]:
    handles = [
        module.register_forward_hook(_watch(module, sums, preconditioner))
        for module in model.body.modules()
        if not isinstance(module, nn.Embedding) and next(module.parameters(recurse=False), None) is not None
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _watch(module: nn.Module, sums: SampleGradients, preconditioner: Preconditioner) -> Callable[..., None]:
    def on_forward(_module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        seen = inputs[0].detach()
        output.register_hook(  # type: ignore[no-untyped-call]
            lambda gradient: _add_layer(module, seen, gradient, sums, preconditioner)
        )

    return on_forward


def _add_layer(module: nn.Module, seen: Tensor, gradient: Tensor, sums: SampleGradients, preconditioner: Preconditioner) -> None:
    weight, bias = module.weight, getattr(module, "bias", None)
    assert isinstance(weight, nn.Parameter)
    if isinstance(module, nn.Linear):
        sums.add(torch.bmm(gradient.transpose(1, 2), seen), preconditioner[weight])
    else:
        sums.add((gradient * _normalised(module, seen)).sum(1), preconditioner[weight])
    if isinstance(bias, nn.Parameter):
        sums.add(gradient.sum(1), preconditioner[bias])


def _normalised(module: nn.Module, seen: Tensor) -> Tensor:
    if isinstance(module, nn.LayerNorm):
        return F.layer_norm(seen, module.normalized_shape, eps=module.eps)
    assert isinstance(module, nn.RMSNorm), f"no per-sample gradient for {type(module).__name__}"
    return F.rms_norm(seen, list(module.normalized_shape), eps=module.eps)


def _head_pass(model: ProxyModel, hidden: Tensor, batch: Batch, sums: SampleGradients, metric: Tensor) -> tuple[TokenStatistics, Tensor]:
    """Return the statistics and the gradient for the hidden states (B, T, D), and add the output matrix' part.

    One sample at a time: its logits and its (V, D) gradient stay in the processor's cache.
    """
    weight, flat_metric = model.head.weight.detach(), metric.reshape(-1)
    buffers = hidden.new_empty(2, int(batch.counts.max()), len(weight))
    hidden_grad, parts, start = torch.zeros_like(hidden), [], 0
    for row, count in enumerate(batch.counts.tolist()):
        targets, seen = batch.targets[start : start + count], hidden[row, :count]
        statistics, probabilities = block_statistics(seen, weight, targets, buffers)
        gradient = logit_gradient(probabilities, targets, hidden.new_full((count,), 1.0 / max(count, 1)))
        torch.mm(gradient, weight, out=hidden_grad[row, :count])
        squares = (gradient.t() @ seen).square_().reshape(-1)
        sums.squared_norm[row] += squares.sum()
        sums.preconditioned[row] += squares @ flat_metric
        parts.append(statistics)
        start += count
    return join_statistics(parts), hidden_grad


def _add_embedding(sums: SampleGradients, gradient: Tensor, tokens: Tensor, metric: Tensor) -> None:
    """Add the embedding's part: a token's row collects the gradients of all places where the token stands."""
    same = (tokens[:, :, None] == tokens[:, None, :]).to(gradient.dtype)
    transposed = gradient.transpose(1, 2)
    sums.squared_norm += (torch.bmm(gradient, transposed) * same).sum((1, 2))
    sums.preconditioned += (torch.bmm(gradient * metric[tokens], transposed) * same).sum((1, 2))
