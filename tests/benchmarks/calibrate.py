"""Measure what deduplication costs: `python tests/benchmarks/calibrate.py SMALL LARGE [WORK]`, two corpora of Parquet with a column text.

Runs `sinkaudit deduplicate` on both, cold, and prints for each stage what is spent once and for every MB, as `pipeline/costs.py` holds it,
and the bytes on disk. A stage is shared by workers if it took less time than CPU. Leave the machine alone meanwhile.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Measured:
    """Hold what one deduplication cost: dedup.json, CPU seconds of all its processes, bytes it left in the ledger and as filtered data."""

    values: dict[str, Any]
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
        process = subprocess.Popen(command, cwd=ROOT, stdout=out)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0, f"exit code {process.returncode}"
        out.seek(0)
        values = json.loads(out.read())
    sizes = {name: sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()) for name, folder in folders.items()}
    shutil.rmtree(work)
    return Measured(values, usage.ru_utime + usage.ru_stime, sizes["ledger"], sizes["filtered"])


def main() -> None:
    """Print the constants."""
    small_path, large_path, *rest = map(Path, sys.argv[1:])
    work = (rest[0] if rest else Path(tempfile.mkdtemp())) / "calibrate"
    small, large = (deduplicate([path], work) for path in (small_path, large_path))
    first, second = (each.values["text_bytes"] / 1e6 for each in (small, large))
    spent = [each.cpu_seconds - sum(stage["cpu_seconds"] for stage in each.values["stages"]) for each in (small, large)]
    print(f"START = Cost({sum(spent) / 2:.1f}, 0.0, is_shared=False)")
    for stage in large.values["stages"]:
        name = stage["stage"]
        cpu = [each.stage(name)["cpu_seconds"] for each in (small, large)]
        per_megabyte = max(0.0, (cpu[1] - cpu[0]) / (second - first))
        fixed = max(0.0, cpu[1] - per_megabyte * second)
        share = cpu[1] / stage["seconds"]
        print(f'    "{name}": Cost({fixed:.2f}, {per_megabyte:.5f}),  # {share:.2f} CPU seconds a second')
    for each in (small, large):
        rows, text = each.values["rows"]["in"], each.values["text_bytes"]
        print(
            f"{rows} rows, {text / 1e6:.0f} MB: ledger {each.ledger_bytes / text:.3f} of the text, "
            f"filtered {each.filtered_bytes / text:.3f}; peak {each.values['peak_memory_bytes'] / 1e6:.0f} MB"
        )


if __name__ == "__main__":
    main()
