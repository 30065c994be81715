"""Plan and train targets: their corpus, their splits, one folder a run, found again as long as what it was trained from is the same.

A target's key is the text, the settings of its training and its seed: no prediction, and no version of the code, because it may have cost
a day. FORMAT says what a run means and is raised when that changes; which code made a run stands in its facts.
"""

from __future__ import annotations

import flows.settings  # noqa: F401  before prefect is imported

# isort: split
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass

import polars as pl
from prefect.futures import PrefectFuture

from flows.deduplicate import Deduplicated
from flows.discreet import task
from flows.ledger import once
from flows.processes import call
from flows.run import Run
from flows.score import PROXY_CODE
from flows.tasks import TOKENIZER
from pipeline import store
from pipeline.config import AuditConfig, canonical_json
from pipeline.proxy.draws import draw_key
from pipeline.proxy.splits import ProxySpec
from pipeline.proxy.target_samples import draw_target_samples, target_config
from pipeline.proxy.targets import MASKED, MEMBERS, TargetSpec, count_steps
from pipeline.proxy.tokenizer import parse_tokenizer
from pipeline.proxy.units import shared_windows, split_targets, split_units, unseen_clusters
from pipeline.rows import read_texts
from pipeline.store import Artifact
from pipeline.tables import PROXY_SPLITS, SAMPLES

FORMAT = 1
TRAINING = ("architecture", "context", "prompt_tokens", "suffix_tokens", "batch_windows", "learning_rate", "weight_decay", "warmup_share")
"""Settings of a proxy that decide what a target becomes; the rest of what does is in its seed, steps, size and members."""


@dataclass(frozen=True)
class TargetCorpus:
    """Name what all targets of a validation share.

    `clusters`: one row a cluster, `pipeline.proof.inputs.CLUSTERS` and `unit_id, is_held_out, is_unseen`. `shared`: window_ids whose
    suffix another unit holds. `validation`: window_ids of the text whose loss is the price of a filter.
    """

    samples: Artifact
    splits: Artifact
    clusters: Artifact
    shared: Artifact
    validation: pl.Series
    vocab_size: int


@dataclass(frozen=True)
class Planned:
    """Say what one run trains on, where its members are listed, and in which folder it is or will be."""

    spec: TargetSpec
    dial: float
    members: str
    num_tokens: int
    folder: str


def prepare(
    run: Run, config: AuditConfig, documents: Artifact, copies: Deduplicated, tokenizer: Artifact, proxies: Artifact
) -> TargetCorpus:
    """Cut the corpus for targets, tie clusters into units, split these, and find what can be judged; `proxies`: the proxies' samples."""
    section = config.validation
    with run.stage("target corpus") as stage:
        settings = target_config(config.proxy, section, section.dial)
        inputs = (documents.digest, copies.clusters.digest, tokenizer.digest, proxies.digest, section.max_tokens, section.seed)
        folder = run.ledger.folder("target_samples", PROXY_CODE, settings, *inputs)
        samples = stage.settle(*draw(documents, copies, tokenizer, proxies, folder, config))
    with run.stage("target splits", 3) as stage:
        folder = run.ledger.folder("target_splits", PROXY_CODE, section, canonical_json(config.proxy), samples.digest)
        splits, clusters, shared = divide(samples, copies.profiles, folder, config)
        stage.settle(splits, False)
    return TargetCorpus(samples, splits, clusters, shared, _validation(samples, clusters, shared), tokenizer.facts["vocab_size"])


@task(name="draw target samples")
def draw(
    documents: Artifact, copies: Deduplicated, tokenizer: Artifact, proxies: Artifact, folder: str, config: AuditConfig
) -> tuple[Artifact, bool]:
    """Cut the corpus into the targets' windows."""

    def make(out: str) -> Artifact:
        section, path = config.validation, f"{tokenizer.folder}/{TOKENIZER}"
        profile = store.read_frame(copies.profiles).join(store.read_frame(copies.clusters), on="doc_id")
        inside = store.read_frame(proxies, ["cluster_id"])["cluster_id"].unique().sort()
        drawn = draw_target_samples(
            profile,
            inside,
            lambda doc_ids: read_texts(documents, doc_ids),
            parse_tokenizer(store.read_bytes(path), where=path),
            target_config(config.proxy, section, section.dial),
            section.max_tokens,
            section.seed,
        )
        return store.publish_frame(
            "target_samples", out, drawn.samples, {name: drawn.facts[name] for name in ("num_tokens", "num_windows")}
        )

    return once(folder, make)


