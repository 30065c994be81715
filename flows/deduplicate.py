"""Find the copies: propose, verify, cluster, choose what goes, measure how much was found; then what the rest repeats in part.

Documents are profiled and signed while they are read (`read`). Where a part's table is missing, because a setting changed or a file was
lost, it is made from the stored documents.
"""

from __future__ import annotations

import flows.settings  # noqa: F401  before prefect is imported

# isort: split
from dataclasses import dataclass

from prefect import flow

from flows import tasks
from flows.run import Run, current, merge_counts
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
    spans: Artifact


@flow(name="deduplicate")
def deduplicate(config: AuditConfig, documents: Artifact) -> Deduplicated:
    """Deduplicate the documents."""
    run, section, workers = current(), config.dedup, config.runtime.workers
    profiles = profile(run, documents)
    signatures = sign(run, documents, config)
    with run.stage("candidates") as stage:
        folder = run.ledger.folder("candidate_pairs", CODE, section, signatures.digest)
        candidates = stage.settle(*tasks.propose(signatures, folder, section, workers))
    sets = run.ledger.folder("shingle_sets", CODE, section, documents.digest, candidates.digest)
    with run.stage("verification") as stage:
        folder = run.ledger.folder("duplicate_pairs", CODE, section, documents.digest, candidates.digest)
        pairs = stage.settle(*tasks.verify(candidates, documents, signatures, folder, sets, section, workers))
    with run.stage("clusters") as stage:
        folder = run.ledger.folder("clusters", CODE, None, profiles.digest, pairs.digest)
        clusters = stage.settle(*tasks.cluster(profiles, pairs, folder))
    with run.stage("removals") as stage:
        folder = run.ledger.folder("removals", CODE, section, documents.digest, clusters.digest, pairs.digest)
        removals = stage.settle(*tasks.choose(documents, clusters, pairs, signatures, folder, sets, section, workers))
    store.remove(sets)
    with run.stage("quality") as stage:
        tables = (documents, profiles, candidates, pairs, removals)
        folder = run.ledger.folder("planted_pairs", QUALITY_CODE, section, config.seed, *(table.digest for table in tables))
        quality = stage.settle(*tasks.measure_recall(*tables, folder, section, config.seed))
    with run.stage("spans") as stage:
        folder = run.ledger.folder("repeated_spans", CODE, section, documents.digest, clusters.digest, removals.digest)
        spans = stage.settle(*tasks.find_repeats(documents, profiles, clusters, removals, folder, section))
    return Deduplicated(profiles, signatures, candidates, pairs, clusters, removals, quality, spans)


def read(run: Run) -> Artifact:
    """Read the corpus, or find it read."""
    section = run.config.input
    unplaced = section.model_copy(update={"paths": (), "dataset": "unplaced"})
    with run.stage("documents") as stage:
        folder = run.ledger.folder("documents", ("corpus", "rows", "text"), unplaced, run.input_digest)
        tables = (profiles_folder(run, folder), signatures_folder(run, folder))
        return stage.settle(*tasks.read_documents(section, run.config.dedup, folder, *tables, run.config.runtime.workers))


def profile(run: Run, documents: Artifact) -> Artifact:
    """Profile the parts that reading did not."""
    folder = profiles_folder(run, documents.folder)
    if (found := _find_parts("profiles", folder, documents)) is not None:
        return found
    names = list(store.part_names(len(documents.parts)))
    with run.stage("profiles", len(names)) as stage:
        futures = [tasks.profile_part.submit(documents, number, f"{folder}/{name}") for number, name in enumerate(names)]
        return stage.gather("profiles", folder, futures)


def sign(run: Run, documents: Artifact, config: AuditConfig) -> Artifact:
    """Sign the parts that reading did not."""
    folder = signatures_folder(run, documents.folder)
    if (found := _find_parts("signatures", folder, documents)) is not None:
        return found
    names = list(store.part_names(len(documents.parts)))
    with run.stage("signatures", len(names)) as stage:
        futures = [tasks.sign_part.submit(documents, number, f"{folder}/{name}", config.dedup) for number, name in enumerate(names)]
        return stage.gather("signatures", folder, futures)


def profiles_folder(run: Run, documents: str) -> str:
    """Return where the profiles of the documents in a folder are; the folder's own name says what the documents were made from."""
    return run.ledger.folder("profiles", ("rows", "text"), None, documents.rpartition("/")[2])


def signatures_folder(run: Run, documents: str) -> str:
    """Return where the signatures of the documents in a folder are."""
    return run.ledger.folder("signatures", CODE, run.config.dedup, documents.rpartition("/")[2])


def _find_parts(table: str, folder: str, documents: Artifact) -> Artifact | None:
    found = [store.find(f"{folder}/{name}") for name in store.part_names(len(documents.parts))]
    pieces = [piece for piece in found if piece is not None]
    return store.gather(table, folder, pieces, merge_counts(pieces)) if len(pieces) == len(found) else None
