"""Tests of `pipeline.proxy.gradients` against `torch.func`."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from torch.func import functional_call, grad
from torch.nn import functional as F

from pipeline.config import ProxyConfig
from pipeline.proxy.batches import collate, pad_rows
from pipeline.proxy.gradients import NextStep, sample_gradients
from pipeline.proxy.losses import token_losses
from pipeline.proxy.model import build_model
from pipeline.proxy.optimizer import EPSILON

VOCAB = 40


@pytest.mark.parametrize("architecture", ["gpt_neox", "llama"])
def test_gradients_are_exact(architecture: Literal["gpt_neox", "llama"], tiny_config: ProxyConfig) -> None:
    """G'g, g'Pg and g'P g_val of each sample agree with plain differentiation, for texts of unequal length with repeated tokens."""
    config = tiny_config.model_copy(update={"architecture": architecture})
    model = build_model(config, 2, VOCAB, torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.05)
    carried: dict[torch.Tensor, torch.Tensor] = {p: torch.rand(p.shape, generator=generator) * 0.01 for p in model.parameters()}
    held_out: dict[torch.Tensor, torch.Tensor] = {p: torch.randn(p.shape, generator=generator) for p in model.parameters()}
    step = NextStep(carried, 0.05, held_out)
    rows = [torch.randint(0, VOCAB, (n,), generator=generator).numpy().astype(np.int32) for n in (20, 12, 2, 20)]
    rows[1][5:9] = rows[1][0]
    tokens, lengths = pad_rows(rows, config.context)
    batch = collate(tokens, lengths, np.arange(len(rows)))

    statistics, sums = sample_gradients(model, batch, step)

    parameters = dict(model.named_parameters())

    def loss(values: dict[str, torch.Tensor], text: torch.Tensor) -> torch.Tensor:
        hidden = functional_call(model, values, (text[None, :],))[0, :-1]
        return F.cross_entropy(hidden @ values["head.weight"].t(), text[1:])

    for at, row in enumerate(rows):
        gradients = grad(loss)({name: value.detach() for name, value in parameters.items()}, torch.tensor(row, dtype=torch.long))
        norm = sum(gradient.square().sum() for gradient in gradients.values())
        update = {name: g / ((carried[parameters[name]] + 0.05 * g.square()).sqrt() + EPSILON) for name, g in gradients.items()}
        absorption = sum((update[name] * gradients[name]).sum() for name in parameters)
        spillover = sum((update[name] * held_out[parameters[name]]).sum() for name in parameters)
        torch.testing.assert_close(sums.squared_norm[at], norm, rtol=1e-4, atol=1e-7)
        torch.testing.assert_close(sums.absorption[at], absorption, rtol=1e-4, atol=1e-7)
        torch.testing.assert_close(sums.spillover[at], spillover, rtol=1e-3, atol=1e-5)
    hidden = model(batch.tokens).reshape(-1, model.shape.width).index_select(0, batch.places)
    torch.testing.assert_close(statistics.loss, token_losses(hidden, model.head.weight, batch.targets), atol=1e-5, rtol=1e-5)
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    _, plain = sample_gradients(model, batch)
    torch.testing.assert_close(plain.squared_norm, sums.squared_norm)
    assert plain.absorption.isnan().all()
    assert plain.spillover.isnan().all()
