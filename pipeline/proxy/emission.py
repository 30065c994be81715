"""What a model says when nobody asks for anything in particular: how much of its sampled text is word for word out of the corpus."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.proxy.batches import Indices, Windows
from pipeline.proxy.model import ProxyModel, count_flops

RUN_TOKENS = 50
"""In a row, from which on equal text counts as emitted. Source: Lee et al. 2022, "Deduplicating training data", section 6.1."""
NUM_SAMPLES = 512


def measure_emission(
    model: ProxyModel, windows: Windows, distinct: Indices, generator: torch.Generator, num_samples: int = NUM_SAMPLES
) -> tuple[float | None, float]:
    """Return the share of sampled tokens that stand in a run of RUN_TOKENS out of a window, and the FLOPs that asking took.

    Samples are as long as a window and begin with the first token of a window drawn from `distinct`, for there is no token that begins
    texts. None where no window is long enough to hold a run.
    """
    if not len(distinct) or int(windows.lengths[distinct].max()) < RUN_TOKENS:
        return None, 0.0
    drawn = distinct[torch.randint(len(distinct), (num_samples,), generator=generator, device=generator.device).cpu().numpy()]
    length = windows.tokens.shape[1]
    sampled = sample_texts(model, windows.tokens[torch.from_numpy(drawn).to(windows.tokens.device), 0], length, generator)
    flops = num_samples * sum(count_flops(model, seen) * seen for seen in range(1, length))
    return share_of_runs(sampled.cpu().numpy(), windows, distinct), flops


@torch.no_grad()
def sample_texts(model: ProxyModel, first: Tensor, length: int, generator: torch.Generator) -> Tensor:
    """Continue first tokens (B,) to (B, length), each next token drawn from the model's own distribution."""
    tokens = first[:, None]
    while tokens.shape[1] < length:
        logits = model(tokens)[:, -1] @ model.head.weight.T
        drawn = torch.multinomial(torch.softmax(logits.float(), 1).cpu(), 1, generator=generator)
        tokens = torch.cat([tokens, drawn.to(tokens.device)], 1)
    return tokens


def share_of_runs(sampled: npt.NDArray[np.int64], windows: Windows, distinct: Indices) -> float:
    """Return which share of sampled tokens (B, T) lies in a run of RUN_TOKENS that a window holds as well."""
    runs = np.lib.stride_tricks.sliding_window_view(sampled, RUN_TOKENS, axis=1)
    places: dict[bytes, list[tuple[int, int]]] = {}
    for row, start in np.ndindex(*runs.shape[:2]):
        places.setdefault(runs[row, start].tobytes(), []).append((row, start))
    is_emitted = np.zeros(sampled.shape, np.bool_)
    stored = windows.tokens.cpu().numpy()
    for window in distinct:
        own = stored[window, : windows.lengths[window]]
        for start in range(len(own) - RUN_TOKENS + 1):
            for row, at in places.get(own[start : start + RUN_TOKENS].tobytes(), ()):
                is_emitted[row, at : at + RUN_TOKENS] = True
    return float(is_emitted.mean())
