"""Find the copies: propose, verify, cluster, choose what goes, measure how much was found; then what the rest repeats in part.

Documents are compared with each other and with references, which are read and signed like them, or stand in the ledger from a run of
their own.

Documents are profiled and signed while they are read (`read`). Where a part's table is missing, because a setting changed or a file was
lost, it is made from the stored documents.
"""

from __future__ import annotations

import flows.settings  # noqa: F401  before prefect is imported

# isort: split
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from flows import tasks
from flows.discreet import flow
from flows.locks import locked
from flows.references import stored_corpus, told_of
from flows.run import Run, current, merge_counts
from pipeline import store
from pipeline.config import AuditConfig, DedupConfig, InputConfig
from pipeline.dedup.references import Corpus, place_references
from pipeline.store import Artifact

CODE = ("dedup", "text")
QUALITY_CODE = (*CODE, "rows", "statistics")


@dataclass(frozen=True)
class Deduplicated:
    """Name the tables that deduplication made."""

    profiles: Artifact
    signatures: Artifact
    candidates: Artifact
    references: Artifact
    duplicate_pairs: Artifact
    clusters: Artifact
    removals: Artifact
    quality: Artifact
    spans: Artifact

    @property
    def num_compared(self) -> int:
        """Count the comparisons that buckets proposed and that the walks through clusters made."""
        return int(self.candidates.facts["num_comparisons"] + self.removals.facts["num_walk_comparisons"])

    @property
    def num_skipped(self) -> int:
        """Count the comparisons that the caps on buckets and on clusters left out."""
        return int(self.candidates.facts["num_skipped_comparisons"] + self.removals.facts["num_skipped_walk_comparisons"])


@flow(name="deduplicate")
def deduplicate(config: AuditConfig, documents: Artifact) -> Deduplicated:
    """Deduplicate the documents."""
    run, section = current(), config.dedup
    profiles = profile(run, documents)
    signatures = sign(run, documents, config)
    corpora = place_references(read_references(run))
    with run.stage("candidates") as stage:
        folder = run.ledger.folder("candidate_pairs", CODE, section, signatures.digest, [corpus.digest for corpus in corpora])
        candidates = stage.settle(*tasks.propose(signatures, corpora, folder, section, run.workers.mapper("propose pairs")))
        folder = run.ledger.folder("reference_documents", CODE, None, profiles.digest, candidates.digest, [one.digest for one in corpora])
        references, _ = tasks.choose_known(corpora, profiles, candidates, folder)
    known = (documents.digest, references.digest)
    sets = run.ledger.passing_folder(run.ledger.folder("shingle_sets", CODE, section, *known, candidates.digest))
    with run.stage("verification") as stage:
        folder = run.ledger.folder("duplicate_pairs", CODE, section, *known, candidates.digest)
        verify = run.workers.mapper("verify pairs")
        pairs = stage.settle(*tasks.verify(candidates, documents, signatures, corpora, references, folder, sets, section, verify))
    with run.stage("clusters") as stage:
        folder = run.ledger.folder("clusters", CODE, None, profiles.digest, references.digest, pairs.digest)
        clusters = stage.settle(*tasks.cluster(profiles, references, pairs, folder))
    with run.stage("removals") as stage:
        folder = run.ledger.folder("removals", CODE, section, *known, clusters.digest, pairs.digest)
        own = (documents, profiles, signatures, clusters, pairs)
        removals = stage.settle(*tasks.choose(*own, corpora, references, folder, sets, section, run.workers.mapper("choose removals")))
    store.remove(sets)
    with run.stage("quality") as stage:
        tables = (documents, profiles, candidates, references, pairs, removals)
        folder = run.ledger.folder("planted_pairs", QUALITY_CODE, section, config.seed, *(table.digest for table in tables))
        quality = stage.settle(*tasks.measure_recall(*tables, folder, section, config.seed))
    with run.stage("spans") as stage:
        folder = run.ledger.folder("repeated_spans", CODE, section, documents.digest, clusters.digest, removals.digest)
        anchors = anchors_folder(run, documents.folder)
        parent, _, name = anchors.rpartition("/")
        # runs that compare the same documents with other references share them: nobody removes what another is reading
        with locked(f"{parent}/.lock-{name}", is_patient=True):
            spans = stage.settle(*tasks.find_repeats(documents, profiles, clusters, removals, folder, anchors, section))
            store.remove(anchors)
    return Deduplicated(profiles, signatures, candidates, references, pairs, clusters, removals, quality, spans)


