"""How fast this machine is, at this hour, at what an audit's stages do: the plan's rates are those of one machine, at one hour.

Between machines, and between hours of a shared one, the same work takes up to twice the CPU seconds, some of it because of the
processor, more of it because of memory. So a small piece of such work is done and timed: bytes hashed, words gathered, text compressed,
and memory taken that nobody used before. No kernel of ours is in it: on a new machine those would have to be compiled first.
"""

from __future__ import annotations

import mmap
import time
import zlib
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from blake3 import blake3

REFERENCE_SECONDS = 0.025
"""CPU seconds of one piece on the machine, and in the hour, that `pipeline/costs.py` and the proxies' rate were measured in."""
NUM_BYTES, NUM_WORDS, NUM_GATHERED, NUM_COMPRESSED, NUM_FRESH = 32 << 20, 50_000, 1 << 20, 1 << 19, 8 << 20
"""Sizes at which the four parts take about as long as one another on the reference."""
NUM_PIECES = 9


def measure_pace() -> float:
    """Return how many times the CPU seconds of the reference this machine takes now, in about a quarter of a second."""
    work = _Work.draw()
    work.do()
    return median(work.do() for _ in range(NUM_PIECES)) / REFERENCE_SECONDS


@dataclass(frozen=True)
class _Work:
    """Hold what a piece works on, drawn by a fixed seed."""

    data: npt.NDArray[np.uint8]
    words: Any
    gathered: Any

    @classmethod
    def draw(cls) -> _Work:
        rng = np.random.default_rng(0)
        return cls(
            rng.integers(0, 256, NUM_BYTES, np.uint8),
            pa.array([f"w{number:x} " for number in rng.integers(0, 1 << 24, NUM_WORDS)], pa.large_binary()),
            pa.array(rng.integers(0, NUM_WORDS, NUM_GATHERED)),
        )

    def do(self) -> float:
        """Do the piece and return its CPU seconds."""
        start = time.process_time()
        blake3(self.data.data).digest()
        text = self.words.take(self.gathered).buffers()[2]
        zlib.compress(memoryview(text)[:NUM_COMPRESSED], 1)
        with mmap.mmap(-1, NUM_FRESH) as fresh:
            fresh[:] = self.data.data[:NUM_FRESH]
        return time.process_time() - start
