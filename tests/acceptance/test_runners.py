"""The demo audit by threads, processes, two Ray nodes, 1, 2 and 4 workers, on an object store, and over rows dealt anew to other files.

Off by default: `python -m pytest -m acceptance -s tests/acceptance/test_runners.py` takes nine audits' time and prints what each
stage cost by each runner. SINKAUDIT_SET="proxy.epochs=1 proxy.token_budget=20000" gives all of them these settings, and is quicker.
Proxies do not depend on `runtime.workers`, so runs by 1 and 4 workers take the trained ones of the first.
"""

from __future__ import annotations

import hashlib
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
from pipeline.places import locate
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


def audit(root: Path | str, settings: list[str], corpus: Path | str = CORPUS) -> Audit:
    """Run the demo audit, all that it writes below a folder or URL; the corpus is read through the same name by every run of one input."""
    places = [f"runtime.{name}={root}/{name}" for name in ("ledger", "filtered", "reports")]
    given = os.environ.get("SINKAUDIT_SET", "").split()
    options = [option for setting in [*places, f"input.paths=[{corpus}]", *settings, *given] for option in ("--set", setting)]
    command = [sys.executable, "-m", "flows.cli", "run", CONFIG, "--quiet", "--json", *options]
    began = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - began
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    run = json.loads(store.read_bytes(f"{root}/ledger/{result['run']}/run.json"))
    tables = {name: store.read_frame(store.describe(run["tables"][name]["folder"])) for name in ("profiles", "decisions")}
    decisions = tables["profiles"].select("doc_id", "row_hash").join(tables["decisions"], on="doc_id")
    files = files_below(f"{root}/ledger/stages") | files_below(f"{root}/filtered")
    summary = json.loads(store.read_bytes(f"{result['report'].rsplit('/', 1)[0]}/summary.json"))
    return Audit(files, decisions, seconds, summary["timing"])


def files_below(folder: str) -> dict[str, str]:
    """Return the digests of all files below a folder or URL, but for the versions that only an object store's ledger has beside."""
    filesystem, plain = locate(folder)
    paths = [path for path in filesystem.find(plain) if not path.endswith(store.VERSIONS)]
    name = folder.rsplit("/", 1)[1]
    return {f"{name}{path.removeprefix(plain.rstrip('/'))}": hashlib.sha256(filesystem.cat_file(path)).hexdigest() for path in paths}


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
    with two_nodes() as address:
        found = audit(places / "ray", ["runtime.runner=ray", f"runtime.ray_address={address}"])
    tell("two Ray nodes", found, threads)
    assert differences(found.files, threads.files) == []


def test_an_object_store_holds_the_same_bytes(s3: str, threads: Audit) -> None:
    """Corpus, ledger, filtered data and reports by URL: what was written, read back and verified are the bytes of local folders."""
    for file in sorted(CORPUS.glob("*.parquet")):
        store.write_bytes(f"{s3}/demo/corpus/{file.name}", file.read_bytes())
    found = audit(f"{s3}/demo", [], f"{s3}/demo/corpus/*.parquet")
    tell("object store", found, threads)
    assert differences(found.files, threads.files) == []
    (done,) = [path for path in locate(f"{s3}/demo/filtered")[0].find("audits/demo/filtered") if path.endswith("_SUCCESS")]
    verify = [sys.executable, "-m", "flows.cli", "verify", f"s3://{done.rsplit('/', 1)[0]}", "--require", "warn"]
    assert subprocess.run(verify, check=False).returncode == 0


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
    assert found.decisions.height == threads.decisions.height > 2_500
    assert counted[0].equals(counted[1])
