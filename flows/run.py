"""Hold what one run shares: its identity, its ledger, its clock, its log.

Flows and tasks reach it through `current()`, because Prefect's parameters should be values, not open files and threads.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from flows.ledger import Ledger
from flows.measure import Meter, StageTiming
from flows.progress import Narrator
from flows.progress import Stage as ShownStage
from pipeline import store
from pipeline.config import AuditConfig, canonical_json

TIMING = "_timing.json"
log = logging.getLogger("sinkaudit")


@dataclass
class Run:
    """Hold one run: `run_id` is the configuration's name and a digest of input and settings, so equal audits share it."""

    config: AuditConfig
    run_id: str
    narrator: Narrator
    meter: Meter
    ledger: Ledger
    lines: list[str] = field(default_factory=list)

    @property
    def folder(self) -> str:
        """Return the run's own folder: models and pointers into the stages."""
        return f"{self.config.runtime.ledger}/{self.run_id}"

    @property
    def reports(self) -> str:
        """Return the folder of the report and its tables."""
        return f"{self.config.runtime.reports}/{self.run_id}"

    @property
    def filtered(self) -> str:
        """Return the folder of the filtered dataset."""
        return f"{self.config.runtime.filtered}/{self.config.name}/{self.run_id}"

    @contextmanager
    def stage(self, name: str, total: int = 1) -> Iterator[Shown]:
        """Time, show and log one stage; fill in rows, bytes and was_cached on what is yielded."""
        with self.narrator.stage(name, total) as shown, self.meter.stage(name) as timing:
            yield Shown(shown, timing)
            shown.note = "(in the ledger already)" if timing.was_cached else f"{timing.rows:,} rows" if timing.rows else ""
        self.write_log("stage", **timing.as_dict())

    def write_log(self, event: str, **values: Any) -> None:
        """Append one line to log.jsonl: numbers, names and digests only, never corpus text."""
        self.lines.append(json.dumps({"time": round(time.time(), 3), "event": event, **values}, sort_keys=True))
        store.write_bytes(f"{self.reports}/log.jsonl", ("\n".join(self.lines) + "\n").encode())


@dataclass(frozen=True)
class Shown:
    """Join a stage's progress bar and its record."""

    bar: ShownStage
    timing: StageTiming

    def advance(self) -> None:
        """Say that one more part is done."""
        self.bar.advance()

    def settle(self, *artifacts: store.Artifact, was_cached: bool = False) -> None:
        """Record the rows and bytes of what the stage made."""
        self.timing.rows = sum(artifact.num_rows for artifact in artifacts)
        self.timing.bytes = sum(artifact.num_bytes for artifact in artifacts)
        self.timing.was_cached = was_cached


_current: ContextVar[Run] = ContextVar("run")


def current() -> Run:
    """Return the run that the calling flow or task belongs to."""
    return _current.get()


@contextmanager
def running(config: AuditConfig, input_digest: str, *, quiet: bool = False) -> Iterator[Run]:
    """Open a run for the block: memory meter on, progress live."""
    narrator = Narrator(quiet=quiet)
    with Meter() as meter, narrator.live():
        run = Run(config, run_id_of(config, input_digest), narrator, meter, Ledger(config.runtime.ledger))
        token = _current.set(run)
        try:
            yield run
        finally:
            _current.reset(token)


def run_id_of(config: AuditConfig, input_digest: str) -> str:
    """Return name and digest; neither where results go, nor how many workers make them, nor how the files were listed is part of it."""
    unplaced = config.input.model_copy(update={"paths": (), "dataset": None})  # the input's digest speaks for them
    settings = canonical_json(config.model_copy(update={"runtime": type(config.runtime)(), "input": unplaced}))
    return f"{config.name}-{store.digest_of(input_digest, settings)[:10]}"
