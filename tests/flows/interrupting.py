"""Runs in processes of their own that are killed or ended, and what they leave compared with what an undisturbed run left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import psutil
import yaml

from flows.holders import is_alive
from flows.orphans import EPHEMERAL
from pipeline.config import AuditConfig

PASSING = (".lock-", "/anchors/", "/shingle_sets/", "/scratch/", ".tmp")
"""What a kill may leave beside whole results, and what may be deleted at any time when nothing runs."""


def start(config: AuditConfig, command: str, moment: str, home: Path) -> subprocess.Popen[bytes]:
    """Start a command with a configuration; `home` is Prefect's."""
    file = Path(config.runtime.ledger).parent / "audit.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_unset=True)))
    arguments = [sys.executable, "-m", "tests.flows.killed_at", moment, command, str(file), "--quiet"]
    environment = {**os.environ, "PREFECT_HOME": str(home)}
    # not a pipe: a server that is left behind would hold it open
    with _said(config).open("w") as out:
        return subprocess.Popen(arguments, env=environment, stdout=out, stderr=out)


def end(config: AuditConfig, process: subprocess.Popen[bytes], timeout: float = 1200.0) -> tuple[int, str]:
    """Wait for a command and return its exit code and what it said."""
    return process.wait(timeout), _said(config).read_text()


def _said(config: AuditConfig) -> Path:
    return Path(config.runtime.ledger).parent / "said.txt"


def wait_for(config: AuditConfig, event: str, process: subprocess.Popen[bytes], timeout: float = 120.0) -> None:
    """Wait until the log of a run tells of something, such as a stage's name."""
    until = time.monotonic() + timeout
    while time.monotonic() < until and process.poll() is None:
        if any(event in path.read_text() for path in Path(config.runtime.reports).glob("*/log.jsonl")):
            return
        time.sleep(0.02)
    raise AssertionError(f"the run did not come to {event}: {_said(config).read_text()}")


def terminate(config: AuditConfig, process: subprocess.Popen[bytes], grace: float = 120.0) -> tuple[int, str, list[str]]:
    """Send TERM; return the exit code, what was said, and which of the process's descendants live on."""
    own = [(child.pid, child.create_time(), " ".join(child.cmdline())[:80]) for child in _descendants(process.pid)]
    process.send_signal(signal.SIGTERM)
    code, said = end(config, process, grace)
    # a tracker of resources ends by itself once it reads that its process is gone
    until = time.monotonic() + 10.0
    while (left := [what for pid, started, what in own if is_alive(pid, started)]) and time.monotonic() < until:
        time.sleep(0.1)
    return code, said, left


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def servers(home: Path) -> list[int]:
    """Return the local Prefect servers that run over a database, whoever started them."""
    found = []
    for process in psutil.process_iter():
        try:
            told = process.environ()
        except (psutil.Error, OSError):
            continue
        if told.get(EPHEMERAL) == "1" and told.get("PREFECT_HOME") == str(home):
            found.append(process.pid)
    return found


def whole_files(folder: Path) -> Mapping[str, bytes]:
    """Return the bytes of every file below a folder that is a result."""
    files = {f"/{path.relative_to(folder)}": path for path in sorted(folder.rglob("*")) if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if not any(each in name for each in PASSING)}


def differing(one: AuditConfig, other: AuditConfig) -> list[str]:
    """Return which files of the ledger's tables, of the filtered data and of the reports' tables differ between two runs' places."""
    faults = []
    for place in ("ledger", "filtered", "reports"):
        mine, theirs = (whole_files(Path(getattr(config.runtime, place))) for config in (one, other))
        names = {name for name in (*mine, *theirs) if place == "filtered" or name.endswith(".parquet") or "/stages/" in name}
        faults += [f"{place}{name}" for name in sorted(names) if mine.get(name) != theirs.get(name)]
    return faults
