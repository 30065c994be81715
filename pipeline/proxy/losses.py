"""Token losses from hidden states, with the vocabulary's probabilities computed once and used for everything.

At these sizes the logits cost as much as the whole body. So the loss forms its own gradient while the probabilities are at hand, and all
of it runs in blocks of rows through buffers that are used again, because fresh megabytes from the system cost more than the arithmetic.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

BLOCK = 512
LEAST = torch.finfo(torch.float32).tiny
"""A target less probable than this has the loss of one that is as probable: 87 nats."""


@dataclass(frozen=True)
class TokenStatistics:
    """Hold per predicted token (N,): loss in nats, whether it was the argmax, and its z-score among the vocabulary."""

    loss: Tensor
    is_argmax: Tensor
    z_score: Tensor


class MeanTokenLoss(torch.autograd.Function):
    """Compute the mean of -log p over targets (N,), each times its weight, from hidden states (N, D) and an output matrix (V, D)."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, token_weights: Tensor | None) -> tuple[Tensor, Tensor]:
        """Form both gradients at once, block by block; what all of them are multiplied by waits for the backward pass."""
        losses, hidden_grad, weight_grad = hidden.new_empty(len(targets)), torch.empty_like(hidden), torch.zeros_like(weight)
        counted = hidden if token_weights is None else hidden * token_weights[:, None]
        buffers, less = _buffers(hidden, weight), hidden.new_full((len(targets), 1), -1.0)
        for rows in _blocks(len(targets)):
            gradient, losses[rows] = _probabilities(hidden[rows], weight, targets[rows], buffers)
            gradient.scatter_add_(1, targets[rows, None], less[rows])
            torch.mm(gradient, weight, out=hidden_grad[rows])
            weight_grad.addmm_(gradient.t(), counted[rows])
        if token_weights is not None:
            hidden_grad.mul_(token_weights[:, None])
        ctx.save_for_backward(hidden_grad, weight_grad)
        ctx.mark_non_differentiable(losses)
        return (losses if token_weights is None else losses * token_weights).mean(), losses

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor, None, None]:
        """Scale the gradients that the forward pass left, in place: torch refuses a second pass, which would scale them twice."""
        hidden_grad, weight_grad = ctx.saved_tensors
        scale = grad_outputs[0] / max(len(hidden_grad), 1)
        return hidden_grad.mul_(scale), weight_grad.mul_(scale), None, None


def mean_token_loss(hidden: Tensor, weight: Tensor, targets: Tensor, token_weights: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the mean loss in nats, differentiable once, and the losses of the tokens (N,), which are only to be looked at.

    Tokens count by `token_weights` (N,) if given, over the number of tokens: a batch of low weights takes a small step.
    """
    return MeanTokenLoss.apply(hidden, weight, targets, token_weights)  # type: ignore[no-untyped-call]


@torch.no_grad()
def token_losses(hidden: Tensor, weight: Tensor, targets: Tensor) -> Tensor:
    """Return -log p of each target (N,) in nats."""
    losses, buffers = hidden.new_empty(len(targets)), _buffers(hidden, weight)
    for rows in _blocks(len(targets)):
        losses[rows] = _probabilities(hidden[rows], weight, targets[rows], buffers)[1]
    return losses


@torch.no_grad()
def token_statistics(hidden: Tensor, weight: Tensor, targets: Tensor) -> TokenStatistics:
    """Return loss, argmax hit and z-score of each target (N,)."""
    buffers = _buffers(hidden, weight)
    parts = [block_statistics(hidden[rows], weight, targets[rows], buffers)[0] for rows in _blocks(len(targets))]
    return join_statistics(parts)


def block_statistics(hidden: Tensor, weight: Tensor, targets: Tensor, buffers: Tensor) -> tuple[TokenStatistics, Tensor]:
    """Return the statistics of a block of n targets and the probabilities (n, V), which lie in `buffers` (2, at least n, V).

    z = (log p - mu) / sigma, where mu and sigma are mean and standard deviation of log p over the vocabulary under the model.
    Source: Zhang et al. 2024, "Min-K%++", equation 3.
    """
    logits = torch.mm(hidden, weight.t(), out=buffers[0][: len(targets)])
    logits.sub_(logits.amax(1, keepdim=True))
    target_logit = logits.gather(1, targets[:, None])[:, 0]
    probabilities = torch.exp(logits, out=buffers[1][: len(targets)])
    total = probabilities.sum(1)
    probabilities.div_(total[:, None])
    first = torch.bmm(probabilities[:, None], logits[:, :, None])[:, 0, 0]
    second = torch.bmm(probabilities[:, None], logits.square_()[:, :, None])[:, 0, 0]
    sigma = (second - first.square()).clamp_min(1e-12).sqrt()
    # the maximum is 0 after the shift
    return TokenStatistics(total.log() - target_logit, target_logit == 0, (target_logit - first) / sigma), probabilities


def logit_gradient(probabilities: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    """Turn probabilities (n, V), in place, into the gradient of the losses weighted by `weights` (n,)."""
    return probabilities.mul_(weights[:, None]).scatter_add_(1, targets[:, None], -weights[:, None])


def join_statistics(parts: list[TokenStatistics]) -> TokenStatistics:
    """Concatenate the statistics of blocks."""
    return TokenStatistics(*(torch.cat([getattr(part, name) for part in parts]) for name in ("loss", "is_argmax", "z_score")))


def _blocks(num_rows: int) -> Iterator[slice]:
    return (slice(start, min(start + BLOCK, num_rows)) for start in range(0, num_rows, BLOCK))


def _buffers(hidden: Tensor, weight: Tensor) -> Tensor:
    return hidden.new_empty(2, min(BLOCK, len(hidden)), len(weight))


def _probabilities(hidden: Tensor, weight: Tensor, targets: Tensor, buffers: Tensor) -> tuple[Tensor, Tensor]:
    """Return the probabilities of a block of n targets (n, V), in the second of the buffers, and the targets' losses."""
    logits = torch.mm(hidden, weight.t(), out=buffers[0][: len(targets)])
    probabilities = torch.softmax(logits, 1, out=buffers[1][: len(targets)])
    return probabilities, -probabilities.gather(1, targets[:, None])[:, 0].clamp_min_(LEAST).log_()
