"""Measure what deduplication costs: `python tests/benchmarks/calibrate.py CORPUS ... [--check CORPUS ...]`, Parquet with a column text.

Runs `sinkaudit deduplicate` on each, cold, two workers, and fits for each stage what is spent once and for every MB, as `pipeline/costs.py`
holds it; then says what the fit foresees of the corpora to check, which it has not seen, and what happened. A stage is shared by workers if
it took less time than CPU. Leave the machine alone meanwhile.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.optimize import nnls

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Measured:
    """Hold what one deduplication cost: dedup.json, seconds and CPU seconds of all its processes, bytes of ledger and filtered data."""

    values: dict[str, Any]
    wall_seconds: float
    cpu_seconds: float
    ledger_bytes: int
    filtered_bytes: int

    def stage(self, name: str) -> dict[str, Any]:
        """Return one stage's record."""
        return next(stage for stage in self.values["stages"] if stage["stage"] == name)


def deduplicate(paths: list[Path], work: Path, *settings: str) -> Measured:
    """Run `sinkaudit deduplicate` in a process and folders of its own and measure it; the folders are removed."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    folders = {name: str(work / name) for name in ("ledger", "filtered", "reports")}
    config = {"name": "measured", "input": {"paths": [str(path) for path in paths], "text_column": "text"}, "runtime": folders}
    (work / "config.yaml").write_text(json.dumps(config))
    overrides = [part for setting in settings for part in ("--set", setting)]
    command = [sys.executable, "-m", "flows.cli", "deduplicate", str(work / "config.yaml"), "--quiet", "--json", *overrides]
    with tempfile.TemporaryFile("w+") as out:
        began = time.monotonic()
        process = subprocess.Popen(command, cwd=ROOT, stdout=out)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, f"exit code {process.returncode}"
        out.seek(0)
        values = json.loads(out.read())
    sizes = {name: sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()) for name, folder in folders.items()}
    shutil.rmtree(work)
    return Measured(values, wall, usage.ru_utime + usage.ru_stime, sizes["ledger"], sizes["filtered"])


@dataclass(frozen=True)
class Line:
    """Hold a cost that grows with the text: so much of every run, so much for every MB."""

    fixed: float
    per_megabyte: float

    @classmethod
    def fit(cls, megabytes: list[float], spent: list[float]) -> Line:
        """Fit by least squares of relative errors, neither part below zero."""
        weights = 1 / np.maximum(np.array(spent), 0.05)
        design = np.column_stack([np.ones(len(spent)), megabytes]) * weights[:, None]
        fixed, per_megabyte = nnls(design, np.array(spent) * weights)[0]
        return cls(float(fixed), float(per_megabyte))

    def at(self, megabytes: float) -> float:
        """Return what a text of this size costs."""
        return self.fixed + self.per_megabyte * megabytes


def main() -> None:
    """Print the constants, and what they foresee of the corpora to check."""
    parser = argparse.ArgumentParser()
    parser.add_argument("corpora", nargs="+", type=Path)
    parser.add_argument("--check", nargs="*", type=Path, default=[])
    parser.add_argument("--set", nargs="*", default=[], help="settings, such as runtime.memory_limit=1.5GB")
    parser.add_argument("--work", type=Path, default=None)
    chosen = parser.parse_args()
    work = (chosen.work or Path(tempfile.mkdtemp())) / "calibrate"
    deduplicate(chosen.corpora[:1], work, *chosen.set)  # fills the cache of compiled kernels
    fitted = [deduplicate([path], work, *chosen.set) for path in chosen.corpora]
    sizes = [_megabytes(each) for each in fitted]
    lines = {"start": Line.fit(sizes, [_start(each) for each in fitted])}
    for name in (stage["stage"] for stage in fitted[-1].values["stages"]):
        lines[name] = Line.fit(sizes, [each.stage(name)["cpu_seconds"] for each in fitted])
    for name, line in lines.items():
        share = "" if name == "start" else f"  # {_share(fitted[-1], name):.2f} CPU seconds a second"
        print(f'    "{name}": Cost({line.fixed:.2f}, {line.per_megabyte:.5f}),{share}')
    wall = Line.fit(sizes, [each.wall_seconds for each in fitted])
    disk = Line.fit(sizes, [(each.ledger_bytes + each.filtered_bytes) / 1e6 for each in fitted])
    for kind, each in (*(("fit", one) for one in fitted), *(("check", deduplicate([path], work, *chosen.set)) for path in chosen.check)):
        size = _megabytes(each)
        foreseen = sum(line.at(size) for line in lines.values())
        print(f"{kind}: {size:.0f} MB, {each.values['rows']['in']} rows; foreseen / was:")
        print(f"    CPU s {foreseen:.1f} / {each.cpu_seconds:.1f}, wall s {wall.at(size):.1f} / {each.wall_seconds:.1f}")
        print(f"    disk MB {disk.at(size):.0f} / {(each.ledger_bytes + each.filtered_bytes) / 1e6:.0f}")
        print(f"    ledger {each.ledger_bytes / 1e6:.0f} MB, filtered {each.filtered_bytes / 1e6:.0f} MB, ", end="")
        print(f"peak {each.values['peak_memory_bytes'] / 1e6:.0f} MB")


def _megabytes(each: Measured) -> float:
    return float(each.values["text_bytes"]) / 1e6


def _start(each: Measured) -> float:
    return each.cpu_seconds - float(sum(stage["cpu_seconds"] for stage in each.values["stages"]))


def _share(each: Measured, name: str) -> float:
    return float(each.stage(name)["cpu_seconds"] / each.stage(name)["seconds"])


if __name__ == "__main__":
    main()
