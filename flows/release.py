"""Decide about every row, write what stays, judge it, tell it in a report, and only then let it be seen."""

from __future__ import annotations

import flows.settings  # noqa: F401  before prefect is imported

# isort: split
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prefect import flow

from flows import tasks
from flows.deduplicate import Deduplicated
from flows.reporting import write_report
from flows.run import Run, current, settings_of
from flows.score import Scored
from pipeline import store
from pipeline.config import AuditConfig
from pipeline.dedup.signatures import SCHEME
from pipeline.release.card import render_card
from pipeline.release.filtering import FilteredData
from pipeline.release.gate import Gate, Measure, measured
from pipeline.release.gates import judge
from pipeline.release.manifest import publish_release, seal, staging_folder
from pipeline.store import Artifact
from pipeline.tables import CLUSTERS, DECISIONS, SINK_SCORES

CODE = ("release",)


@dataclass(frozen=True)
class Released:
    """Say what came of a run: its verdict, and where the filtered data lies (in staging if a gate failed)."""

    decisions: Artifact
    verdict: str
    filtered: str
    num_rows: int


@flow(name="release")
def release(config: AuditConfig, documents: Artifact, copies: Deduplicated, scored: Scored) -> Released:
    """Release the filtered dataset and its report."""
    run, section = current(), config.release
    with run.stage("decisions") as stage:
        found = (copies.profiles, copies.clusters, copies.removals, copies.duplicate_pairs)
        tables = (*found, scored.scores, copies.spans, copies.references)
        folder = run.ledger.folder("decisions", CODE, section, *(table.digest for table in tables))
        decisions = stage.settle(*tasks.decide_documents(*tables, folder, section))
    with run.stage("filtering") as stage:
        staging = staging_folder(run.filtered)
        filtered = tasks.filter_rows(documents, decisions, scored.scores, copies.clusters, copies.profiles, copies.spans, staging, section)
        stage.count(filtered.num_rows, sum(shard.num_bytes for shard in filtered.shards))
    gates = judge_run(config, copies, scored, decisions, filtered)
    parents = parents_of(run, documents, decisions)
    known, text_column = store.read_frame(copies.profiles), documents.facts["text_column"]
    card = render_card(config.name, known, _decisions(decisions), filtered, gates, parents, section, text_column)
    manifest = seal(filtered, config.name, card, gates, parents)
    write_report(run, documents, copies, scored, decisions, filtered, [gate.to_dict() for gate in gates], manifest.verdict, parents)
    if manifest.verdict == "FAIL":
        return Released(decisions, manifest.verdict, staging, filtered.num_rows)
    publish_release(staging, run.filtered)
    return Released(decisions, manifest.verdict, run.filtered, filtered.num_rows)


def judge_run(config: AuditConfig, copies: Deduplicated, scored: Scored, decisions: Artifact, filtered: FilteredData) -> tuple[Gate, ...]:
    """Judge the gates on what the stages stored."""
    found, evaluation = copies.candidates.facts, scored.scores.facts["evaluation"]
    return judge(
        store.read_frame(copies.profiles),
        CLUSTERS.check(store.read_frame(copies.clusters)),
        SINK_SCORES.check(store.read_frame(scored.scores)),
        _decisions(decisions),
        filtered.rows_by_source,
        config.release,
        num_candidates=found["num_comparisons"],
        num_skipped=found["num_skipped_comparisons"],
        rival_margin=_measure(evaluation["gain_over_rival"], "value", evaluation),
        brier_skill=_measure(evaluation["calibration"], "brier_skill", evaluation),
        removal_recall=measured(*(copies.quality.facts["recall"][key] for key in ("value", "low", "high", "n"))),
    )


def parents_of(run: Run, documents: Artifact, decisions: Artifact) -> dict[str, Any]:
    """Return what a release came from: digests, of references too, code versions, seeds, the MinHash scheme."""
    config = run.config
    return {
        "input_digest": documents.facts["input_digest"],
        "config_digest": store.digest_of(settings_of(config)),
        "documents_digest": documents.digest,
        "decisions_digest": decisions.digest,
        "references": [reference.digest for reference in run.references],
        "code_versions": {name: store.code_version(name) for name in ("corpus", "dedup", "proxy", "risk", "release")},
        "seeds": {"audit": config.seed, "minhash": config.dedup.seed},
        "minhash_scheme": SCHEME,
        "run": run.run_id,
    }


def _measure(found: Mapping[str, Any], name: str, evaluation: Mapping[str, Any]) -> Measure | None:
    """Return an estimate of the evaluation as the gates take it, or None where it could not be measured."""
    prefix = "" if name == "value" else f"{name}_"
    return measured(found.get(name), found.get(f"{prefix}low"), found.get(f"{prefix}high"), int(evaluation["num_positive"]))


def _decisions(artifact: Artifact) -> Any:
    return DECISIONS.check(store.read_frame(artifact))