@task(name="split target corpus")
def divide(samples: Artifact, profiles: Artifact, folder: str, config: AuditConfig) -> tuple[Artifact, Artifact, Artifact]:
    """Tie clusters into units, split them for the halves, and list clusters and windows with what can be judged of them."""
    section, settings = config.validation, target_config(config.proxy, config.validation, config.validation.dial)
    frame = SAMPLES.check(store.read_frame(samples))
    units_of = f"{folder}/units"

    def make_units(out: str) -> Artifact:
        return store.publish_frame("target_units", out, split_units(frame, section.span_tokens, section.max_group_share))

    def make_splits(out: str) -> Artifact:
        units = store.read_frame(store.describe(units_of))
        return store.publish_frame(
            "target_splits", out, split_targets(frame, units, half_specs(config), settings, draw_key("target splits", section.seed))
        )

    def make_shared(out: str) -> Artifact:
        found = shared_windows(frame, store.read_frame(store.describe(units_of)), settings.prompt_tokens, settings.suffix_tokens)
        return store.publish_frame("target_shared", out, pl.DataFrame({"window_id": found}))

    units, _ = once(units_of, make_units)
    splits, _ = once(f"{folder}/splits", make_splits)
    shared, _ = once(f"{folder}/shared", make_shared)

    def make_clusters(out: str) -> Artifact:
        halves = PROXY_SPLITS.check(store.read_frame(splits))
        known = describe_clusters(frame, store.read_frame(profiles), section.planted_sources).join(store.read_frame(units), on="cluster_id")
        trained = halves.filter("in_training")["cluster_id"].unique()
        marked = known.with_columns(
            is_held_out=~pl.col("cluster_id").is_in(trained.implode()),
            is_unseen=pl.col("cluster_id").is_in(unseen_clusters(frame, halves).implode()),
        )
        return store.publish_frame("target_clusters", out, marked.sort("cluster_id"))

    clusters, _ = once(f"{folder}/clusters", make_clusters)
    return splits, clusters, shared


def describe_clusters(samples: pl.DataFrame, profiles: pl.DataFrame, planted_sources: Sequence[str]) -> pl.DataFrame:
    """Return the columns of `pipeline.proof.inputs.CLUSTERS`, one row a cluster that targets can train on."""
    sizes = samples.group_by("doc_id").agg(pl.col("cluster_id").first(), num_tokens=pl.col("num_tokens").cast(pl.Int64).sum())
    known = sizes.join(profiles.select("doc_id", "source", "content_hash", "row_hash"), on="doc_id")
    return (
        known.sort("cluster_id", "content_hash", "row_hash", "doc_id")
        .group_by("cluster_id", maintain_order=True)
        .agg(
            copies=pl.len().cast(pl.Int64),
            num_tokens=pl.col("num_tokens").sum(),
            source=pl.col("source").first(),
            is_natural=~pl.col("source").is_in(list(planted_sources)).any(),
            length=pl.col("num_tokens").mean(),
        )
    )


