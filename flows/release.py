"""Decide about every row, write what stays, judge it, tell it in a report, and only then let it be seen."""

from __future__ import annotations

import flows.settings  # noqa: F401  before prefect is imported

# isort: split
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flows import tasks
from flows.deduplicate import Deduplicated
from flows.discreet import flow
from flows.examine import Examined, examine
from flows.reporting import write_report
from flows.run import Run, current, settings_of
from flows.score import Scored
from pipeline import store
from pipeline.config import AuditConfig
from pipeline.dedup.signatures import SCHEME
from pipeline.release.card import render_card
from pipeline.release.croissant import describe_dataset
from pipeline.release.filtering import FilteredData
from pipeline.release.gate import Gate, Measure, measured
from pipeline.release.gates import judge
from pipeline.release.high_risk import count_kept_secrets
from pipeline.release.manifest import publish_release, seal, staging_folder
from pipeline.release.overruling import describe_orders
from pipeline.release.waivers import waive
from pipeline.report.limits import not_examined
from pipeline.store import Artifact
from pipeline.tables import CLUSTERS, DECISIONS, LANGUAGES, OVERRULED, SENSITIVE_PATTERNS, SINK_SCORES
from pipeline.versions import made_by

CODE = ("release",)


@dataclass(frozen=True)
class Released:
    """Say what came of a run: its verdict, and where the filtered data lies (in staging if a gate failed)."""

    decisions: Artifact
    verdict: str
    filtered: str
    num_rows: int
    parents: Mapping[str, Any]
    overruled: Artifact | None = None


@flow(name="release")
def release(config: AuditConfig, documents: Artifact, copies: Deduplicated, scored: Scored) -> Released:
    """Release the filtered dataset and its report."""
    run, section = current(), config.release
    with run.stage("decisions") as stage:
        decisions, overruled, was_cached = decide_run(run, copies, scored)
        stage.settle(decisions, was_cached)
    with run.stage("filtering") as stage:
        staging = staging_folder(run.filtered)
        filtered = tasks.filter_rows(documents, decisions, scored.scores, copies.clusters, copies.profiles, copies.spans, staging, section)
        stage.count(filtered.num_rows, sum(shard.num_bytes for shard in filtered.shards))
    examined = examine(run, documents, copies, scored, decisions)
    gates = judge_run(config, copies, scored, decisions, filtered, examined)
    parents = parents_of(run, documents, decisions, copies, overruled)
    known, text_column = store.read_frame(copies.profiles), documents.facts["text_column"]
    facts = {"samples": scored.samples.facts, "sensitive": examined.sensitive.facts}
    unseen = not_examined(config, {**facts, **({"spans": copies.spans.facts} if config.dedup.find_spans else {})})
    spoken = LANGUAGES.check(store.read_frame(examined.languages))
    card = render_card(config.name, known, _decisions(decisions), filtered, gates, parents, section, text_column, spoken, unseen)
    croissant = describe_dataset(config.name, run.run_id, filtered, gates, section)
    manifest = seal(filtered, config.name, card, gates, parents, croissant)
    told = [gate.to_dict() for gate in gates]
    write_report(run, documents, copies, scored, decisions, filtered, examined, told, manifest.verdict, parents, overruled)
    if manifest.verdict == "FAIL":
        return Released(decisions, manifest.verdict, staging, filtered.num_rows, parents, overruled)
    run.check_claim()
    publish_release(staging, run.filtered)
    return Released(decisions, manifest.verdict, run.filtered, filtered.num_rows, parents, overruled)


def decide_run(run: Run, copies: Deduplicated, scored: Scored) -> tuple[Artifact, Artifact | None, bool]:
    """Decide about every row, by the rules and then by what persons ordered; return who overruled what, too, if anybody did."""
    section = run.config.release
    found = (copies.profiles, copies.clusters, copies.removals, copies.duplicate_pairs)
    tables = (*found, scored.scores, copies.spans, copies.references)
    digests = [table.digest for table in tables]
    former, was_cached = tasks.decide_documents(*tables, run.ledger.folder("decisions", CODE, section, *digests), section)
    if run.origin is None or run.origin.orders.is_empty():
        return former, None, was_cached
    orders, _ = tasks.keep_orders(run.origin.orders, run.ledger.folder("orders", CODE, None, run.origin.digest))
    folder = run.ledger.folder("decisions", CODE, section, *digests, orders.digest)
    decisions, was_cached = tasks.decide_documents(*tables, folder, section, former, orders)
    folder = run.ledger.folder("overruled", CODE, None, former.digest, decisions.digest, copies.removals.digest, orders.digest)
    overruled, _ = tasks.record_overruled(former, decisions, copies.removals, orders, folder)
    return decisions, overruled, was_cached


def judge_run(
    config: AuditConfig, copies: Deduplicated, scored: Scored, decisions: Artifact, filtered: FilteredData, examined: Examined
) -> tuple[Gate, ...]:
    """Judge the gates on what the stages stored, waivers that are in force today considered."""
    evaluation = scored.scores.facts["evaluation"]
    gates = judge(
        store.read_frame(copies.profiles),
        CLUSTERS.check(store.read_frame(copies.clusters)),
        SINK_SCORES.check(store.read_frame(scored.scores)),
        _decisions(decisions),
        filtered.rows_by_source,
        config.release,
        num_candidates=copies.num_compared,
        num_skipped=copies.num_skipped,
        rival_margin=_measure(evaluation["gain_over_rival"], "value", evaluation),
        brier_skill=_measure(evaluation["calibration"], "brier_skill", evaluation),
        removal_recall=measured(*(copies.quality.facts["recall"][key] for key in ("value", "low", "high", "n"))),
        kept_secrets=count_kept_secrets(SENSITIVE_PATTERNS.check(store.read_frame(examined.sensitive))),
    )
    return waive(gates, config.release.waivers, current().today)


def parents_of(run: Run, documents: Artifact, decisions: Artifact, copies: Deduplicated, overruled: Artifact | None) -> dict[str, Any]:
    """Return what a release came from: digests, of references too, code versions, seeds, the MinHash scheme; the run decided again."""
    config = run.config
    again: dict[str, Any] = {"parent": run.origin.parent, "overrides": list(run.origin.files)} if run.origin else {}
    if overruled is not None:
        ids = store.read_frame(copies.profiles, ["doc_id", "content_hash", "row_hash"])
        again["overruled"] = {"digest": overruled.digest, **describe_orders(OVERRULED.check(store.read_frame(overruled)), ids)}
    return {
        "input_digest": documents.facts["input_digest"],
        "config_digest": store.digest_of(settings_of(config)),
        "documents_digest": documents.digest,
        "decisions_digest": decisions.digest,
        "references": [reference.digest for reference in run.references],
        "completes": [reference.name for reference in run.references if reference.is_completed],
        "code_versions": {name: made_by(name) for name in ("corpus", "dedup", "proxy", "risk", "release")},
        "seeds": {"audit": config.seed, "minhash": config.dedup.seed},
        "minhash_scheme": SCHEME,
        "run": run.run_id,
        **again,
    }


def _measure(found: Mapping[str, Any], name: str, evaluation: Mapping[str, Any]) -> Measure | None:
    """Return an estimate of the evaluation as the gates take it, or None where it could not be measured."""
    prefix = "" if name == "value" else f"{name}_"
    return measured(found.get(name), found.get(f"{prefix}low"), found.get(f"{prefix}high"), int(evaluation["num_positive"]))


def _decisions(artifact: Artifact) -> Any:
    return DECISIONS.check(store.read_frame(artifact))
