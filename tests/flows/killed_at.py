"""Run the command line and kill this process with SIGKILL at a chosen moment: `python -m tests.flows.killed_at MOMENT run audit.yaml`.

MOMENT: `stage:NUMBER:before|after` (of the stages in the order a run opens them), `call:NAME:before|after` (of a step that no stage
covers), `write:NUMBER` (a file is written whole under its passing name, and has not appeared yet), `never`.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from typing import Any

import flows.audit
import flows.release
import flows.reporting
import flows.run
import pipeline.places
from flows.cli import main

CALLS: dict[str, Any] = {
    "seal": flows.release,
    "write_report": flows.release,
    "publish_release": flows.release,
    "write_index": flows.reporting,
    "finish": flows.audit,
}


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _at_stage(wanted: int, is_before: bool) -> None:
    opened, stage = count(), flows.run.Run.stage

    @contextmanager
    def killed(run: flows.run.Run, name: str, total: int = 1) -> Iterator[Any]:
        number = next(opened)
        if number == wanted and is_before:
            _die()
        with stage(run, name, total) as shown:
            yield shown
        if number == wanted:
            _die()

    setattr(flows.run.Run, "stage", killed)  # noqa: B010  mypy lets no method be assigned


def _at_call(name: str, is_before: bool) -> None:
    call: Callable[..., Any] = getattr(CALLS[name], name)

    def killed(*args: Any, **kwargs: Any) -> Any:
        if is_before:
            _die()
        result = call(*args, **kwargs)
        _die()
        return result

    setattr(CALLS[name], name, killed)


def _at_write(wanted: int) -> None:
    written, finish = count(), pipeline.places.Unfinished.finish

    def killed(file: pipeline.places.Unfinished) -> None:
        if next(written) == wanted:
            _die()
        finish(file)

    setattr(pipeline.places.Unfinished, "finish", killed)  # noqa: B010  mypy lets no method be assigned


def _arm(moment: str) -> None:
    kind, _, rest = moment.partition(":")
    which, _, side = rest.partition(":")
    if kind == "stage":
        _at_stage(int(which), side == "before")
    elif kind == "call":
        _at_call(which, side == "before")
    elif kind == "write":
        _at_write(int(which))


if __name__ == "__main__":
    _arm(sys.argv.pop(1))
    main()
