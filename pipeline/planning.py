"""What an audit will cost, before it runs: rows, disk, memory and time from sizes alone.

The rates were measured on one machine (the commands stand in reports/log.md); `pace` says how many times its CPU seconds another
machine takes (`pipeline/pace.py`), so the estimate is a plan, not a promise.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from pipeline import costs, memory
from pipeline.config import AuditConfig

# measured rates and sizes of what comes after deduplication; see reports/log.md
STARTUP_SECONDS = 16.0
WORKER_FLOPS = 52e9
REFERENCE_SHARE = 1.6
SCORE_SECONDS_PER_DOCUMENT = 1e-3
BASE_MEMORY = 0.9e9
WORKER_MEMORY = 0.45e9
LEDGER_BYTES_PER_ROW = 800.0
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
class DedupPlan:
    """Hold an estimate of deduplication alone: seconds and CPU seconds by stage, bytes of memory and disk."""

    seconds: dict[str, float]
    cpu_seconds: float
    memory_bytes: int
    disk_bytes: int


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
    deduplication: DedupPlan
    pace: float

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


def unit_of(config: AuditConfig) -> float:
    """Return the bytes that a worker has in hand at most, see `pipeline.memory`."""
    return max(config.input.bytes_per_part, config.dedup.block_bytes, 2 * config.dedup.partition_bytes)


def check_limit(config: AuditConfig, num_rows: int) -> None:
    """Return if so many documents can be deduplicated within the memory limit.

    Raises: ConfigError saying how much they need.
    """
    memory.check_limit(config.runtime.memory_limit, unit_of(config), config.runtime.workers, num_rows)


def plan_dedup(size: Size, config: AuditConfig, pace: float = 1.0) -> DedupPlan:
    """Estimate deduplication alone.

    Raises: ConfigError when the documents do not fit in the memory limit.
    """
    check_limit(config, size.num_rows)
    workers, text = config.runtime.workers, float(size.text_bytes)
    cpu = {name: (cost, pace * cost.cpu_seconds(text)) for name, cost in {"start": costs.START, **costs.STAGES}.items()}
    seconds = {name: round(spent / (workers if cost.is_shared else 1), 1) for name, (cost, spent) in cpu.items()}
    stored = costs.DISK_PER_BYTE * costs.CODEC_SHARE[config.input.codec] + costs.FILTERED_PER_BYTE
    return DedupPlan(
        seconds,
        round(sum(spent for _, spent in cpu.values()), 1),
        int(memory.peak_of(min(unit_of(config), text), workers, size.num_rows)),
        int(stored * text + costs.DISK_PER_ROW * size.num_rows),
    )


def plan_audit(size: Size, proxies: list[ProxyCost], forward_flops: float, config: AuditConfig, pace: float = 1.0) -> Plan:
    """Estimate an audit. `forward_flops`: of the smallest proxy, per token.

    Raises: ConfigError when the documents do not fit in the memory limit.
    """
    copies = plan_dedup(size, config, pace)
    tokens = min(float(config.proxy.token_budget), size.text_bytes / BYTES_PER_TOKEN)
    visits = [cost.num_runs * cost.share * config.proxy.epochs * tokens for cost in proxies]
    training = sum(visit * cost.flops_per_token for visit, cost in zip(visits, proxies, strict=True))
    probes = sum(
        cost.num_runs * tokens * cost.flops_per_token * (config.proxy.num_checkpoints if cost.has_gradients else 1 / 3) for cost in proxies
    )
    scored = min(size.text_bytes / BYTES_PER_TOKEN, float(size.num_rows * config.proxy.max_scored_tokens))
    workers = config.proxy.workers
    further = {
        "start": STARTUP_SECONDS,
        "proxies": (training + probes) / WORKER_FLOPS / workers,
        "reference": scored * forward_flops * REFERENCE_SHARE / WORKER_FLOPS / workers,
        "scores": size.num_rows * SCORE_SECONDS_PER_DOCUMENT,
    }
    seconds = copies.seconds | {name: copies.seconds.get(name, 0.0) + pace * spent for name, spent in further.items()}
    return Plan(
        size,
        {name: round(value, 1) for name, value in seconds.items()},
        max(int(BASE_MEMORY + workers * WORKER_MEMORY), copies.memory_bytes),
        int(copies.disk_bytes + LEDGER_BYTES_PER_ROW * size.num_rows),
        sum(cost.num_runs for cost in proxies),
        training + probes,
        int(sum(visits)),
        copies,
        round(pace, 2),
    )
