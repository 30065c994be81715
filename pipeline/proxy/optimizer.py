"""AdamW over one flat vector that all parameters are views of.

One pass over everything whatever the number of layers, the second moment at hand for absorption, and 130 MB less memory in every worker
than `torch.optim`, which loads the compiler.
"""

from __future__ import annotations

from itertools import accumulate

import torch
from torch import Tensor, nn

BETAS = (0.9, 0.95)
EPSILON = 1e-8
MAX_GRAD_NORM = 1.0


class AdamW:
    """Hold the moments of a model's parameters, and lay the parameters themselves into one vector.

    Source: Kingma and Ba 2015, algorithm 1; Loshchilov and Hutter 2019, algorithm 2 (decoupled decay, here of matrices only).
    """

    def __init__(self, model: nn.Module, weight_decay: float) -> None:
        matrices = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
        vectors = [parameter for parameter in model.parameters() if parameter.ndim < 2]
        self.parameters: list[nn.Parameter] = [*matrices, *vectors]
        ends = list(accumulate(parameter.numel() for parameter in self.parameters))
        self.bounds = list(zip([0, *ends[:-1]], ends, strict=True))
        self.num_decayed = sum(parameter.numel() for parameter in matrices)
        self.weight_decay = weight_decay
        self.values = torch.cat([parameter.detach().reshape(-1) for parameter in self.parameters])
        for parameter, (start, end) in zip(self.parameters, self.bounds, strict=True):
            parameter.data = self.values[start:end].view(parameter.shape)
        self.first = torch.zeros_like(self.values)
        self.second = torch.zeros_like(self.values)
        self.num_steps = 0

    @torch.no_grad()
    def step(self, rate: float) -> None:
        """Clip the gradients at norm 1, update every parameter at learning rate `rate`, and drop the gradients."""
        gradient = torch.cat([_gradient(parameter) for parameter in self.parameters])
        gradient.mul_((MAX_GRAD_NORM / (torch.linalg.vector_norm(gradient) + 1e-6)).clamp_max(1.0))
        self.num_steps += 1
        step = self.values.new_tensor(float(self.num_steps))
        # torch's fused kernel: ten operations, one after another, were a tenth of a small model's step
        for rows, decay in ((slice(None, self.num_decayed), self.weight_decay), (slice(self.num_decayed, None), 0.0)):
            torch._fused_adamw_(
                [self.values[rows]],
                [gradient[rows]],
                [self.first[rows]],
                [self.second[rows]],
                [],
                [step],
                lr=rate,
                beta1=BETAS[0],
                beta2=BETAS[1],
                weight_decay=decay,
                eps=EPSILON,
                amsgrad=False,
                maximize=False,
            )
        for parameter in self.parameters:
            parameter.grad = None

    def second_moment(self) -> tuple[Tensor, float]:
        """Return what the next step's v_hat is made of: a vector to which it adds a share of its own squared gradient, and that share."""
        correction = 1.0 - BETAS[1] ** (self.num_steps + 1)
        return self.second * (BETAS[1] / correction), (1.0 - BETAS[1]) / correction

    def by_parameter(self, vector: Tensor) -> dict[Tensor, Tensor]:
        """Cut a vector laid out like `values` into views, one a parameter."""
        return {
            parameter: vector[start:end].view(parameter.shape) for parameter, (start, end) in zip(self.parameters, self.bounds, strict=True)
        }


def _gradient(parameter: nn.Parameter) -> Tensor:
    return torch.zeros_like(parameter).reshape(-1) if parameter.grad is None else parameter.grad.reshape(-1)
