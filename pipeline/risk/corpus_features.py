"""Signals that need nothing but the corpus, computed part by part for every document."""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Iterable, Iterator

import polars as pl

from pipeline.risk.commonness import GramTally, commonness, piece_grams
from pipeline.risk.fuzzy import FuzzyIndex, build_index, near_copy_mass, word_grams
from pipeline.tables import Clusters, Documents, DocumentSignals, RepeatedSpans

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


def span_share(spanned_bytes: int, num_bytes: int) -> float | None:
    """Return the share of the text inside spans that other documents hold word for word.

    Unit: share of UTF-8 bytes. Direction: none stated: such text is recited more often, but by models without this document, too. Of a
    cluster the largest among its documents: spans are looked for in those that deduplication keeps. Null where they were not looked for.
    Source: Lee 2022, section 4.1; the design's section 3.
    """
    return spanned_bytes / num_bytes if num_bytes else None


def span_copies(num_occurrences: int) -> float:
    """Return log2 of the occurrences of the text's most frequent repeated span, 0 for a text without any.

    Unit: doublings. Direction: none stated: see span_share. Of a cluster the largest among its documents; null where spans were not
    looked for. Source: Lee 2022, section 4.1; the design's section 3.
    """
    return math.log2(max(num_occurrences, 1))


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


def corpus_texts(
    parts: Parts, trained: Iterable[int], clusters: Clusters, signals: DocumentSignals, spans: RepeatedSpans | None = None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Read the corpus twice, one part in memory at a time; return the frames of `document_features` and `cluster_texts`.

    `trained`: the documents that proxies train on. `spans`: None where they were not looked for.
    """
    index, tally = index_subsample(parts, trained), GramTally()
    documents = pl.concat([document_features(part, index, tally) for part in parts()])
    texts = cluster_texts(documents, clusters, signals, spans)
    return documents, texts.join(commonness(tally.frame(), clusters), on="cluster_id", how="left", maintain_order="left")


def document_features(part: Documents, index: FuzzyIndex, tally: GramTally) -> pl.DataFrame:
    """Return the corpus signals of one part's documents (schema DOCUMENT_FEATURES); null where a text is too short or empty.

    The tally takes the n-grams of all texts.
    """
    rows = []
    for doc_id, content_hash, row_hash, text in _rows(part):
        tally.add(doc_id, piece_grams(text))
        data = text.encode("utf-8", "surrogatepass")
        squeezed = len(zlib.compress(data, 6)) if data else 0
        mass = fuzzy_mass(text, content_hash, index) if data else None
        rows.append((doc_id, content_hash, row_hash, len(data), squeezed, length(len(data)), zlib_ratio(len(data), squeezed), mass))
    return pl.DataFrame(rows, schema=DOCUMENT_FEATURES, orient="row")


def cluster_texts(
    documents: pl.DataFrame, clusters: Clusters, signals: DocumentSignals, spans: RepeatedSpans | None = None
) -> pl.DataFrame:
    """Average document features and the one forward pass over each cluster's documents, count its copies, and weigh its repeated spans.

    Returns one row a cluster in the order of cluster_id. The mean is taken in the order of the texts' hashes, so doc_ids don't matter.
    `spans`: None where they were not looked for.
    """
    joined = documents.join(pl.DataFrame(clusters), on="doc_id").join(pl.DataFrame(signals), on="content_hash", how="left")
    averaged = [name for name, dtype in joined.schema.items() if dtype.is_numeric() and name not in ("doc_id", "cluster_size")]
    texts = (
        joined.sort("cluster_id", "content_hash", "row_hash")
        .group_by("cluster_id", maintain_order=True)
        .agg(pl.col("cluster_size").max(), *(pl.col(name).mean() for name in averaged))
        .with_columns(pl.Series("copies", [], pl.Float64) if joined.is_empty() else _copies_column())
    )
    return texts.join(_cluster_spans(joined, spans), on="cluster_id", how="left", maintain_order="left")


def _cluster_spans(joined: pl.DataFrame, spans: RepeatedSpans | None) -> pl.DataFrame:
    """Return span_share and span_copies of every cluster, the largest among its documents."""
    if spans is None:
        return joined.select("cluster_id", span_share=pl.lit(None, pl.Float64), span_copies=pl.lit(None, pl.Float64)).unique()
    weighed = joined.select("doc_id", "cluster_id", "num_bytes").join(_document_spans(spans), on="doc_id", how="left").fill_null(0)
    rows = [
        (cluster_id, span_share(spanned, num_bytes), span_copies(occurrences))
        for cluster_id, num_bytes, spanned, occurrences in weighed.select(
            "cluster_id", "num_bytes", "spanned_bytes", "num_occurrences"
        ).iter_rows()
    ]
    schema = {"cluster_id": pl.Binary, "span_share": pl.Float64, "span_copies": pl.Float64}
    return pl.DataFrame(rows, schema, orient="row").group_by("cluster_id").agg(pl.all().max())


def _document_spans(spans: RepeatedSpans) -> pl.DataFrame:
    """Return doc_id, spanned_bytes (bytes that several spans hold count once), num_occurrences of the most frequent span."""
    ordered = pl.DataFrame(spans).sort("doc_id", "start", "end")
    reached = pl.col("end").cum_max().shift(1).over("doc_id").fill_null(0)
    new = ordered.with_columns(new=(pl.col("end") - pl.max_horizontal("start", reached)).clip(lower_bound=0))
    return new.group_by("doc_id").agg(spanned_bytes=pl.col("new").sum(), num_occurrences=pl.col("num_occurrences").max())


def _copies_column() -> pl.Expr:
    return pl.col("cluster_size").map_elements(copies, return_dtype=pl.Float64).alias("copies")


def _rows(part: Documents) -> Iterator[tuple[int, bytes, bytes, str]]:
    columns = part.select(["doc_id", "content_hash", "row_hash", "text"])
    for start in range(0, columns.num_rows, ROWS_PER_SLICE):
        piece = columns.slice(start, ROWS_PER_SLICE)
        for doc_id, content_hash, row_hash, text in zip(*(column.to_pylist() for column in piece.columns), strict=True):
            yield doc_id, content_hash, row_hash, text if text and not text.isspace() else ""
