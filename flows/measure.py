"""Measure what each stage costs: seconds, CPU seconds of this process, rows, bytes, and peak memory summed over the process tree.

Memory is resident set size added up over this process and all its descendants (proxy workers, the local Prefect server), sampled five
times a second. Pages shared between processes are counted in each, so the figure is an upper bound.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

import psutil

from flows.work import Work

INTERVAL_SECONDS = 0.2


@dataclass
class StageTiming:
    """Record one stage of one run; `was_cached` says that its outputs stood in the ledger already.

    `rows` and `bytes` are what the stage made; `text_bytes` is the text of the corpus, the same in every stage, so that rates compare.

    `work`: what proxies' work in it cost, by kind, beside the peak of a core or device in operations a second; most stages have none.
    """

    stage: str
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    rows: int = 0
    bytes: int = 0
    peak_memory_bytes: int = 0
    was_cached: bool = False
    text_bytes: int = 0
    work: dict[str, Work] = field(default_factory=dict, repr=False)
    peak_flops_per_second: float | None = field(default=None, repr=False)
    started: float = field(default=0.0, repr=False)
    cpu_started: float = field(default=0.0, repr=False)

    def rate(self, amount: float) -> float | None:
        """Return an amount a second, None where the stage did nothing but find its result."""
        return None if self.was_cached or self.seconds <= 0 or not amount else round(amount / self.seconds, 3)

    def as_dict(self) -> dict[str, Any]:
        """Return the record as JSON values, without the clock readings."""
        values = asdict(self)
        for name in ("started", "cpu_started", "work", "peak_flops_per_second", "text_bytes"):
            del values[name]
        values["rows_per_second"], values["megabytes_per_second"] = self.rate(self.rows), self.rate(self.text_bytes / 1e6)
        if self.work:
            peak = self.peak_flops_per_second
            values["work"] = {kind: work.as_dict(peak) for kind, work in sorted(self.work.items())}
            values["peak_flops_per_second"] = peak
        return {**values, "seconds": round(self.seconds, 3), "cpu_seconds": round(self.cpu_seconds, 3)}


class Meter:
    """Sample the process tree's memory in a thread and keep one record per stage."""

    def __init__(self) -> None:
        self.timings: list[StageTiming] = []
        self.text_bytes = 0  # of the corpus, as soon as it is read
        self.peak_flops_per_second: float | None = None  # of a core or device, measured once a run, where proxies were trained
        self._open: list[StageTiming] = []
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="memory-meter", daemon=True)

    def __enter__(self) -> Meter:
        """Start sampling."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop sampling."""
        self._stop.set()
        self._thread.join()

    @contextmanager
    def stage(self, name: str) -> Iterator[StageTiming]:
        """Time the block as one stage; the block fills in rows, bytes and was_cached."""
        timing = StageTiming(name, started=time.perf_counter(), cpu_started=time.process_time())
        with self._lock:
            self._open.append(timing)
        self._sample()
        try:
            yield timing
        finally:
            self._sample()
            timing.seconds = time.perf_counter() - timing.started
            timing.cpu_seconds = time.process_time() - timing.cpu_started
            with self._lock:
                self._open.remove(timing)
                self.timings.append(timing)

    def record(self, stage: str, kind: str, work: Work) -> None:
        """Add work to the stage of that name, if it is open."""
        with self._lock:
            for timing in self._open:
                if timing.stage == stage:
                    timing.work[kind] = timing.work[kind] + work if kind in timing.work else work

    def _watch(self) -> None:
        while not self._stop.wait(INTERVAL_SECONDS):
            self._sample()

    def _sample(self) -> None:
        used = resident_bytes_of_tree()
        with self._lock:
            for timing in self._open:
                timing.peak_memory_bytes = max(timing.peak_memory_bytes, used)


def resident_bytes_of_tree() -> int:
    """Return the resident bytes of this process and all its descendants, added up."""
    own = psutil.Process()
    total = 0
    for process in (own, *own.children(recursive=True)):
        try:
            total += process.memory_info().rss
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue  # it ended between the listing and the reading
    return total
