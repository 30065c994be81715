"""What proxies cost: seconds by kind of work, and the peak that the same core reaches in one plain product.

Times depend on the machine and the moment, so they travel beside the ledger's tables, never in them. The clock is the caller's: on a CPU
seconds that the process computed, so that a busy machine does not show; on a GPU those on the wall.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

PEAK_SIZE = 768
"""Rows of the square matrices of the peak product: three of them, 7 MB, fit the second and third cache."""


@dataclass
class Laps:
    """Add up the seconds that were spent on each kind of work; without a clock all are 0."""

    clock: Callable[[], float] = float
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def lap(self, name: str) -> Iterator[None]:
        """Add the block's time to `name`."""
        start = self.clock()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + self.clock() - start


@dataclass(frozen=True)
class RunCost:
    """Hold what one proxy run cost: operations, token visits of its training, and seconds."""

    training_flops: float
    signal_flops: float
    num_token_visits: int
    training_seconds: float
    signal_seconds: float


def measure_peak(device: str = "cpu", seconds: float = 0.2) -> float:
    """Return the floating-point operations a second of a float32 matrix product: the best of many, one thread on a CPU."""
    import torch

    torch.set_num_threads(1)
    left = torch.randn(PEAK_SIZE, PEAK_SIZE, device=device, generator=torch.Generator(device).manual_seed(0))
    right, out = left.t().contiguous(), torch.empty_like(left)
    clock = time.process_time if device == "cpu" else time.perf_counter
    best, end = float("inf"), clock() + seconds
    while clock() < end or best == float("inf"):
        start = clock()
        torch.mm(left, right, out=out)
        if device != "cpu":
            torch.cuda.synchronize()
        best = min(best, clock() - start)
    return 2.0 * PEAK_SIZE**3 / best
