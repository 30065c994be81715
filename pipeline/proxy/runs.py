"""What proxy runs leave on disk and how it is gathered: nothing here needs torch, so that orchestration stays light."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pipeline import store
from pipeline.store import Artifact, Part

RUN = "proxy_run"
MODEL_FILE, CONFIG_FILE = "model.safetensors", "config.json"
RUN_TABLES = ("proxies", "proxy_signals", "extractions", "sink_gaps")


def gather_runs(runs: Sequence[Artifact], root: str) -> Mapping[str, Artifact]:
    """Return RUN_TABLES over runs in folders directly below `root`, nothing copied.

    Parts are in order of the runs' names; only a small description a table is written, into `root/TABLE`.
    """
    ordered = sorted(runs, key=lambda run: str(run.facts["proxy"]))
    return {name: store.publish(name, f"{root}/{name}", [_part_of(run, name, root) for run in ordered]) for name in RUN_TABLES}


def _part_of(run: Artifact, table: str, root: str) -> Part:
    assert run.folder.rsplit("/", 1)[0] == root, "runs lie directly below the root"
    part = next(part for part in run.parts if part.path == f"{table}.parquet")
    return Part(f"../{run.folder.rsplit('/', 1)[1]}/{part.path}", part.num_rows, part.num_bytes, part.digest)
