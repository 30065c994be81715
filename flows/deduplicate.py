"""Find the copies: profile and sign each part, propose, verify, cluster, choose what goes, measure how much was found."""

from __future__ import annotations

import flows.settings  # noqa: F401  before prefect is imported

# isort: split
from dataclasses import dataclass

from prefect import flow

from flows import tasks
from flows.run import Run, current
from pipeline import store
from pipeline.config import AuditConfig
from pipeline.store import Artifact

CODE = ("dedup", "text")
QUALITY_CODE = (*CODE, "rows", "statistics")


@dataclass(frozen=True)
class Deduplicated:
    """Name the tables that deduplication made."""

    profiles: Artifact
    signatures: Artifact
    candidates: Artifact
    duplicate_pairs: Artifact
    clusters: Artifact
    removals: Artifact
    quality: Artifact


@flow(name="deduplicate")
def deduplicate(config: AuditConfig, documents: Artifact) -> Deduplicated:
    """Deduplicate the documents."""
    run, section = current(), config.dedup
    profiles = profile(run, documents)
    signatures = sign(run, documents, config)
    with run.stage("candidates") as stage:
        folder = run.ledger.folder("candidate_pairs", CODE, section, signatures.digest)
        candidates = stage.settle(*tasks.propose(signatures, folder, section))
    with run.stage("verification") as stage:
        folder = run.ledger.folder("duplicate_pairs", CODE, section, documents.digest, candidates.digest)
        pairs = stage.settle(*tasks.verify(candidates, documents, signatures, folder, section))
    with run.stage("clusters") as stage:
        folder = run.ledger.folder("clusters", CODE, None, profiles.digest, pairs.digest)
        clusters = stage.settle(*tasks.cluster(profiles, pairs, folder))
    with run.stage("removals") as stage:
        folder = run.ledger.folder("removals", CODE, section, documents.digest, clusters.digest, pairs.digest)
        removals = stage.settle(*tasks.choose(documents, clusters, pairs, signatures, folder, section))
    with run.stage("quality") as stage:
        tables = (documents, profiles, candidates, pairs, removals)
        folder = run.ledger.folder("planted_pairs", QUALITY_CODE, section, config.seed, *(table.digest for table in tables))
        quality = stage.settle(*tasks.measure_recall(*tables, folder, section, config.seed))
    return Deduplicated(profiles, signatures, candidates, pairs, clusters, removals, quality)


def profile(run: Run, documents: Artifact) -> Artifact:
    """Profile all parts."""
    folder = run.ledger.folder("profiles", ("rows", "text"), None, documents.digest)
    names = list(store.part_names(len(documents.parts)))
    with run.stage("profiles", len(names)) as stage:
        futures = [tasks.profile_part.submit(documents, number, f"{folder}/{name}") for number, name in enumerate(names)]
        return stage.gather("profiles", folder, futures)


def sign(run: Run, documents: Artifact, config: AuditConfig) -> Artifact:
    """Sign all parts."""
    folder = run.ledger.folder("signatures", CODE, config.dedup, documents.digest)
    names = list(store.part_names(len(documents.parts)))
    with run.stage("signatures", len(names)) as stage:
        futures = [tasks.sign_part.submit(documents, number, f"{folder}/{name}", config.dedup) for number, name in enumerate(names)]
        return stage.gather("signatures", folder, futures)
