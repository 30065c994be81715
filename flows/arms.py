"""Plan the outcome arms and the free-token curve of a run: its decisions and criteria, turned into what each training sees."""

from __future__ import annotations

import flows.settings  # noqa: F401  before prefect is imported

# isort: split
from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from flows import tasks
from flows.deduplicate import Deduplicated
from flows.release import CODE
from flows.run import Run
from flows.score import Scored
from flows.targets import Planned, TargetCorpus, plan, seed_of
from pipeline import store
from pipeline.config import AuditConfig, ReleaseConfig
from pipeline.proxy import arms
from pipeline.proxy.draws import draw_key
from pipeline.proxy.targets import TargetSpec, count_steps
from pipeline.proxy.tokenizer import parse_tokenizer
from pipeline.release.decisions import placed_spans
from pipeline.release.spans import treated_spans
from pipeline.rows import read_texts
from pipeline.store import Artifact
from pipeline.tables import DECISIONS, REPEATED_SPANS

NO_MASKS = pl.DataFrame(schema=arms.MASKS)
STEPS, EPOCHS, CURVE = "equal_steps", "equal_epochs", "curve"


@dataclass(frozen=True)
class PlannedArm:
    """Name one run of an arm, or of the curve (`arm` is its criterion then), and the documents that it trains on."""

    arm: str
    kind: str
    seed: int
    scope: str
    share: float
    planned: Planned
    doc_ids: pl.Series


@dataclass(frozen=True)
class _Filter:
    weights: pl.DataFrame
    masks: pl.DataFrame


def plan_arms(
    run: Run, config: AuditConfig, documents: Artifact, copies: Deduplicated, scored: Scored, corpus: TargetCorpus
) -> list[PlannedArm]:
    """List every run of the arms and of the curve, seeds paired."""
    with run.stage("plan arms") as stage:
        samples = store.read_frame(corpus.samples, ["sample_id", "doc_id", "cluster_id", "start", "end", "num_tokens"])
        table = describe_documents(copies, scored, corpus, samples)
        filters = filters_of(run, config, documents, copies, scored, table, samples)
        raw_size = arms.members_of(samples, arms.raw(table)).height
        planned: list[PlannedArm] = []
        for seed in range(config.validation.num_seeds):
            for arm in config.validation.arms:
                planned.append(_plan(run, config, corpus, samples, filters[arm], arm, STEPS, seed, raw_size))
            for arm in config.validation.equal_epochs:
                planned.append(_plan(run, config, corpus, samples, filters[arm], arm, EPOCHS, seed, None))
            planned += _plan_curve(run, config, corpus, samples, table, seed)
        stage.advance()
    return planned


def describe_documents(copies: Deduplicated, scored: Scored, corpus: TargetCorpus, samples: pl.DataFrame) -> pl.DataFrame:
    """Return what arms choose by (`pipeline.proxy.arms.DOCUMENTS`) of every document that targets can train on."""
    sizes = samples.group_by("doc_id").agg(pl.col("num_tokens").cast(pl.Int64).sum(), pl.col("cluster_id").first())
    profiles = store.read_frame(copies.profiles, ["doc_id", "content_hash", "row_hash"])
    removed = store.read_frame(copies.removals, ["doc_id"]).with_columns(is_removed=pl.lit(True))
    scores = store.read_frame(scored.scores)
    spillover = pl.col("spillover") if "spillover" in scores.columns else pl.lit(None, pl.Float64)
    losses = store.read_frame(scored.document_signals, ["content_hash", "reference_loss"]).rename({"reference_loss": "perplexity"})
    clusters = store.read_frame(corpus.clusters).select("cluster_id", "copies", "is_natural", "is_held_out")
    joined = (
        sizes.join(profiles, on="doc_id")
        .join(removed, on="doc_id", how="left")
        .join(clusters, on="cluster_id")
        .join(losses, on="content_hash", how="left")
        .join(scores.select("doc_id", "sink_score", spillover=spillover), on="doc_id")
    )
    return joined.with_columns(pl.col("is_removed").fill_null(False)).select(list(arms.DOCUMENTS)).sort("doc_id")


