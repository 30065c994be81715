"""End the local Prefect servers of processes that were killed: one left over keeps the database busy for every later run.

A server that a flow starts for itself inherits a mark that names the process. One whose process is gone, on this machine and over the
same database, is an orphan. Others' servers, and those started on purpose, carry no such mark or have a living process.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping

import psutil

from flows.holders import is_alive, machine

MARK = "SINKAUDIT_SERVER_OF"
EPHEMERAL = "PREFECT__SERVER_EPHEMERAL"
DATABASE = ("PREFECT_HOME", "PREFECT_SERVER_DATABASE_CONNECTION_URL", "PREFECT_API_DATABASE_CONNECTION_URL")
PATIENCE_SECONDS = 5.0


def settle_servers() -> int:
    """Mark servers that this process will start as its own, end those of processes that are gone, and return how many those were."""
    os.environ[MARK] = f"{os.getpid()} {psutil.Process().create_time()} {machine()}"
    orphans = list(_orphans())
    for process in orphans:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    _, stubborn = psutil.wait_procs(orphans, PATIENCE_SECONDS)
    for process in stubborn:
        with contextlib.suppress(psutil.Error):
            process.kill()
    return len(orphans)


def _orphans() -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        try:
            told = process.environ()
        except (psutil.Error, OSError):
            continue  # another user's, or gone
        if told.get(EPHEMERAL) == "1" and _has_lost_its_process(told) and all(told.get(name) == os.environ.get(name) for name in DATABASE):
            yield process


def _has_lost_its_process(told: Mapping[str, str]) -> bool:
    pid, _, rest = told.get(MARK, "").partition(" ")
    started, _, where = rest.partition(" ")
    return bool(rest) and where == machine() and not is_alive(int(pid), float(started))
