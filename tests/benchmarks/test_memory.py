"""Memory and plan: does the peak stay level as the corpus grows, does it keep to the limit, does `sinkaudit plan` foresee what happens.

    BENCH_TEXT=/folder         at least eight Parquet files of about equal size (what `growing` writes); default: grown from the samples
    BENCH_LIMIT=1.5GB          runtime.memory_limit

Peaks are of all processes together, Prefect's local server included. What each document costs: `per_document.py`; what stages cost:
`calibrate.py`.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from flows.plan import measure
from pipeline.config import parse_config
from pipeline.memory import parse_size
from pipeline.pace import measure_pace
from pipeline.planning import DedupPlan, plan_dedup
from tests.benchmarks.calibrate import Measured, deduplicate
from tests.benchmarks.growing import grow

SAMPLES = Path(__file__).parents[2] / "data" / "samples" / "corpus"
LEVEL, FORESEEN = 1.15, 0.3
EIGHTHS = (1, 2, 4, 8)
STAGES = ("documents", "candidates", "verification", "clusters", "removals", "quality", "spans")


@pytest.mark.benchmark
def test_memory_is_level_and_foreseen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From one eighth to all of a corpus the peak rises by at most 15%, stays below the limit, and plan is within 30% throughout."""
    files, limit = _files(tmp_path), os.environ.get("BENCH_LIMIT", "1.5GB")
    setting = f"runtime.memory_limit={limit}"
    deduplicate(files[:1], tmp_path / "work", setting)  # fills the cache of compiled kernels
    rows = []
    for eighths in EIGHTHS:
        chosen = files[: len(files) * eighths // 8]
        rows.append((_plan(chosen, limit), deduplicate(chosen, tmp_path / "work", setting)))
    with capsys.disabled():
        print(f"\n\nlimit {limit}; MB: planned / was")
        for eighths, (planned, was) in zip(EIGHTHS, rows, strict=True):
            print(f"{eighths}x {was.values['text_bytes'] / 1e6:6.0f} MB  {_compared(planned, was)}")
            print("   " + ", ".join(f"{name} {was.stage(name)['peak_memory_bytes'] / 1e6:.0f}" for name in STAGES))
    peaks = [peak_of(was) for _, was in rows]
    assert max(peaks) <= LEVEL * peaks[0]
    assert max(was.values["peak_memory_bytes"] for _, was in rows) <= parse_size(limit)
    for planned, was in rows:
        for one, other in _pairs(planned, was).values():
            assert abs(one / other - 1) <= FORESEEN, _compared(planned, was)


def peak_of(was: Measured) -> int:
    """Return the peak of deduplication itself; writing filtered data comes after it."""
    return max(was.stage(name)["peak_memory_bytes"] for name in STAGES)


def _files(folder: Path) -> list[Path]:
    if ready := os.environ.get("BENCH_TEXT"):
        return sorted(Path(ready).rglob("*.parquet"))
    return sorted(grow(SAMPLES, folder / "corpus", 64).rglob("*.parquet"))


def _plan(files: list[Path], limit: str) -> DedupPlan:
    raw = {"input": {"paths": [str(path) for path in files], "text_column": "text"}, "runtime": {"memory_limit": limit}}
    config = parse_config(raw)
    return plan_dedup(measure(config.input), config, measure_pace())


def _pairs(planned: DedupPlan, was: Measured) -> dict[str, tuple[float, float]]:
    return {
        "memory": (planned.memory_bytes / 1e6, was.values["peak_memory_bytes"] / 1e6),
        "disk": (planned.disk_bytes / 1e6, (was.ledger_bytes + was.filtered_bytes) / 1e6),
        "CPU seconds": (planned.cpu_seconds, was.cpu_seconds),
    }


def _compared(planned: DedupPlan, was: Measured) -> str:
    return "; ".join(f"{name} {one:.0f} / {other:.0f} ({one / other:.2f})" for name, (one, other) in _pairs(planned, was).items())
