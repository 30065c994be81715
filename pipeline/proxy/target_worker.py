"""The part of a target's run that touches disk: one folder a run, a checkpoint beside what will be its tables.

A target takes a quarter of an hour or a day, so a killed run goes on from its last checkpoint and ends with the same bytes as one that was
left alone. The checkpoint goes when the run is described.
"""

from __future__ import annotations

import polars as pl
import torch

from pipeline import store
from pipeline.config import ProxyConfig
from pipeline.errors import IntegrityError
from pipeline.proxy.device import open_device
from pipeline.proxy.runs import RUN
from pipeline.proxy.targets import TargetSpec, train_target
from pipeline.store import Artifact
from pipeline.tables import SAMPLES

CHECKPOINT = "checkpoint.npz"
TABLES = ("proxies", "proxy_signals", "extractions")


def run_target(
    spec: TargetSpec,
    samples_folder: str,
    members_path: str,
    validation: pl.Series,
    vocab_size: int,
    config: ProxyConfig,
    checkpoint_steps: int,
    out_folder: str,
) -> Artifact:
    """Train one target into a folder of its own, from its last checkpoint if there is one, or return what already stands there.

    The folder belongs to these arguments: the caller keys it by them. Meant for a spawned process, whose thread count it sets to one.
    """
    path = f"{out_folder}/{CHECKPOINT}"
    if (found := store.find(out_folder)) is not None:
        store.remove(path)
        return found
    torch.set_num_threads(1)
    samples = SAMPLES.check(store.read_frame(store.describe(samples_folder)))
    members = pl.DataFrame(pl.from_arrow(store.read_arrow(members_path)))

    def keep(state: bytes) -> None:
        store.write_bytes(path, state)

    device = open_device(config, spec.seed)
    run = train_target(spec, samples, members, validation, vocab_size, config, _checkpoint(path), keep, checkpoint_steps, device)
    frames = (run.proxies, run.signals, run.extractions)
    parts = [store.write_part(out_folder, name, frame) for name, frame in zip(TABLES, frames, strict=True)]
    facts = {
        "proxy": spec.name,
        "role": spec.role,
        "size": 0,
        "seed": spec.seed,
        "device": device.place.type,
        "code_version": store.code_version("proxy"),
        "emission": run.emission,
    }
    artifact = store.publish(RUN, out_folder, parts, facts)
    store.remove(path)
    return artifact


def _checkpoint(path: str) -> bytes | None:
    try:
        return store.read_bytes(path)
    except IntegrityError:
        return None
