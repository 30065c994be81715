"""Find the sinks: draw samples, train the ladder and the halves, read every text once, predict."""

from __future__ import annotations

import flows.settings  # noqa: F401  before prefect is imported

# isort: split
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import polars as pl
from prefect.task_runners import ThreadPoolTaskRunner

from flows import tasks
from flows.deduplicate import Deduplicated
from flows.discreet import flow
from flows.run import Run, current
from flows.work import find_device, measure_peak
from pipeline import store
from pipeline.config import AuditConfig
from pipeline.proxy.base import base_digest, tokenizer_digest
from pipeline.proxy.runs import gather_runs
from pipeline.proxy.splits import plan_proxies, reference_pair
from pipeline.proxy.texts import choose_texts
from pipeline.store import Artifact

PROXY_CODE, RISK_CODE = ("proxy", "rows"), ("risk", "statistics")


@dataclass(frozen=True)
class Scored:
    """Name the tables that scoring made."""

    tokenizer: Artifact
    samples: Artifact
    splits: Artifact
    runs: Mapping[str, Artifact]
    document_signals: Artifact
    scores: Artifact


@flow(name="score", task_runner=ThreadPoolTaskRunner(max_workers=8))
def score(config: AuditConfig, documents: Artifact, copies: Deduplicated) -> Scored:
    """Score the documents."""
    run, section, seed = current(), config.proxy, config.seed
    with run.stage("tokenizer") as stage:
        folder = run.ledger.folder("tokenizer", PROXY_CODE, section, documents.digest, tokenizer_digest(section))
        tokenizer = stage.settle(*tasks.settle_tokenizer(documents, copies.profiles, folder, section))
    with run.stage("samples") as stage:
        folder = run.ledger.folder("samples", PROXY_CODE, section, seed, documents.digest, copies.clusters.digest, tokenizer.digest)
        samples = stage.settle(*tasks.draw(documents, copies.profiles, copies.clusters, tokenizer, folder, section, seed))
    with run.stage("splits") as stage:
        folder = run.ledger.folder("proxy_splits", PROXY_CODE, section, seed, samples.digest)
        splits = stage.settle(*tasks.split(samples, folder, section, seed))
    with run.workers.trainers(section, section.workers) as pool:
        runs, tables = train_proxies(run, pool, config, tokenizer, samples, splits)
        signals = read_with_reference(run, pool, config, documents, copies, tokenizer, samples, splits, runs)
    with run.stage("scores") as stage:
        digests = [copies.clusters.digest, samples.digest, splits.digest, signals.digest, *(tables[name].digest for name in sorted(tables))]
        spans = (config.dedup.find_spans, copies.spans.digest)
        folder = run.ledger.folder("sink_scores", RISK_CODE, config.risk, seed, section.suffix_tokens, documents.digest, *spans, *digests)
        scores = stage.settle(*tasks.score(documents, copies.clusters, samples, splits, tables, signals, folder, config, copies.spans))
    return Scored(tokenizer, samples, splits, tables, signals, scores)


def train_proxies(
    run: Run, pool: Executor, config: AuditConfig, tokenizer: Artifact, samples: Artifact, splits: Artifact
) -> tuple[dict[str, Artifact], dict[str, Artifact]]:
    """Train every proxy of the plan; return each run, and the tables over all runs."""
    device, base = find_device(pool, config.proxy, run.workers.have_gpus()), base_digest(config.proxy)
    root = run.ledger.folder("proxies", PROXY_CODE, config.proxy, config.seed, samples.digest, splits.digest, device, base)
    specs, vocab_size = plan_proxies(config.proxy, config.seed), tokenizer.facts["vocab_size"]
    with run.stage("proxies", len(specs)) as stage:
        futures = {
            spec.name: tasks.train.submit(pool, spec, samples, splits, vocab_size, f"{root}/{spec.name}", config.proxy) for spec in specs
        }
        runs, cached = {}, []
        for name, future in futures.items():
            runs[name], was_cached = future.result()
            cached.append(was_cached)
            stage.advance()
        tables = dict(gather_runs(list(runs.values()), root))
        if stage.timing.work:
            run.meter.peak_flops_per_second = stage.timing.peak_flops_per_second = measure_peak(pool, device)
        stage.settle(tables["proxy_signals"], all(cached))
    return runs, tables


def read_with_reference(
    run: Run,
    pool: Executor,
    config: AuditConfig,
    documents: Artifact,
    copies: Deduplicated,
    tokenizer: Artifact,
    samples: Artifact,
    splits: Artifact,
    runs: Mapping[str, Artifact],
) -> Artifact:
    """Read every distinct text, part by part, with a proxy that never saw it."""
    first, second = reference_pair(plan_proxies(config.proxy, config.seed))
    pair = (runs[first.name], runs[second.name])
    inputs = (documents.digest, copies.clusters.digest, pair[0].digest, pair[1].digest)
    folder = run.ledger.folder("document_signals", PROXY_CODE, config.proxy, *inputs)
    identities = store.read_frame(copies.profiles, ["doc_id", "content_hash", "row_hash"])
    chosen = choose_texts(identities.join(store.read_frame(copies.clusters, ["doc_id", "cluster_id"]), on="doc_id"))
    names = list(store.part_names(len(documents.parts)))
    with run.stage("reference", len(names)) as stage:
        ends = np.cumsum([part.num_rows for part in documents.parts]).tolist()
        here = [chosen.filter(pl.col("doc_id").is_between(start, end, "left")) for start, end in pairwise([0, *ends])]
        pieces = [(number, f"{folder}/{name}") for number, name in enumerate(names)]
        stage.timing.peak_flops_per_second = run.meter.peak_flops_per_second
        made = tasks.refer(pool, documents, pieces, here, tokenizer, samples, splits, pair, config.proxy, stage.advance)
        return stage.gather("document_signals", folder, made)
