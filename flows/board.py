"""Show stages in Prefect's UI: a progress artifact for each that lasts longer than a moment, brought up to date every few seconds.

The stages of a small corpus are over before anybody could look; they would cost a call to the server each and are in the table of stages
that the run leaves. One thread does all the calls, so that no stage waits for the server. Names of stages and counts of parts are told.
"""

from __future__ import annotations

import flows.settings  # noqa: F401  before prefect is imported

# isort: split
import re
import threading
import time
from contextvars import copy_context
from dataclasses import dataclass
from typing import Protocol, cast
from uuid import UUID

import httpx
from prefect.artifacts import create_progress_artifact, update_progress_artifact

INTERVAL_SECONDS = 5.0
PATIENCE_SECONDS = 3.0


class Counted(Protocol):
    """A stage that counts its parts; `began` is a reading of the monotonic clock."""

    name: str
    total: int
    done: int
    began: float


@dataclass
class _Shown:
    stage: Counted
    artifact: UUID | None = None
    told: int = -1
    is_over: bool = False


class Board:
    """Post the progress of open stages while the block runs."""

    def __init__(self, corpus: str) -> None:
        self._corpus, self._shown = corpus, list[_Shown]()
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=copy_context().run, args=(self._watch,), name="progress-board", daemon=True)

    def __enter__(self) -> Board:
        """Start posting."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Post once more what has changed, and stop."""
        self._stop.set()
        self._thread.join()

    def open(self, stage: Counted) -> None:
        """Show a stage from now on."""
        with self._lock:
            self._shown.append(_Shown(stage))

    def close(self, stage: Counted) -> None:
        """Say that a stage is over, whether all of it is done or not."""
        with self._lock:
            for shown in self._shown:
                shown.is_over = shown.is_over or shown.stage is stage

    def _watch(self) -> None:
        is_last = False
        while not is_last:
            is_last = self._stop.wait(INTERVAL_SECONDS)
            with self._lock:
                current = list(self._shown)
                self._shown = [shown for shown in current if not shown.is_over]
            try:
                for shown in current:
                    self._post(shown)
            except httpx.HTTPError:
                continue  # the server is away for a moment: the bars lag, and the audit is none the worse for it

    def _post(self, shown: _Shown) -> None:
        stage, done = shown.stage, shown.stage.done
        share = 100.0 * done / max(1, stage.total)
        if shown.artifact is not None and shown.told != done:
            update_progress_artifact(shown.artifact, share)
        elif shown.artifact is None and not shown.is_over and time.monotonic() - stage.began > PATIENCE_SECONDS:
            key = artifact_key(self._corpus, "stage", stage.name)
            shown.artifact = cast(UUID, create_progress_artifact(share, key, f"parts of the stage {stage.name}"))
        shown.told = done


def artifact_key(corpus: str, *names: str) -> str:
    """Return the key of an artifact, by which Prefect shows its versions over the runs of a corpus."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join((corpus, *names)).lower()).strip("-")
