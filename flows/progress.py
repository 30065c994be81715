"""Tell a person how far the run is: bars on a terminal, one plain line every ten seconds otherwise, always on stderr.

In Prefect's UI each stage that lasts has a bar, too (`flows.board`).
"""

from __future__ import annotations

import flows.settings  # noqa: F401  before prefect is imported

# isort: split
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from prefect.context import FlowRunContext
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from flows.board import Board

PLAIN_INTERVAL_SECONDS = 10.0


class Narrator:
    """Show stages as they begin, advance and end. Thread-safe: parts of one stage finish in several threads."""

    def __init__(self, corpus: str = "", *, quiet: bool = False) -> None:
        self._board = Board(corpus) if FlowRunContext.get() is not None else None
        self._console = Console(stderr=True, quiet=quiet, highlight=False)
        self._lock = threading.Lock()
        self._bars: Progress | None = None
        self._spoke = 0.0

    @contextmanager
    def stage(self, name: str, total: int = 1) -> Iterator[Stage]:
        """Show one stage of `total` parts while the block runs."""
        stage = Stage(self, name, total)
        self._begin(stage)
        if self._board is not None:
            self._board.open(stage)
        try:
            yield stage
        finally:
            self._end(stage)
            if self._board is not None:
                self._board.close(stage)

    @contextmanager
    def live(self) -> Iterator[None]:
        """Draw bars while the block runs: in Prefect if a flow runs, and here if this is a terminal."""
        with self._board or nullcontext(), self._bars_drawn():
            yield

    @contextmanager
    def _bars_drawn(self) -> Iterator[None]:
        if not self._console.is_terminal or self._console.quiet:
            yield
            return
        columns = (
            TextColumn("{task.description:<18}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
        )
        with Progress(*columns, console=self._console) as bars:
            self._bars = bars
            try:
                yield
            finally:
                self._bars = None

    def say(self, line: str) -> None:
        """Print one line."""
        self._console.print(line, markup=False)

    def _begin(self, stage: Stage) -> None:
        if self._bars is not None:
            stage.bar = self._bars.add_task(stage.name, total=stage.total, note="")

    def _end(self, stage: Stage) -> None:
        if self._bars is not None and stage.bar is not None:
            self._bars.update(stage.bar, completed=stage.done, note=stage.note)
            self._bars.stop_task(stage.bar)
        elif self._bars is None:
            self.say(f"{stage.name}: {stage.done} of {stage.total} done in {time.monotonic() - stage.began:.1f} s {stage.note}".rstrip())

    def _advance(self, stage: Stage) -> None:
        with self._lock:
            stage.done += 1
            if self._bars is not None and stage.bar is not None:
                self._bars.update(stage.bar, completed=stage.done)
            elif time.monotonic() - self._spoke > PLAIN_INTERVAL_SECONDS:
                self._spoke = time.monotonic()
                self.say(f"{stage.name}: {stage.done} of {stage.total}")


class Stage:
    """Count the parts of one stage that are done."""

    def __init__(self, narrator: Narrator, name: str, total: int) -> None:
        self.name, self.total, self.done, self.note = name, total, 0, ""
        self.began = time.monotonic()
        self.bar: TaskID | None = None
        self._narrator = narrator

    def advance(self) -> None:
        """Say that one more part is done."""
        self._narrator._advance(self)
