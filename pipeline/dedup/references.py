"""Reference corpora: what documents are compared with and what never loses a row.

They take part in the candidates, with ids below zero. After that only those of their documents matter that share a candidate pair or
their very text with an audited document: one small table, whatever the size of the corpora. Empty texts are left out of it: an empty
row goes for being empty, as it does without references.

Of an earlier run only what its deduplication kept is compared with. Then, with one copy kept, a new row goes exactly where one run over old
and new rows, the old ones first, would remove it: also where it resembles nothing but an old copy that was removed, and therefore stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from pipeline.dedup.placed import Placed, place
from pipeline.dedup.union_find import Indices
from pipeline.store import Artifact, read_arrow, read_frame
from pipeline.tables import CLUSTERS, REFERENCE_DOCUMENTS, CandidatePairs, Clusters, DuplicatePairs, ReferenceDocuments

NAMES = ("doc_id", "source", "source_id")
SIZES = ("doc_id", "content_hash", "num_bytes", "num_shingles")


@dataclass(frozen=True)
class Corpus:
    """Hold a reference as it is stored, ids from 0; `removals` are those of its own run, if it was audited."""

    digest: str
    documents: Artifact
    signatures: Artifact
    removals: Artifact | None = None


@dataclass(frozen=True)
class Reference:
    """Hold a corpus under its ids below zero: parts of documents and of signatures, in step; `left_out` are ids, rising, not compared."""

    digest: str
    documents: tuple[Placed, ...]
    signatures: tuple[Placed, ...]
    left_out: Indices
    num_documents: int  # compared with


def place_references(corpora: Iterable[Corpus]) -> list[Reference]:
    """Number corpora one after another, in order of their digests, up to -1."""
    ordered = sorted(corpora, key=lambda corpus: corpus.digest)
    first_id = -sum(corpus.documents.num_rows for corpus in ordered)
    placed = []
    for corpus in ordered:
        gone = np.empty(0, np.int64) if corpus.removals is None else read_frame(corpus.removals, ["doc_id"])["doc_id"].sort().to_numpy()
        documents, signatures = place(corpus.documents, first_id), place(corpus.signatures, first_id)
        num_compared = corpus.documents.num_rows - len(gone)
        placed.append(Reference(corpus.digest, tuple(documents), tuple(signatures), gone + first_id, num_compared))
        first_id += corpus.documents.num_rows
    return placed


def choose_references(references: Sequence[Reference], contents: pl.Series, candidates: CandidatePairs) -> ReferenceDocuments:
    """Return the reference documents that a candidate pair names, or whose text is one of `contents`, those of the audited documents."""
    named = candidates.filter(pl.col("doc_id_a") < 0)["doc_id_a"].unique().implode()
    is_wanted = pl.col("doc_id").is_in(named) | pl.col("content_hash").is_in(contents.unique().implode())
    found = [REFERENCE_DOCUMENTS.empty()]
    for reference in references:
        gone = pl.Series(reference.left_out).implode()
        for documents, signatures in zip(reference.documents, reference.signatures, strict=True):
            rows = _read(signatures, SIZES).filter(is_wanted & (pl.col("num_shingles") > 0) & pl.col("doc_id").is_in(gone).not_())
            if rows.height:
                rows = rows.join(_read(documents, NAMES), on="doc_id", how="left").with_columns(reference=pl.lit(reference.digest))
                found.append(REFERENCE_DOCUMENTS.check(rows))
    return REFERENCE_DOCUMENTS.check(pl.concat(found).sort("doc_id"))


def with_references(clusters: Clusters, documents: pl.DataFrame, references: ReferenceDocuments, pairs: DuplicatePairs) -> Clusters:
    """Add the references to the clusters of audited documents that they are tied to, and count them.

    documents: `doc_id, content_hash` of the audited ones. References are tied by a pair or by equal text, never by one another.
    """
    by_text = documents.select("doc_id", "content_hash").join(references.select("content_hash", reference="doc_id"), on="content_hash")
    by_pair = pairs.filter(pl.col("doc_id_a") < 0).select(doc_id="doc_id_b", reference="doc_id_a")
    ties = pl.concat([by_text.select("doc_id", "reference"), by_pair]).join(clusters, on="doc_id")
    tied = ties.select("cluster_id", doc_id="reference").unique("doc_id")
    both = pl.concat([tied.select("doc_id", "cluster_id"), clusters.select("doc_id", "cluster_id")]).sort("doc_id")
    return CLUSTERS.check(both.with_columns(cluster_size=pl.len().over("cluster_id").cast(pl.Int64)))


def without_references(clusters: Clusters) -> Clusters:
    """Return the clusters of audited documents alone, sizes counting those; a cluster's id may be the hash of a reference's text."""
    own = clusters.filter(pl.col("doc_id") >= 0)
    return CLUSTERS.check(own.with_columns(cluster_size=pl.len().over("cluster_id").cast(pl.Int64)))


def _read(part: Placed, columns: Sequence[str]) -> pl.DataFrame:
    path, shift = part
    frame = pl.DataFrame(pl.from_arrow(read_arrow(path, columns)))
    return frame.with_columns(pl.col("doc_id") + shift)