def half_specs(config: AuditConfig) -> list[ProxySpec]:
    """List the label halves as splitting wants them: target-0a, target-0b, target-1a, ..."""
    names = [(f"target-{pair}{'ab'[side]}", pair, side) for pair in range(config.validation.num_halves // 2) for side in (0, 1)]
    return [ProxySpec(name, "label_half", 0, pair, side, seed_of(config, name)) for name, pair, side in names]


def seed_of(config: AuditConfig, name: str) -> int:
    """Return the seed of a target; no proxy's can be equal to it but by a collision of hashes."""
    return draw_key("target", config.validation.seed, name)


def plan_halves(run: Run, config: AuditConfig, corpus: TargetCorpus) -> list[Planned]:
    """List the label halves with what each trains on."""
    samples = store.read_frame(corpus.samples, ["sample_id", "cluster_id", "num_tokens"])
    splits = store.read_frame(corpus.splits).filter("in_training")
    section, planned = config.validation, []
    for spec in half_specs(config):
        inside = samples.join(splits.filter(pl.col("proxy") == spec.name), on="cluster_id", how="semi").sort("sample_id")
        members = whole(inside["sample_id"])
        steps = count_steps(members.height, section.epochs, section.batch_windows)
        target = TargetSpec(spec.name, spec.role, spec.pair, spec.side, spec.seed, steps)
        planned.append(plan(run, config, corpus, target, members, section.dial))
    return planned


def whole(sample_ids: pl.Series) -> pl.DataFrame:
    """Return members that count fully, nothing masked."""
    none = pl.lit([], dtype=MASKED).alias("masked")
    return pl.DataFrame({"sample_id": sample_ids}).with_columns(pl.lit(1.0).alias("weight"), none)


def plan(run: Run, config: AuditConfig, corpus: TargetCorpus, spec: TargetSpec, members: pl.DataFrame, dial: float) -> Planned:
    """Store a run's members and name the folder that holds its results, or will."""
    settings = target_config(config.proxy, config.validation, dial)
    counted = store.read_frame(corpus.samples, ["sample_id", "num_tokens"]).join(members, on="sample_id")
    folder = f"{run.ledger.root}/stages/target_members"
    part = store.write_part(folder, store.digest_of(*(members[name].to_list() for name in MEMBERS)), members.select(list(MEMBERS)))
    key = store.digest_of(
        FORMAT,
        {name: getattr(settings, name) for name in TRAINING},
        {name: value for name, value in asdict(spec).items() if name not in ("name", "role", "pair", "side")},
        dial,
        corpus.vocab_size,
        [piece.digest for piece in corpus.samples.parts],
        part.digest,
        corpus.validation.to_list(),
    )
    return Planned(spec, dial, f"{folder}/{part.path}", int(counted["num_tokens"].sum()), f"{run.ledger.root}/stages/targets/{key}")


def train(run: Run, pool: Executor, config: AuditConfig, corpus: TargetCorpus, planned: Sequence[Planned], stage_name: str) -> None:
    """Train what is planned, in its order, or find it trained: pairs and seeds come together, so that what is done can be judged."""
    with run.stage(stage_name, len(planned)) as stage:
        futures: dict[str, PrefectFuture[tuple[Artifact, bool]]] = {}
        for one in planned:  # equal runs under two names are one folder
            if one.folder not in futures:
                futures[one.folder] = train_one.submit(pool, one, corpus, config)
        made = []
        for one in planned:
            made.append(futures[one.folder].result())
            stage.advance()
        if made:
            stage.settle(made[0][0], all(was_cached for _, was_cached in made))


@task(name="train target")
def train_one(pool: Executor, planned: Planned, corpus: TargetCorpus, config: AuditConfig) -> tuple[Artifact, bool]:
    """Train one target in a process of its own, from its last checkpoint if it has one."""
    settings = target_config(config.proxy, config.validation, planned.dial)
    common = (corpus.validation, corpus.vocab_size, settings, config.validation.checkpoint_steps)
    return once(
        planned.folder,
        lambda out: pool.submit(
            call, "pipeline.proxy.target_worker", "run_target", planned.spec, corpus.samples.folder, planned.members, *common, out
        ).result(),
    )


def gather(runs: Mapping[str, Artifact], planned: Sequence[Planned], table: str) -> pl.DataFrame:
    """Read a table of all runs under the names and roles of this plan: equal runs of two plans share a folder."""
    specs = {one.spec.name: one.spec for one in planned}
    frames = []
    for name in sorted(runs):
        part = next(part for part in runs[name].parts if part.path == f"{table}.parquet")
        frame = pl.DataFrame(pl.from_arrow(store.read_arrow(f"{runs[name].folder}/{part.path}"))).with_columns(pl.lit(name).alias("proxy"))
        frames.append(frame.with_columns(pl.lit(specs[name].role).alias("role")) if "role" in frame.columns else frame)
    return pl.concat(frames)


def _validation(samples: Artifact, clusters: Artifact, shared: Artifact) -> pl.Series:
    """Return the windows of held-out, natural, unique, unseen text that no other unit holds in part."""
    price = store.read_frame(clusters).filter("is_unseen", "is_natural", pl.col("copies") == 1)["cluster_id"]
    frame = store.read_frame(samples, ["window_id", "cluster_id"])
    is_price = pl.col("cluster_id").is_in(price.implode())
    alone = frame.group_by("window_id").agg(pl.col("cluster_id").n_unique() == 1, is_price=is_price.all())
    kept = alone.filter("is_price", "cluster_id").join(store.read_frame(shared), on="window_id", how="anti")
    return kept["window_id"].sort()
