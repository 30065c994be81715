"""Signals that need nothing but the corpus, computed part by part for every document."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Iterator

import polars as pl

from pipeline.risk.fuzzy import FuzzyIndex, build_index, near_copy_mass, word_grams
from pipeline.tables import Clusters, Documents, DocumentSignals

Parts = Callable[[], Iterable[Documents]]
"""Opens `documents` anew at each call: it is read once for the index of the subsample and once for the features."""

ROWS_PER_SLICE = 1_024

DOCUMENT_FEATURES = {
    "doc_id": pl.Int64,
    "content_hash": pl.Binary,
    "row_hash": pl.Binary,
    "num_bytes": pl.Int64,
    "zlib_bytes": pl.Int64,
    "length": pl.Float64,
    "zlib_ratio": pl.Float64,
    "fuzzy_mass": pl.Float64,
}


def copies(cluster_size: int) -> float:
    """Return log2 of the number of documents in the cluster.

    Unit: doublings. Direction: more copies, more memorization. Source: Carlini 2023, section 3; Kandpal 2022.
    """
    return math.log2(cluster_size)


def fuzzy_mass(text: str, content_hash: bytes, index: FuzzyIndex) -> float | None:
    """Return log2(1 + sum over near-copies of copies x weight), near-copies by 3-gram containment inside the proxy subsample.

    Unit: doublings of exact-copy equivalents. Direction: more mass, more memorization. Source: Shilov 2024, "Mosaic memory".
    """
    mass = near_copy_mass(word_grams(text), content_hash, index)
    return None if mass is None else math.log2(1.0 + mass)


def zlib_ratio(num_bytes: int, zlib_bytes: int) -> float | None:
    """Return compressed over plain UTF-8 bytes (zlib, level 6).

    Unit: share. Direction: none stated; low for repetitive text, high for random strings. Source: Carlini 2021, section 5.
    """
    return zlib_bytes / num_bytes if num_bytes else None


def length(num_bytes: int) -> float | None:
    """Return log2 of the text's UTF-8 bytes.

    Unit: doublings. Direction: longer texts have more windows that may be memorized.
    """
    return math.log2(num_bytes) if num_bytes else None


def index_subsample(parts: Parts, doc_ids: Iterable[int]) -> FuzzyIndex:
    """Index the documents that proxies train on."""
    wanted = frozenset(doc_ids)
    return build_index((content, row, text) for part in parts() for doc, content, row, text in _rows(part) if doc in wanted and text)


def document_features(part: Documents, index: FuzzyIndex) -> pl.DataFrame:
    """Return the corpus signals of one part's documents (schema DOCUMENT_FEATURES); null where a text is too short or empty."""
    rows = []
    for doc_id, content_hash, row_hash, text in _rows(part):
        data = text.encode("utf-8", "surrogatepass")
        squeezed = len(zlib.compress(data, 6)) if data else 0
        mass = fuzzy_mass(text, content_hash, index) if data else None
        rows.append((doc_id, content_hash, row_hash, len(data), squeezed, length(len(data)), zlib_ratio(len(data), squeezed), mass))
    return pl.DataFrame(rows, schema=DOCUMENT_FEATURES, orient="row")


def cluster_texts(documents: pl.DataFrame, clusters: Clusters, signals: DocumentSignals) -> pl.DataFrame:
    """Average document features and the one forward pass over each cluster's documents, and count its copies.

    Returns one row a cluster in the order of cluster_id. The mean is taken in the order of the texts' hashes, so doc_ids don't matter.
    """
    joined = documents.join(pl.DataFrame(clusters), on="doc_id").join(pl.DataFrame(signals), on="content_hash", how="left")
    averaged = [name for name, dtype in joined.schema.items() if dtype.is_numeric() and name not in ("doc_id", "cluster_size")]
    return (
        joined.sort("cluster_id", "content_hash", "row_hash")
        .group_by("cluster_id", maintain_order=True)
        .agg(pl.col("cluster_size").max(), *(pl.col(name).mean() for name in averaged))
        .with_columns(pl.Series("copies", [], pl.Float64) if joined.is_empty() else _copies_column())
    )


def _copies_column() -> pl.Expr:
    return pl.col("cluster_size").map_elements(copies, return_dtype=pl.Float64).alias("copies")


def _rows(part: Documents) -> Iterator[tuple[int, bytes, bytes, str]]:
    columns = part.select(["doc_id", "content_hash", "row_hash", "text"])
    for start in range(0, columns.num_rows, ROWS_PER_SLICE):
        piece = columns.slice(start, ROWS_PER_SLICE)
        for doc_id, content_hash, row_hash, text in zip(*(column.to_pylist() for column in piece.columns), strict=True):
            yield doc_id, content_hash, row_hash, text if text and not text.isspace() else ""
