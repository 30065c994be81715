"""Tests of `pipeline.proxy.losses` against plain formulas."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from pipeline.proxy.losses import BLOCK, mean_token_loss, token_losses, token_statistics


@pytest.fixture(params=[5, BLOCK, 2 * BLOCK + 3])
def inputs(request: pytest.FixtureRequest) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return hidden states, an output matrix and targets, in less than, exactly, and more than one block."""
    generator = torch.Generator().manual_seed(request.param)
    hidden, weight = torch.randn(request.param, 8, generator=generator), torch.randn(40, 8, generator=generator)
    return hidden.requires_grad_(), weight.requires_grad_(), torch.randint(0, 40, (request.param,), generator=generator)


def test_loss_and_gradients_are_those_of_cross_entropy(inputs: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> None:
    """The fused loss agrees with the library's, for mean, single tokens and both gradients."""
    hidden, weight, targets = inputs
    expected = F.cross_entropy(hidden @ weight.t(), targets, reduction="none")
    wanted = torch.autograd.grad(3.0 * expected.mean(), (hidden, weight))
    mean, losses = mean_token_loss(hidden, weight, targets)
    torch.testing.assert_close(mean, expected.mean())
    torch.testing.assert_close(losses, expected)
    torch.testing.assert_close(token_losses(hidden, weight, targets), expected.detach())
    for got, want in zip(torch.autograd.grad(3.0 * mean, (hidden, weight)), wanted, strict=True):
        torch.testing.assert_close(got, want, atol=1e-6, rtol=1e-4)


def test_statistics_are_those_of_the_whole_distribution(inputs: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> None:
    """Loss, argmax and z-score follow from the log-probabilities as the paper writes them."""
    hidden, weight, targets = inputs
    log_probabilities = torch.log_softmax((hidden @ weight.t()).double(), 1).detach()
    probabilities = log_probabilities.exp()
    mu = (probabilities * log_probabilities).sum(1)
    sigma = ((probabilities * log_probabilities.square()).sum(1) - mu.square()).sqrt()
    chosen = log_probabilities.gather(1, targets[:, None])[:, 0]
    statistics = token_statistics(hidden, weight, targets)
    torch.testing.assert_close(statistics.loss.double(), -chosen, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(statistics.z_score.double(), (chosen - mu) / sigma, atol=1e-3, rtol=1e-3)
    assert torch.equal(statistics.is_argmax, log_probabilities.argmax(1) == targets)


def test_weights_scale_what_each_token_counts(inputs: tuple[torch.Tensor, torch.Tensor, torch.Tensor]) -> None:
    """Loss and gradients are those of the weighted sum over the number of tokens, and a weight of 0 takes a token out."""
    hidden, weight, targets = inputs
    weights = torch.rand(len(targets), generator=torch.Generator().manual_seed(1)) * (torch.arange(len(targets)) % 3 > 0)
    expected = (F.cross_entropy(hidden @ weight.t(), targets, reduction="none") * weights).sum() / len(targets)
    mean, _ = mean_token_loss(hidden, weight, targets, weights)
    torch.testing.assert_close(mean, expected)
    wanted = torch.autograd.grad(expected, (hidden, weight))
    for got, want in zip(torch.autograd.grad(mean, (hidden, weight)), wanted, strict=True):
        torch.testing.assert_close(got, want, atol=1e-6, rtol=1e-4)
    assert not torch.autograd.grad(mean_token_loss(hidden, weight, targets, weights)[0], hidden)[0][0].any()
