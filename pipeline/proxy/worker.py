"""The part of a proxy run that touches disk: what a spawned process is told to do, and how its results are gathered.

One run is one folder whose description is written last, so a killed audit trains only what is missing. One torch thread a process:
tiny matrices gain nothing from more, and a fixed number keeps results bit-identical.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from pipeline import store
from pipeline.config import ProxyConfig
from pipeline.proxy.model import save_checkpoint
from pipeline.proxy.splits import ProxySpec
from pipeline.proxy.training import ProxyRun, train_proxy
from pipeline.store import Artifact, Part
from pipeline.tables import PROXY_SPLITS, SAMPLES

RUN = "proxy_run"
MODEL_FILE = "model.safetensors"
RUN_TABLES = ("proxies", "proxy_signals", "extractions")


def run_proxy(spec: ProxySpec, samples_folder: str, splits_folder: str, config: ProxyConfig, vocab_size: int, out_folder: str) -> Artifact:
    """Train one proxy from stored samples and splits into a folder of its own, or return what already stands there.

    The folder gets `proxies`, `proxy_signals` and `extractions` as Parquet and `model.safetensors`. It belongs to this spec, these
    inputs and this config: the caller keys the folder by them. Meant for a spawned process, whose thread count it sets to one.
    """
    if (found := store.find(out_folder)) is not None:
        return found
    torch.set_num_threads(1)
    samples = SAMPLES.check(store.read_frame(store.describe(samples_folder)))
    splits = PROXY_SPLITS.check(store.read_frame(store.describe(splits_folder)))
    return store_run(train_proxy(spec, samples, splits, vocab_size, config), spec, out_folder)


def store_run(run: ProxyRun, spec: ProxySpec, out_folder: str) -> Artifact:
    """Write a run's tables and model, description last."""
    model = store.write_bytes(f"{out_folder}/{MODEL_FILE}", save_checkpoint(run.model))
    frames = (run.proxies, run.signals, run.extractions)
    parts = [store.write_part(out_folder, name, frame) for name, frame in zip(RUN_TABLES, frames, strict=True)]
    return store.publish(RUN, out_folder, [*parts, model], {"proxy": spec.name, "role": spec.role, "size": spec.size})


def gather_runs(runs: Sequence[Artifact], root: str) -> Mapping[str, Artifact]:
    """Return the tables `proxies`, `proxy_signals` and `extractions` over runs in folders directly below `root`, nothing copied.

    Parts are in order of the runs' names; only a small description a table is written, into `root/TABLE`.
    """
    ordered = sorted(runs, key=lambda run: str(run.facts["proxy"]))
    return {name: store.publish(name, f"{root}/{name}", [_part_of(run, name, root) for run in ordered]) for name in RUN_TABLES}


def checkpoint_path(run: Artifact) -> str:
    """Return where a run's model lies."""
    return f"{run.folder}/{MODEL_FILE}"


def _part_of(run: Artifact, table: str, root: str) -> Part:
    assert run.folder.rsplit("/", 1)[0] == root, "runs lie directly below the root"
    part = next(part for part in run.parts if part.path == f"{table}.parquet")
    return Part(f"../{run.folder.rsplit('/', 1)[1]}/{part.path}", part.num_rows, part.num_bytes, part.digest)
