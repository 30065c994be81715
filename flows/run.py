"""Hold what one run shares: its identity, its ledger, its clock, its log.

Flows and tasks reach it through `current()`, because Prefect's parameters should be values, not open files and threads.
"""

from __future__ import annotations

import flows.settings  # noqa: F401  before prefect is imported

# isort: split
import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, TypeVar

from flows.ledger import Ledger
from flows.locks import Check, claimed
from flows.measure import Meter, StageTiming
from flows.origin import Origin
from flows.progress import Narrator
from flows.progress import Stage as ShownStage
from flows.references import Named, find_references
from flows.runners import Workers, open_workers
from pipeline import store
from pipeline.config import AuditConfig, canonical_json
from pipeline.heap import give_back, limit_arenas
from pipeline.parallel import Mapper
from pipeline.proxy.base import own_files
from pipeline.release.waivers import expired
from pipeline.store import Artifact
from pipeline.versions import made_by

ALL_CODE = ("corpus", "dedup", "proxy", "risk", "release", "report", "rows", "text", "statistics", "config", "store")
GLUE = tuple(
    Path(__file__).with_name(f"{name}.py") for name in ("tasks", "deduplicate", "score", "examine", "release", "reporting", "records")
)
"""What of the flows decides what a run leaves."""
log = logging.getLogger("sinkaudit")
T = TypeVar("T")
R = TypeVar("R")


@dataclass
class Run:
    """Hold one run: `run_id` is the configuration's name and a digest of input, settings and code, so equal audits share it."""

    config: AuditConfig
    input_digest: str
    run_id: str
    narrator: Narrator
    meter: Meter
    ledger: Ledger
    workers: Workers
    references: tuple[Named, ...] = ()
    lines: list[str] = field(default_factory=list)
    today: date = field(default_factory=lambda: this_day())
    origin: Origin | None = None  # of a run that is decided again from the tables of another
    check_claim: Check = lambda: None  # raises where another process may have taken over, as a lease on an object store can be lost

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
            give_back()
            timing.text_bytes = self.meter.text_bytes = timing.text_bytes or self.meter.text_bytes
            shown.note = "(in the ledger already)" if timing.was_cached else f"{timing.rows:,} rows" if timing.rows else ""
        self.write_log("stage", **timing.as_dict())

    def write(self, name: str, text: str) -> None:
        """Write one file of the report's folder."""
        store.write_bytes(f"{self.reports}/{name}", text.encode())

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

    def settle(self, artifact: Artifact, was_cached: bool) -> Artifact:
        """Record what the stage made, or found, and return it."""
        self.timing.rows, self.timing.bytes, self.timing.was_cached = artifact.num_rows, artifact.num_bytes, was_cached
        if artifact.table == "documents" and self.bar.name != "references":
            self.timing.text_bytes = artifact.facts["bytes"]
        if self.bar.done < self.bar.total:
            self.bar.advance()
        return artifact

    def count(self, rows: int, num_bytes: int) -> None:
        """Record what the stage wrote outside the ledger."""
        self.timing.rows, self.timing.bytes = rows, num_bytes
        self.bar.advance()

    def watched(self, mapper: Mapper) -> Mapper:
        """Return a mapper that advances the stage by every item that is done."""

        def watch(function: Callable[[T], R], items: Iterable[T], /) -> Iterator[R]:
            for result in mapper(function, items):
                self.bar.advance()
                yield result

        return watch

    def gather(self, table: str, folder: str, made: Sequence[tuple[Artifact, bool]]) -> Artifact:
        """Describe a table's parts, made or found, as one table."""
        pieces = [piece for piece, _ in made]
        return self.settle(store.gather(table, folder, pieces, merge_counts(pieces)), all(was_cached for _, was_cached in made))


def merge_counts(pieces: Sequence[Artifact]) -> dict[str, Any]:
    """Join the facts of a table's parts: counts add up, of a `largest_` the largest stays, anything else has to agree."""
    merged: dict[str, Any] = {}
    for piece in pieces:
        for name, value in piece.facts.items():
            if name not in merged:
                merged[name] = value
            elif isinstance(value, (str, dict)):
                assert merged[name] == value, "parts of one table share their settings"
            else:
                merged[name] = max(merged[name], value) if name.startswith("largest_") else merged[name] + value
    return merged


_current: ContextVar[Run] = ContextVar("run")


def current() -> Run:
    """Return the run that the calling flow or task belongs to."""
    return _current.get()


@contextmanager
def running(
    config: AuditConfig, input_digest: str, *, quiet: bool = False, origin: Origin | None = None, claim: str | None = None
) -> Iterator[Run]:
    """Open a run for the block: memory meter on, progress live. Where it is decided again from another, that one's references are its own.

    claim: what the block does to the run's places; at the same of one run there is one process at a time. None: it reads only.

    Raises: BusyError when another process is at it; what `find_references` does; InputError for a base or tokenizer that proxies cannot
    start from.
    """
    references, today = origin.references if origin else find_references(config), this_day()
    made_from = origin.digest if origin else input_digest
    completed = [reference.name for reference in references if reference.is_completed]
    named = [*(reference.digest for reference in references), *completed, *own_files(config.proxy)]
    run_id = run_id_of(config, made_from, named, expired(config.release.waivers, today))
    limit_arenas(config.runtime.workers)
    narrator = Narrator(config.name, quiet=quiet)
    runtime = config.runtime
    held = nullcontext(lambda: None) if claim is None else claimed((runtime.ledger, runtime.filtered, runtime.reports), f"{run_id}-{claim}")
    with held as check_claim, Meter() as meter, narrator.live(), open_workers(runtime) as workers:
        run = Run(
            config,
            input_digest,
            run_id,
            narrator,
            meter,
            Ledger(config.runtime.ledger, config.runtime.scratch),
            workers,
            references,
            today=today,
            origin=origin,
            check_claim=check_claim,
        )
        token = _current.set(run)
        try:
            yield run
        finally:
            _current.reset(token)


def this_day() -> date:
    """Return the day in UTC: the one thing of the clock that may decide a verdict, by ending waivers."""
    return datetime.now(UTC).date()


def run_id_of(config: AuditConfig, input_digest: str, references: Sequence[str] = (), past_waivers: Sequence[str] = ()) -> str:
    """Return name and digest of input, references and other files named by path, settings, code, and of which waivers are past their day.

    Where results go, how many workers make them and how the files were listed is not part of it: none of that changes a byte.
    """
    decided = (input_digest, list(references), settings_of(config), list(past_waivers))
    return f"{config.name}-{store.digest_of(*decided, made_by(*ALL_CODE, glue=GLUE))[:10]}"


def settings_of(config: AuditConfig) -> str:
    """Return as canonical JSON what of a configuration decides results: digests speak for the paths of the input and of references.

    Of validation nothing does: it comes after an audit and is never part of it.
    """
    unplaced = config.input.model_copy(update={"paths": (), "dataset": None, "files": (), "new_only": False})
    reference = config.reference.model_copy(update={"paths": (), "runs": ()})
    aside = {"runtime": type(config.runtime)(), "validation": type(config.validation)()}
    return canonical_json(config.model_copy(update={**aside, "input": unplaced, "reference": reference}))
