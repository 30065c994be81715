"""Tests of `pipeline.proxy.optimizer` against torch's."""

from __future__ import annotations

import copy

import torch
from torch import nn

from pipeline.proxy.optimizer import BETAS, EPSILON, MAX_GRAD_NORM, AdamW


def test_updates_and_moments_are_those_of_torch() -> None:
    """After twenty clipped steps at changing rates the parameters, and v_hat of a step to come, agree with torch.optim.AdamW."""
    torch_generator = torch.Generator().manual_seed(0)
    ours = nn.Sequential(nn.Linear(5, 7), nn.LayerNorm(7), nn.Linear(7, 3, bias=False))
    theirs = copy.deepcopy(ours)
    groups = [
        {"params": [p for p in theirs.parameters() if p.ndim >= 2], "weight_decay": 0.3},
        {"params": [p for p in theirs.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    reference, optimizer = torch.optim.AdamW(groups, betas=BETAS, eps=EPSILON), AdamW(ours, 0.3)
    for step in range(20):
        inputs = torch.randn(4, 5, generator=torch_generator) * 10
        for group in reference.param_groups:
            group["lr"] = 0.01 * (step + 1)
        for model in (ours, theirs):
            model(inputs).square().sum().backward()
        nn.utils.clip_grad_norm_(theirs.parameters(), MAX_GRAD_NORM)
        reference.step()
        reference.zero_grad()
        optimizer.step(0.01 * (step + 1))
    carried, share = optimizer.second_moment()
    by_parameter = optimizer.by_parameter(carried)
    for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(mine, other, atol=1e-5, rtol=1e-3)
        squares = torch.rand(mine.shape, generator=torch_generator)
        v_hat = (BETAS[1] * reference.state[other]["exp_avg_sq"] + (1 - BETAS[1]) * squares) / (1 - BETAS[1] ** 21)
        torch.testing.assert_close(by_parameter[mine] + share * squares, v_hat, rtol=1e-2, atol=1e-6)
        assert mine.grad is None
