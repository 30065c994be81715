"""Run one job of the benchmark in a process of its own: `python job.py ours|bound ARGUMENTS` or `python job.py peer NAME ARGUMENTS`.

The last line of its output is what the job measured, as JSON, with the peak of this process's memory in MB. A peer's interpreter needs
nothing of this repository.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]


def run_peer(name: str, corpus: str, work: str) -> dict[str, Any]:
    """Run one of the peers, or say what it lacks."""
    peers = importlib.import_module("tests.benchmarks.peers")
    if lacking := peers.missing(name):
        return {"missing": lacking}
    files = sorted(Path(corpus).rglob("*.parquet"))
    result = peers.PEERS[name].run(files, Path(work))
    distribution = importlib.metadata.packages_distributions()[peers.PEERS[name].packages[0]][0]
    version = f"{distribution} {importlib.metadata.version(distribution)}"
    return {"remark": f"{result} {peers.PEERS[name].unit}; {version}"}


def main() -> None:
    """Run the job that the command line names."""
    sys.path.insert(0, str(ROOT))
    job, *arguments = sys.argv[1:]
    function = run_peer if job == "peer" else getattr(importlib.import_module(f"tests.benchmarks.{job}"), job)
    row = function(*arguments)
    # getrusage would count the parent's peak
    status = Path("/proc/self/status").read_text()
    print("\n" + json.dumps({**row, "peak": int(status.split("VmHWM:")[1].split()[0]) / 1024}), flush=True)


if __name__ == "__main__":
    main()
