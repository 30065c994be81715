"""Say what proxies' work cost beside the stage's seconds: operations, tokens a second, share of the peak of a core (or device).

Seconds are those that workers computed, added up, so that neither a busy machine nor the number of workers shows in a share.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Literal

from flows.processes import call
from pipeline import store
from pipeline.config import ProxyConfig
from pipeline.proxy.costs import RunCost


@dataclass(frozen=True)
class Work:
    """Record one kind of work; `tokens` is None where counting them says nothing."""

    flops: float
    seconds: float
    tokens: int | None = None

    def __add__(self, other: Work) -> Work:
        tokens = None if self.tokens is None or other.tokens is None else self.tokens + other.tokens
        return Work(self.flops + other.flops, self.seconds + other.seconds, tokens)

    def as_dict(self, peak: float | None) -> dict[str, Any]:
        """Return the record and its rates as JSON values; `peak` in operations a second."""
        rate = self.flops / self.seconds if self.seconds > 0 else None
        return {
            "flops": self.flops,
            "seconds": round(self.seconds, 3),
            "tokens_per_second": round(self.tokens / self.seconds, 1) if self.tokens and self.seconds > 0 else None,
            "share_of_peak": round(rate / peak, 4) if rate is not None and peak else None,
        }


def work_of(cost: RunCost) -> Mapping[str, Work]:
    """Return a proxy run's work by kind."""
    return {
        "training": Work(cost.training_flops, cost.training_seconds, cost.num_token_visits),
        "signals": Work(cost.signal_flops, cost.signal_seconds),
    }


def reading_work(signals_path: str, run_folder: str, seconds: float, config: ProxyConfig) -> Work:
    """Return the work of a part of the reference pass: its scored tokens at the cost that the run's proxy has a token.

    Seconds include reading and cutting the texts.
    """
    tokens = sum(store.read_arrow(signals_path, ["num_scored_tokens"]).column(0).to_pylist())
    trained = store.read_arrow(f"{run_folder}/proxies.parquet", ["training_flops", "num_token_visits"]).to_pylist()[0]
    passes = reading_passes(config) * tokens
    return Work(passes * trained["training_flops"] / (3 * max(1, trained["num_token_visits"])), seconds, tokens)


def reading_passes(config: ProxyConfig) -> int:
    """Return what a token of the reference pass costs, in forward passes; one of training costs three, and so does one with gradients."""
    return 3 if config.reference_gradients else 1


def find_device(pool: Executor, config: ProxyConfig, have_gpus: bool) -> Literal["cpu", "cuda"]:
    """Say where proxies compute; torch is asked, in a worker, only where there may be a GPU or CUDA is demanded.

    Raises: ConfigError when CUDA is asked for and there is none.
    """
    if config.device == "cpu" or (config.device == "auto" and not have_gpus):
        return "cpu"
    found: Literal["cpu", "cuda"] = pool.submit(call, "pipeline.proxy.device", "find_device", config).result()
    return found


def measure_peak(pool: Executor, device: str) -> float:
    """Measure the peak in a worker: 0.2 seconds of plain products, best when nothing else runs."""
    peak: float = pool.submit(call, "pipeline.proxy.costs", "measure_peak", device).result()
    return peak
