"""The demo audit by threads, processes and two Ray nodes, by 1, 2 and 4 workers, and over rows dealt anew to other files.

Off by default: `python -m pytest -m acceptance -s tests/acceptance/test_runners.py` takes seven audits' time and prints what each
stage cost by each runner. SINKAUDIT_SET="proxy.epochs=1 proxy.token_budget=20000" gives all of them these settings, and is quicker.
Proxies do not depend on `runtime.workers`, so runs by 1 and 4 workers take the trained ones of the first.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline import store
from tests.flows.ray_cluster import two_nodes

pytestmark = pytest.mark.acceptance

CONFIG = "flows/configs/demo.yaml"
CORPUS = Path("data/samples/corpus")


@dataclass(frozen=True)
class Audit:
    """Hold what one run left: digests of all files of the ledger and of the filtered data, decisions, and what it cost."""

    files: Mapping[str, str]
    decisions: pl.DataFrame
    seconds: float
    timing: Mapping[str, Any]


def audit(folder: Path, settings: list[str], corpus: Path = CORPUS) -> Audit:
    """Run the demo audit, all that it writes in a folder; the corpus is read through the same name by every run of one input."""
    places = [f"runtime.{name}={folder / name}" for name in ("ledger", "filtered", "reports")]
    given = os.environ.get("SINKAUDIT_SET", "").split()
    options = [option for setting in [*places, f"input.paths=[{corpus}]", *settings, *given] for option in ("--set", setting)]
    command = [sys.executable, "-m", "flows.cli", "run", CONFIG, "--quiet", "--json", *options]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - began
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    run = json.loads((folder / "ledger" / result["run"] / "run.json").read_text())
    tables = {name: store.read_frame(store.describe(run["tables"][name]["folder"])) for name in ("profiles", "decisions")}
    decisions = tables["profiles"].select("doc_id", "row_hash").join(tables["decisions"], on="doc_id")
    roots = (folder / "ledger" / "stages", folder / "filtered")
    files = {str(path.relative_to(folder)): store.file_digest(str(path)) for root in roots for path in root.rglob("*") if path.is_file()}
    summary = json.loads((Path(result["report"]).parent / "summary.json").read_text())
    return Audit(files, decisions, seconds, summary["timing"])


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runners")


@pytest.fixture(scope="module")
def threads(places: Path) -> Audit:
    return audit(places / "threads", [])


def tell(name: str, found: Audit, reference: Audit) -> None:
    """Print the seconds of both by stage, and peak memory."""
    print(
        f"\n{name}: {found.seconds:.1f} s, by two threads {reference.seconds:.1f}; peak {_peak(found):,.0f} MB, {_peak(reference):,.0f} MB"
    )
    before = {stage["stage"]: stage["seconds"] for stage in reference.timing["stages"]}
    for stage in found.timing["stages"]:
        print(f"  {stage['stage']:<14}{stage['seconds']:>9.2f}{before.get(stage['stage'], 0.0):>9.2f}")


def _peak(found: Audit) -> float:
    return float(max(stage["peak_memory_bytes"] for stage in found.timing["stages"])) / 1e6


def differences(one: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """Return the files that only one has, or that differ."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


def test_processes_leave_the_same_bytes(places: Path, threads: Audit) -> None:
    """Ledger, filtered data and decisions by processes are those by threads."""
    found = audit(places / "processes", ["runtime.runner=processes"])
    tell("two processes", found, threads)
    assert differences(found.files, threads.files) == []


def test_two_ray_nodes_leave_the_same_bytes(places: Path, threads: Audit) -> None:
    """Ledger, filtered data and decisions by a cluster of two nodes are those by threads."""
    with two_nodes(places / "cluster") as address:
        found = audit(places / "ray", ["runtime.runner=ray", f"runtime.ray_address={address}"])
    tell("two Ray nodes", found, threads)
    assert differences(found.files, threads.files) == []


@pytest.mark.parametrize("runner", ["threads", "processes"])
@pytest.mark.parametrize("workers", [1, 4])
def test_any_number_of_workers_leaves_the_same_bytes(places: Path, threads: Audit, runner: str, workers: int) -> None:
    """Ledger, filtered data and decisions by 1 and 4 workers are those by 2."""
    folder = places / f"{runner}-{workers}"
    shutil.copytree(places / "threads/ledger/stages/proxies", folder / "ledger/stages/proxies")
    found = audit(folder, [f"runtime.runner={runner}", f"runtime.workers={workers}"])
    tell(f"{runner}, {workers}", found, threads)
    assert differences(found.files, threads.files) == []


def test_rows_dealt_to_other_files_are_decided_alike(places: Path, threads: Audit) -> None:
    """Whatever file a row stands in, and in whatever order, the multiset of (row_hash, action, weight, reason) is the same."""
    rows = pl.concat([pl.read_parquet(path) for path in sorted(CORPUS.glob("*.parquet"))]).sample(fraction=1.0, shuffle=True, seed=7)
    corpus = places / "dealt"
    corpus.mkdir()
    for number in range(4):
        rows[number::4].write_parquet(corpus / f"{'dbca'[number]}.parquet", row_group_size=500)
    found = audit(places / "permuted", [], corpus)
    tell("dealt anew", found, threads)
    columns = ["row_hash", "action", "weight", "reason"]
    counted = [one.decisions.select(columns).group_by(columns).len().sort(columns) for one in (found, threads)]
    assert found.decisions.height == threads.decisions.height > 5_000
    assert counted[0].equals(counted[1])