def read(run: Run) -> Artifact:
    """Read the corpus, or find it read."""
    return read_input(run, "documents", run.config.input, run.config.dedup, run.input_digest)


def read_input(run: Run, name: str, section: InputConfig, dedup: DedupConfig, digest: str) -> Artifact:
    """Read the files of a section, whose bytes have a digest, or find them read, whoever read them."""
    unplaced = section.model_copy(update={"paths": (), "dataset": "unplaced", "files": (), "new_only": False})
    with run.stage(name) as stage:
        folder = run.ledger.folder("documents", ("corpus", "rows", "text"), unplaced, digest)
        made = tasks.Made(profiles_folder(run, folder), signatures_folder(run, folder), anchors_folder(run, folder))
        mapper = None if run.workers.are_here else run.workers.mapper("read shards")
        return stage.settle(*tasks.read_documents(section, dedup, folder, made, run.config.runtime.workers, mapper))


def read_references(run: Run) -> list[Corpus]:
    """Read and sign the references that are files; of earlier runs take what they stored."""
    spanless = run.config.dedup.model_copy(update={"find_spans": False})
    corpora = []
    for reference in run.references:
        if reference.input is None:
            corpora.append(stored_corpus(reference))
            continue
        with told_of(reference.name):
            documents = read_input(run, "references", reference.input, spanless, reference.input_digest)
        corpora.append(Corpus(reference.digest, documents, sign(run, documents, run.config)))
    return corpora


def profile(run: Run, documents: Artifact) -> Artifact:
    """Profile the parts that reading did not."""
    return _complete(run, "profiles", profiles_folder(run, documents.folder), partial(tasks.profile_part, documents=documents), documents)


def sign(run: Run, documents: Artifact, config: AuditConfig) -> Artifact:
    """Sign the parts that reading did not."""
    sign_part = partial(tasks.sign_part, documents=documents, config=config.dedup)
    return _complete(run, "signatures", signatures_folder(run, documents.folder), sign_part, documents)


def profiles_folder(run: Run, documents: str) -> str:
    """Return where the profiles of the documents in a folder are; the folder's own name says what the documents were made from."""
    return run.ledger.folder("profiles", ("rows", "text"), None, documents.rpartition("/")[2])


def signatures_folder(run: Run, documents: str) -> str:
    """Return where the signatures of the documents in a folder are."""
    return run.ledger.folder("signatures", CODE, run.config.dedup, documents.rpartition("/")[2])


def anchors_folder(run: Run, documents: str) -> str:
    """Return where the anchors of the documents in a folder lie until their repeated spans are found."""
    return run.ledger.passing_folder(run.ledger.folder("anchors", CODE, run.config.dedup, documents.rpartition("/")[2]))


def _complete(run: Run, table: str, folder: str, make: Callable[[tasks.Piece], tuple[Artifact, bool]], documents: Artifact) -> Artifact:
    """Return a table with a part for each of the documents', found whole or made where it is not."""
    names = [part.path.rpartition(".")[0] for part in documents.parts]
    pieces = [piece for name in names if (piece := store.find(f"{folder}/{name}")) is not None]
    if len(pieces) == len(names):
        return store.gather(table, folder, pieces, merge_counts(pieces))
    with run.stage(table, len(names)) as stage:
        mapper = stage.watched(run.workers.mapper(f"make {table}"))
        return stage.gather(
            table, folder, tasks.make_parts(make, [(number, f"{folder}/{name}") for number, name in enumerate(names)], mapper)
        )
