"""What an audit will cost, before it runs: rows, disk, memory and time from sizes alone.

The rates were measured on two 2.4 GHz cores (the commands stand in reports/log.md); another machine is proportionally faster or slower,
so the estimate is a plan, not a promise.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pipeline.config import AuditConfig

# measured rates and sizes; see reports/log.md
READ_BYTES_PER_SECOND = 60e6
DEDUP_BYTES_PER_SECOND = 15e6
STARTUP_SECONDS = 25.0
WORKER_FLOPS = 22e9
REFERENCE_SHARE = 1.6
SCORE_SECONDS_PER_DOCUMENT = 2e-3
BASE_MEMORY = 0.9e9
WORKER_MEMORY = 0.45e9
PART_MEMORY_FACTOR = 3.0
DOCUMENT_BYTES_SHARE = 0.45
LEDGER_BYTES_PER_ROW = 1500.0
BYTES_PER_TOKEN = 3.3


@dataclass(frozen=True)
class Size:
    """Hold how large a corpus is: files, bytes on disk, rows and bytes of text (estimated from a sample if `is_sampled`)."""

    num_files: int
    input_bytes: int
    num_rows: int
    text_bytes: int
    is_sampled: bool


@dataclass(frozen=True)
class Plan:
    """Hold an estimate: seconds per stage, bytes of disk and memory, and the proxies' budget."""

    size: Size
    seconds: dict[str, float]
    memory_bytes: int
    disk_bytes: int
    num_proxies: int
    proxy_flops: float
    num_token_visits: int

    def as_dict(self) -> dict[str, Any]:
        """Return the plan as JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class ProxyCost:
    """Hold one kind of proxy run: how many there are, floating-point operations per trained token, share of the subsample it trains on."""

    num_runs: int
    flops_per_token: float
    share: float
    has_gradients: bool


def plan_audit(size: Size, proxies: list[ProxyCost], forward_flops: float, config: AuditConfig) -> Plan:
    """Estimate an audit. `forward_flops`: of the smallest proxy, per token."""
    tokens = min(float(config.proxy.token_budget), size.text_bytes / BYTES_PER_TOKEN)
    visits = [cost.num_runs * cost.share * config.proxy.epochs * tokens for cost in proxies]
    training = sum(visit * cost.flops_per_token for visit, cost in zip(visits, proxies, strict=True))
    probes = sum(
        cost.num_runs * tokens * cost.flops_per_token * (config.proxy.num_checkpoints if cost.has_gradients else 1 / 3) for cost in proxies
    )
    scored = min(size.text_bytes / BYTES_PER_TOKEN, float(size.num_rows * config.proxy.max_scored_tokens))
    workers = config.proxy.workers
    seconds = {
        "start": STARTUP_SECONDS,
        "documents": size.text_bytes / READ_BYTES_PER_SECOND,
        "deduplication": size.text_bytes / DEDUP_BYTES_PER_SECOND,
        "proxies": (training + probes) / WORKER_FLOPS / workers,
        "reference": scored * forward_flops * REFERENCE_SHARE / WORKER_FLOPS / workers,
        "scores": size.num_rows * SCORE_SECONDS_PER_DOCUMENT,
    }
    part = min(float(config.input.bytes_per_part), float(size.text_bytes))
    return Plan(
        size,
        {name: round(value, 1) for name, value in seconds.items()},
        int(BASE_MEMORY + workers * WORKER_MEMORY + PART_MEMORY_FACTOR * part),
        int(2 * DOCUMENT_BYTES_SHARE * size.text_bytes + LEDGER_BYTES_PER_ROW * size.num_rows),
        sum(cost.num_runs for cost in proxies),
        training + probes,
        int(sum(visits)),
    )
