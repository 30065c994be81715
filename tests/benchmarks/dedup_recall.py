"""What deduplication finds of what there is: one run compared with exact all-pairs truth under the same clusters and the same walk.

A true pair is two documents of different content whose exact Jaccard similarity reaches the threshold; equal contents are found by hash
and would only flatter. A true removal is one that the walk makes, as a near-duplicate, where all true pairs are known.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow.compute as pc

from pipeline import store
from pipeline.config import DedupConfig
from pipeline.dedup.candidates import find_candidates
from pipeline.dedup.clusters import cluster_documents
from pipeline.dedup.placed import place
from pipeline.dedup.removals import find_removals
from pipeline.dedup.shingles import shingle_hashes, shingle_sets
from pipeline.dedup.signatures import compute_signatures, signature_matrix
from pipeline.dedup.verification import verify_candidates
from pipeline.tables import DUPLICATE_PAIRS, SIGNATURES, CandidatePairs, Clusters, DuplicatePairs, Removals, Signatures, check_documents
from tests.benchmarks.all_pairs import find_all_pairs

PAIR = ("doc_id_a", "doc_id_b")


@dataclass(frozen=True)
class Truth:
    """Hold what exact comparison of all with all finds; `doc_ids` are those compared, the first document of each content."""

    doc_ids: npt.NDArray[np.int64]
    pairs: DuplicatePairs
    clusters: Clusters
    removals: Removals


@dataclass(frozen=True)
class Run:
    """Hold what one run found, and the CPU seconds of candidates and verification."""

    candidates: CandidatePairs
    pairs: DuplicatePairs
    clusters: Clusters
    removals: Removals
    seconds: float


def sign(documents: store.Artifact, config: DedupConfig, folder: Path) -> store.Artifact:
    """Store the signatures of all parts."""
    pieces = []
    for path, name in zip(documents.paths(), store.part_names(len(documents.parts)), strict=True):
        signatures, facts = compute_signatures(check_documents(store.read_arrow(path)), config)
        pieces.append(store.publish_frame("signatures", f"{folder}/{name}", signatures, facts))
    return store.gather("signatures", str(folder), pieces)


def find_truth(documents: store.Artifact, signatures: store.Artifact, config: DedupConfig, folder: Path) -> Truth:
    """Compare all contents with all, and walk over what is found."""
    known = store.read_frame(signatures, ["doc_id", "content_hash", "num_bytes", "num_shingles"])
    doc_ids, values, offsets = read_all_sets(documents, known, config)
    a, b, shared = find_all_pairs(values, offsets, config.threshold)
    sizes = np.diff(offsets)
    evidence = {"jaccard": shared / (sizes[a] + sizes[b] - shared), "containment_a": shared / sizes[a], "containment_b": shared / sizes[b]}
    pairs = DUPLICATE_PAIRS.check(pl.DataFrame({"doc_id_a": doc_ids[a], "doc_id_b": doc_ids[b], **evidence}))
    clusters, _ = cluster_documents(known, pairs)
    # all there is to know is known: the walk has nothing to compare
    settings = config.model_copy(update={"max_cluster_comparisons": 0})
    removals, _ = find_removals(documents, clusters, pairs, known, settings, str(folder))
    return Truth(doc_ids, pairs, clusters, removals)


def read_all_sets(
    documents: store.Artifact, known: pl.DataFrame, config: DedupConfig
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
    """Return the first document of each content that has shingles, rising, and their shingle sets, as values and offsets."""
    chosen = known.filter(pl.col("num_shingles") > 0).group_by("content_hash").agg(pl.col("doc_id").min())["doc_id"].sort()
    sets = []
    for part in store.iter_arrow(documents, ["doc_id", "text"]):
        texts = part.filter(pc.is_in(part["doc_id"], chosen.to_arrow()))["text"]
        sets.append(shingle_sets(*shingle_hashes(texts, config)[:2]))
    lengths = np.concatenate([np.diff(offsets) for _, offsets in sets])
    return chosen.to_numpy(), np.concatenate([values for values, _ in sets]), np.cumsum([0, *lengths])


def run(documents: store.Artifact, signatures: store.Artifact, config: DedupConfig, folder: Path) -> Run:
    """Deduplicate signed documents, the way the flow does."""
    known = store.read_frame(signatures, ["doc_id", "content_hash", "num_bytes", "num_shingles"])
    start = time.process_time()
    candidates, _ = find_candidates(place(signatures), config, f"{folder}/keys")
    pairs, _ = verify_candidates(candidates, place(documents), known, config, f"{folder}/sets")
    seconds = time.process_time() - start
    clusters, _ = cluster_documents(known, pairs)
    removals, _ = find_removals(documents, clusters, pairs, known, config, f"{folder}/sets")
    store.remove(str(folder))
    return Run(candidates, pairs, clusters, removals, seconds)


def found_pairs(truth: Truth, found: Run) -> pl.DataFrame:
    """Return the true pairs with `is_found`: both documents ended in one cluster."""
    cluster_of = found.clusters.select("doc_id", "cluster_id")
    joined: pl.DataFrame = truth.pairs
    for end in PAIR:
        joined = joined.join(cluster_of.rename({"doc_id": end, "cluster_id": f"cluster_{end}"}), on=end, maintain_order="left")
    return joined.with_columns(is_found=pl.col("cluster_doc_id_a") == pl.col("cluster_doc_id_b")).select(*PAIR, "jaccard", "is_found")


def found_removals(truth: Truth, found: Run) -> pl.DataFrame:
    """Return the true removals of near-duplicates with `is_found`: the run removed the document, too, whatever it kept for it."""
    near = truth.removals.filter(pl.col("reason") == "near_duplicate")
    return near.select("doc_id", "jaccard", is_found=pl.col("doc_id").is_in(found.removals["doc_id"].implode()))


def count_misses(pairs: pl.DataFrame, found: Run, signatures: store.Artifact, config: DedupConfig) -> tuple[int, int]:
    """Count the true pairs not found that have no band in common, and those that have one but were not proposed."""
    missed = pairs.filter(~pl.col("is_found"))
    assert not missed.join(found.candidates, on=PAIR, how="semi").height, "a true pair was proposed and turned down"
    frame: Signatures = SIGNATURES.check(store.read_frame(signatures).sort("doc_id"))
    doc_ids, matrix = frame["doc_id"].to_numpy(), signature_matrix(frame, config)
    shape = (-1, config.num_bands, config.rows_per_band)
    a, b = (matrix[np.searchsorted(doc_ids, missed[end].to_numpy())][:, : shape[1] * shape[2]].reshape(shape) for end in PAIR)
    has_band = (a == b).all(axis=2).any(axis=1)
    return int((~has_band).sum()), int(has_band.sum())
