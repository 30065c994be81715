"""The part of a proxy run that touches disk: what a spawned process is told to do.

One run is one folder whose description is written last, so a killed audit trains only what is missing. One torch thread a process:
tiny matrices gain nothing from more, and a fixed number keeps results bit-identical.
"""

from __future__ import annotations

import time

import torch

from pipeline import store
from pipeline.config import ProxyConfig
from pipeline.proxy.costs import Laps, RunCost
from pipeline.proxy.device import open_device
from pipeline.proxy.finetuning import load_base
from pipeline.proxy.model import save_checkpoint
from pipeline.proxy.runs import CONFIG_FILE, MODEL_FILE, RUN, RUN_TABLES
from pipeline.proxy.splits import ProxySpec
from pipeline.proxy.training import ProxyRun, train_proxy
from pipeline.store import Artifact
from pipeline.tables import PROXY_SPLITS, SAMPLES


def run_proxy(spec: ProxySpec, samples_folder: str, splits_folder: str, config: ProxyConfig, vocab_size: int, out_folder: str) -> Artifact:
    """Train one proxy from stored samples and splits into a folder of its own, or return what already stands there.

    The folder gets RUN_TABLES as Parquet, `model.safetensors` and `config.json`. It belongs to this spec, these inputs and this config:
    the caller keys the folder by them. Meant for a spawned process, whose thread count it sets to one.
    """
    return measure_proxy(spec, samples_folder, splits_folder, config, vocab_size, out_folder)[0]


def measure_proxy(
    spec: ProxySpec, samples_folder: str, splits_folder: str, config: ProxyConfig, vocab_size: int, out_folder: str
) -> tuple[Artifact, RunCost | None]:
    """Do what `run_proxy` does and say what it cost: None where nothing had to be trained."""
    if (found := store.find(out_folder)) is not None:
        return found, None
    torch.set_num_threads(1)
    samples = SAMPLES.check(store.read_frame(store.describe(samples_folder)))
    splits = PROXY_SPLITS.check(store.read_frame(store.describe(splits_folder)))
    device = open_device(config, spec.seed)
    laps = Laps(time.perf_counter if device.has_clock_of_its_own else time.process_time)
    run = train_proxy(spec, samples, splits, vocab_size, config, base=load_base(config), device=device, laps=laps)
    return store_run(run, spec, out_folder), _cost(run, laps)


def store_run(run: ProxyRun, spec: ProxySpec, out_folder: str) -> Artifact:
    """Write a run's tables and model, description last."""
    weights, config = save_checkpoint(run.model)
    model = [store.write_bytes(f"{out_folder}/{MODEL_FILE}", weights), store.write_bytes(f"{out_folder}/{CONFIG_FILE}", config)]
    frames = (run.proxies, run.signals, run.extractions, run.sink_gaps)
    parts = [store.write_part(out_folder, name, frame) for name, frame in zip(RUN_TABLES, frames, strict=True)]
    return store.publish(RUN, out_folder, [*parts, *model], {"proxy": spec.name, "role": spec.role, "size": spec.size})


def _cost(run: ProxyRun, laps: Laps) -> RunCost:
    row = run.proxies.row(0, named=True)
    training, signals = (laps.seconds.get(name, 0.0) for name in ("training", "signals"))
    return RunCost(row["training_flops"], row["signal_flops"], row["num_token_visits"], training, signals)
