"""Who holds a lock: process, machine, since when; and whether that process has ended, where that can be known."""

from __future__ import annotations

import json
import os
import platform
import uuid
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import psutil

from pipeline.errors import BusyError

SAME_START_SECONDS = 2.0


@cache
def machine() -> str:
    """Return what names this boot of this machine and, in it, this container: within it process numbers mean something."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return f"{platform.node()} {uuid.getnode()}"


def is_alive(pid: int, started: float) -> bool:
    """Say whether the process that had this number and start time on this machine runs still."""
    try:
        process = psutil.Process(pid)
        return abs(process.create_time() - started) < SAME_START_SECONDS and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


@dataclass(frozen=True)
class Holder:
    """Name one process that holds a lock. `token` is of this holding alone, `beat` counts its renewals."""

    pid: int = field(default_factory=os.getpid)
    started: float = field(default_factory=lambda: psutil.Process().create_time())
    host: str = field(default_factory=platform.node)
    machine: str = field(default_factory=machine)
    since: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    token: str = field(default_factory=lambda: uuid.uuid4().hex)
    beat: int = 0

    @classmethod
    def from_bytes(cls, data: bytes) -> Holder:
        """Read what `to_bytes` wrote; of anything else, as of a file that was cut short, nobody on no machine."""
        try:
            return cls(**json.loads(data))
        except (ValueError, TypeError):
            return cls(pid=0, started=0.0, host="unknown", machine="", since="unknown", token="")

    def to_bytes(self) -> bytes:
        """Return the holder as JSON."""
        return json.dumps(asdict(self)).encode()

    def renewed(self) -> Holder:
        """Return the same holder one beat later."""
        return replace(self, beat=self.beat + 1)

    def is_here(self) -> bool:
        """Say whether the process was started on this machine, in this boot of it."""
        return self.machine == machine()

    def is_alive(self) -> bool:
        """Say whether the process, which is or was here, runs still."""
        return is_alive(self.pid, self.started)

    def busy(self, path: str) -> BusyError:
        """Return the error that tells of the holder."""
        return BusyError(
            "another process is at this run",
            where=path,
            got=f"process {self.pid} on {self.host}, since {self.since}",
            do="wait until it is done, or end it there (`kill` lets it leave cleanly); the same command then goes on from what it made",
        )
