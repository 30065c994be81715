"""Run a job in a cold process on chosen cores, and print what jobs measured as one table that can be pasted into the log."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import date
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
JOB = Path(__file__).with_name("job.py")
THREADS = ("POLARS_MAX_THREADS", "OMP_NUM_THREADS", "RAYON_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")

Row = dict[str, Any]


def measure(*job: object, python: str = sys.executable, cores: int = 1) -> Row:
    """Return what a job says of itself, with the CPU seconds (user and system, start and end included) and wall seconds of its process."""
    chosen = sorted(os.sched_getaffinity(0))[:cores]
    assert len(chosen) == cores, f"{cores} cores are asked for, {len(chosen)} can be had"
    command = ["taskset", "-c", ",".join(map(str, chosen)), python, str(JOB), *map(str, job)]
    environment = {**os.environ, **dict.fromkeys(THREADS, str(cores)), "PYTHONWARNINGS": "ignore"}
    with tempfile.TemporaryFile("w+") as errors:
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True)
        assert process.stdout is not None
        said = process.stdout.read()
        # children that the job waited for are in it
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.stdout.close()
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        assert process.returncode == 0, f"{' '.join(command)}\n{errors.read()[-3000:]}"
    return {"seconds": usage.ru_utime + usage.ru_stime, "wall": wall, **json.loads(said.splitlines()[-1])}


def row(name: str, measured: Row, megabytes: float, remark: str = "") -> Row:
    """Return a row of the table."""
    return {"name": name, "seconds": measured["seconds"], "peak": measured.get("peak"), "megabytes": megabytes, "remark": remark}


def print_table(rows: list[Row], megabytes: float, documents: int) -> None:
    """Print rows in Markdown, under a line that says on what, when and where they were measured."""
    print(f"\n\n{documents} documents, {megabytes:.1f} MB of raw text; {date.today()}, {_machine()}, Python {platform.python_version()}\n")
    print(f"| {'who':46} | {'CPU s':>8} | {'MB/s':>7} | {'peak MB':>7} | {'remark':60} |")
    print(f"|{'-' * 48}|{'-' * 9}:|{'-' * 8}:|{'-' * 8}:|{'-' * 62}|")
    for each in rows:
        seconds, peak = each["seconds"], each["peak"]
        figures = ("-", "-") if seconds is None else (f"{seconds:.2f}", f"{each['megabytes'] / seconds:.1f}")
        print(f"| {each['name']:46} | {figures[0]:>8} | {figures[1]:>7} | {f'{peak:.0f}' if peak else '':>7} | {each['remark']:60} |")


def _machine() -> str:
    models = [line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return f"{len(models)} x {models[0] if models else platform.machine()}"
