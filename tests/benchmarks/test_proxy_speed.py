"""How fast proxies train: tokens a second and the share of one core's sgemm peak, by model size and batch shape.

    python -m pytest -m benchmark -s tests/benchmarks/test_proxy_speed.py

One thread, float32, full windows of random tokens: the training step of an audit, loss and optimizer included, in CPU seconds. Of the
steps the tenth that was least disturbed counts, as of the peak the best: a plain product of 768 x 768 matrices, before and after each
row. Bars: 40% at 0.15 million non-embedding parameters, 60% at 1 million. PROXY_BENCH_COMPILE=1 adds columns for torch.compile.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import polars as pl
import pytest
import torch

from pipeline.config import ProxyConfig
from pipeline.heap import keep_memory
from pipeline.proxy.costs import Laps, measure_peak
from pipeline.proxy.device import CPU, Device
from pipeline.proxy.splits import ProxySpec
from pipeline.proxy.training import train_proxy
from pipeline.tables import PROXY_SPLITS, SAMPLES

DIALS = (2, 3, 4, 5.5)
SHAPES = ((64, 4), (64, 8), (64, 16), (128, 4), (128, 8), (128, 16), (128, 32))
NUM_STEPS = 40


class Steps(Laps):
    """Keep the seconds of every step, so that warming up and disturbances can be left out."""

    def __init__(self) -> None:
        super().__init__(time.process_time)
        self.training: list[float] = []

    @contextmanager
    def lap(self, name: str) -> Iterator[None]:
        start = self.clock()
        yield
        if name == "training":
            self.training.append(self.clock() - start)


def measure(dial: float, context: int, batch_windows: int, device: Device = CPU, vocab_size: int = 2048) -> dict[str, float]:
    """Train one small proxy; return its parameters, tokens a second, share of the peak and seconds of the first step."""
    torch.set_num_threads(1)
    keep_memory()  # as workers do
    count = NUM_STEPS * batch_windows
    tokens = np.random.default_rng(0).integers(0, vocab_size, (count, context)).astype(np.int32)
    keys = [number.to_bytes(16, "little") for number in range(count)]
    rows = [(at, at, key, at, 0, context, context, tokens[at].tolist()) for at, key in enumerate(keys)]
    samples = SAMPLES.check(pl.DataFrame(rows, schema=dict(SAMPLES.columns), orient="row"))
    splits = PROXY_SPLITS.check(pl.DataFrame({"cluster_id": keys, "proxy": "label-0-0a", "in_training": True}))
    config = ProxyConfig(ladder=(dial, dial + 1, dial + 2), context=context, batch_windows=batch_windows, epochs=1.0)
    steps, before = Steps(), measure_peak()
    run = train_proxy(ProxySpec("label-0-0a", "label_half", 0, 0, 0, 1), samples, splits, vocab_size, config, device=device, laps=steps)
    peak, row = max(before, measure_peak()), run.proxies.row(0, named=True)
    step = float(np.quantile(steps.training[5:], 0.1))
    return {
        "parameters": row["num_parameters"],
        "tokens": batch_windows * context / step,
        "share": row["training_flops"] / NUM_STEPS / step / peak,
        "peak": peak,
        "first": steps.training[0],
    }


@pytest.mark.benchmark
def test_proxy_speed(capsys: pytest.CaptureFixture[str]) -> None:
    """Print the table; fail only if a measurement does."""
    compiled = Device(torch.device("cpu"), compiler="inductor")
    lines = [
        "| parameters | window | batch | tokens/s | share of peak | compiled | compiled/plain | first compiled step |",
        "|---:" * 8 + "|",
    ]
    for dial in DIALS:
        for context, batch in SHAPES:
            plain = measure(dial, context, batch)
            line = f"| {plain['parameters'] / 1e6:.2f}M | {context} | {batch} | {plain['tokens']:,.0f} | {plain['share']:.0%} |"
            if os.environ.get("PROXY_BENCH_COMPILE"):
                torch._dynamo.reset()
                fast = measure(dial, context, batch, compiled)
                line += f" {fast['share']:.0%} | {fast['tokens'] / plain['tokens']:.2f} | {fast['first']:.0f} s |"
            lines.append(line)
            assert plain["tokens"] > 0
    with capsys.disabled():
        print("\n" + "\n".join(lines))