def filters_of(
    run: Run,
    config: AuditConfig,
    documents: Artifact,
    copies: Deduplicated,
    scored: Scored,
    table: pl.DataFrame,
    samples: pl.DataFrame,
) -> Mapping[str, _Filter]:
    """Make what each configured arm keeps; arms that a policy is compared with take away as much as `policy`, or as `mask`."""
    wanted, base = set(config.validation.arms), arms.minhash(table)
    found = {"raw": arms.raw(table), "exact": arms.exact(table), "minhash": base}
    found["copy_cap"] = arms.copy_cap(table, config.validation.max_copies)
    filters = {name: _Filter(weights, NO_MASKS) for name, weights in found.items()}
    compared = {"policy"} if wanted & {"random", "perplexity"} else set[str]()
    compared |= {"mask"} if "random_mask" in wanted else set()
    for name, release in policies(config.release).items():
        if name in wanted | compared:
            filters[name] = _policy(run, documents, copies, scored, table, release)
    if "random_mask" in wanted:
        masked, seed = filters["mask"], draw_key("random mask", config.validation.seed)
        filters["random_mask"] = _Filter(masked.weights, arms.random_masks(samples, masked.weights, masked.masks, seed))
    if "policy" in compared:
        policy = filters["policy"]
        removed = arms.removed_tokens(table, base, policy.weights, policy.masks)
        filters["random"] = _Filter(arms.random(table, base, removed, draw_key("random arm", config.validation.seed)), NO_MASKS)
        filters["perplexity"] = _Filter(arms.prune(table, base, "perplexity", float(removed["tokens"].sum())), NO_MASKS)
    return filters


def policies(release: ReleaseConfig) -> dict[str, ReleaseConfig]:
    """Return the run's own policy, and its three variants alone at the run's thresholds: weigh down, mask spans, drop all at risk."""
    return {
        "policy": release,
        "downweight": release.model_copy(update={"policy": "downweight", "spans": "report"}),
        "mask": release.model_copy(update={"policy": "report", "spans": "mask"}),
        "drop": release.model_copy(
            update={"policy": "drop", "spans": "report", "max_drop_share": 1.0, "drop_threshold": release.sink_threshold}
        ),
    }


def _policy(run: Run, documents: Artifact, copies: Deduplicated, scored: Scored, table: pl.DataFrame, release: ReleaseConfig) -> _Filter:
    tables = (copies.profiles, copies.clusters, copies.removals, copies.duplicate_pairs, scored.scores, copies.spans, copies.references)
    folder = run.ledger.folder("decisions", CODE, release, *(one.digest for one in tables))
    artifact, _ = tasks.decide_documents(*tables, folder, release)
    decisions = DECISIONS.check(store.read_frame(artifact))
    known = store.read_frame(copies.profiles, ["doc_id", "content_hash", "row_hash"])
    spans = treated_spans(placed_spans(known, decisions, REPEATED_SPANS.check(store.read_frame(copies.spans)), release))
    masks = NO_MASKS
    if spans.height:
        path = f"{scored.tokenizer.folder}/{tasks.TOKENIZER}"
        tokenizer = parse_tokenizer(store.read_bytes(path), where=path)
        masks = arms.token_masks(read_texts(documents, spans["doc_id"].unique().to_list()), spans, tokenizer)
    return _Filter(arms.decided(table, decisions), masks)


def _plan_curve(
    run: Run, config: AuditConfig, corpus: TargetCorpus, samples: pl.DataFrame, table: pl.DataFrame, seed: int
) -> list[PlannedArm]:
    section, base = config.validation, arms.minhash(table)
    planned = []
    for scope in section.curve_scopes if section.curve else ():
        planned.append(_plan(run, config, corpus, samples, _Filter(base, NO_MASKS), "none", CURVE, seed, None, scope, 0.0))
        for criterion in section.curve:
            for share in section.curve_shares:
                draw = draw_key("drop curve", section.seed, seed)
                left = arms.drop_share(table, base, criterion, share, draw, natural_only=scope == "natural")
                if left is not None:
                    planned.append(_plan(run, config, corpus, samples, _Filter(left, NO_MASKS), criterion, CURVE, seed, None, scope, share))
    return planned


def _plan(
    run: Run,
    config: AuditConfig,
    corpus: TargetCorpus,
    samples: pl.DataFrame,
    chosen: _Filter,
    arm: str,
    kind: str,
    seed: int,
    raw_size: int | None,
    scope: str = "",
    share: float = 0.0,
) -> PlannedArm:
    """Plan one run; `raw_size`: samples of the raw arm, whose steps it takes, or None for as many epochs over its own."""
    section = config.validation
    members = arms.members_of(samples, chosen.weights, chosen.masks)
    steps = count_steps(members.height if raw_size is None else raw_size, section.epochs, section.batch_windows)
    name = "-".join(part for part in (arm, kind, scope, f"{share:g}" if share else "", str(seed)) if part)
    early = (arm, kind, seed) == ("raw", STEPS, 0)
    spec = TargetSpec(name, "full", -1, -1, seed_of(config, f"arm {seed}"), steps, early)
    planned = plan(run, config, corpus, spec, members, section.arm_dial or section.dial)
    return PlannedArm(arm, kind, seed, scope, share, planned, chosen.weights.filter(pl.col("weight") > 0)["doc_id"])
