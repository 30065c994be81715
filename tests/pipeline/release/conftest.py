"""A small ledger, built without any stage: random corpora whose clusters and removals obey deduplication's laws by construction."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from itertools import combinations
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import strategies as st

from pipeline.config import ReleaseConfig
from pipeline.release.decisions import decide
from pipeline.rows import encode_schema
from pipeline.store import Artifact, publish, write_part
from pipeline.tables import (
    CLUSTERS,
    DOCUMENT_FIELDS,
    DUPLICATE_PAIRS,
    REMOVALS,
    REPEATED_SPANS,
    SINK_SCORES,
    Clusters,
    Decisions,
    DuplicatePairs,
    Removals,
    RepeatedSpans,
    SinkScores,
)


@dataclass(frozen=True)
class Ledger:
    """Hold what the release is made from."""

    ids: pl.DataFrame
    clusters: Clusters
    removals: Removals
    pairs: DuplicatePairs
    scores: SinkScores
    spans: RepeatedSpans | None = None

    @property
    def tables(self) -> tuple[pl.DataFrame, Clusters, Removals, SinkScores]:
        return self.ids, self.clusters, self.removals, self.scores

    def decide(self, config: ReleaseConfig, *, with_pairs: bool = True) -> Decisions:
        return decide(*self.tables, config, self.pairs if with_pairs else None, self.spans)


@dataclass(frozen=True)
class Doc:
    """Describe one document: its text is a number (None: empty), its score (value, half width, supported)."""

    text: int | None
    source: str = "web"
    score: tuple[float, float, bool] = (0.0, 0.0, True)


def _hash(*values: object) -> bytes:
    return blake2b(repr(values).encode(), digest_size=16).digest()


def build_ledger(docs: Sequence[Doc], alike: frozenset[tuple[int, int]] = frozenset(), max_copies: int = 1) -> Ledger:
    """Return the ledger of documents whose texts are equal by number, or verified near-duplicates by `alike` (smaller number first)."""
    order = sorted(range(len(docs)), key=lambda doc_id: (_hash(docs[doc_id].text), _hash(docs[doc_id]), doc_id))
    cluster = _components(docs, alike)
    sizes = {name: sum(other == name for other in cluster) for name in cluster}
    return Ledger(
        ids=pl.DataFrame(
            {
                "doc_id": range(len(docs)),
                "source": [doc.source for doc in docs],
                "source_id": [f"row-{number}" for number in range(len(docs))],
                "content_hash": [_hash(doc.text) for doc in docs],
                "row_hash": [_hash(doc) for doc in docs],
                "num_bytes": [0 if doc.text is None else 1000 for doc in docs],
                "is_empty": [doc.text is None for doc in docs],
            },
            schema={
                "doc_id": pl.Int64,
                "source": pl.String,
                "source_id": pl.String,
                "content_hash": pl.Binary,
                "row_hash": pl.Binary,
                "num_bytes": pl.Int64,
                "is_empty": pl.Boolean,
            },
        ),
        clusters=CLUSTERS.check(
            pl.DataFrame(
                {"doc_id": range(len(docs)), "cluster_id": cluster, "cluster_size": [sizes[name] for name in cluster]},
                schema=dict(CLUSTERS.columns),
            )
        ),
        removals=_removals(docs, order, cluster, alike, max_copies),
        pairs=_pairs(docs, alike),
        scores=_scores(docs, cluster),
    )


def with_texts(ledger: Ledger, texts: Sequence[str | None], min_documents: int = 2) -> Ledger:
    """Return the ledger with the sizes of these texts, and as spans the words between `<` and `>` that stand in several documents."""
    sizes = pl.Series("num_bytes", [len((text or "").encode()) for text in texts], dtype=pl.Int64)
    found = [
        (doc_id, len(text[: match.start()].encode()), len(text[: match.end()].encode()), match.group())
        for doc_id, text in enumerate(texts)
        if text
        for match in re.finditer(r"<[^>]*>", text)
    ]
    frame = pl.DataFrame(found, schema={"doc_id": pl.Int64, "start": pl.Int64, "end": pl.Int64, "words": pl.String}, orient="row")
    counted = frame.with_columns(
        num_words=pl.col("words").str.split(" ").list.len().cast(pl.Int64),
        span_hash=pl.Series([_hash("span", words) for words in frame["words"]], dtype=pl.Binary),
        holders=pl.Series([int.from_bytes(_hash("holders", words)[:8]) for words in frame["words"]], dtype=pl.UInt64),
        num_occurrences=pl.len().over("words").cast(pl.Int64),
        num_documents=pl.col("doc_id").n_unique().over("words").cast(pl.Int64),
    )
    spans = REPEATED_SPANS.check(counted.filter(pl.col("num_documents") >= min_documents).drop("words"))
    return replace(ledger, ids=ledger.ids.with_columns(sizes), spans=spans)


def is_verified(a: Doc, b: Doc, alike: frozenset[tuple[int, int]]) -> bool:
    """Say whether two documents are directly verified duplicates."""
    if a.text is None or b.text is None:
        return False
    return a.text == b.text or tuple(sorted((a.text, b.text))) in alike


def _components(docs: Sequence[Doc], alike: frozenset[tuple[int, int]]) -> list[bytes]:
    names = [_hash(doc.text) if doc.text is not None else _hash("empty", number) for number, doc in enumerate(docs)]
    edges = [(a, b) for a, b in combinations(range(len(docs)), 2) if is_verified(docs[a], docs[b], alike)]
    while any(names[a] != names[b] for a, b in edges):
        for a, b in edges:
            names[a] = names[b] = min(names[a], names[b])
    return names


def _removals(docs: Sequence[Doc], order: list[int], cluster: list[bytes], alike: frozenset[tuple[int, int]], max_copies: int) -> Removals:
    kept: list[int] = []
    rows: list[tuple[Any, ...]] = []
    for doc_id in order:
        copies = [other for other in kept if cluster[other] == cluster[doc_id] and is_verified(docs[doc_id], docs[other], alike)]
        if len(copies) < max_copies:
            kept.append(doc_id)
        else:
            is_exact = docs[copies[0]].text == docs[doc_id].text
            reason, likeness = ("exact_duplicate", 1.0) if is_exact else ("near_duplicate", 0.85)
            rows.append((doc_id, copies[0], reason, likeness, likeness, 0.9 if not is_exact else 1.0))
    return REMOVALS.check(pl.DataFrame(rows, schema=dict(REMOVALS.columns), orient="row"))


def _pairs(docs: Sequence[Doc], alike: frozenset[tuple[int, int]]) -> DuplicatePairs:
    """List pairs between the first documents of each text only: equal texts are one to the comparison."""
    first: dict[int, int] = {}
    for doc_id, doc in enumerate(docs):
        if doc.text is not None:
            first.setdefault(doc.text, doc_id)
    rows = [(*sorted((first[a], first[b])), 0.85, 0.9, 0.9) for a, b in sorted(alike) if a in first and b in first]
    return DUPLICATE_PAIRS.check(pl.DataFrame(rows, schema=dict(DUPLICATE_PAIRS.columns), orient="row"))


def _scores(docs: Sequence[Doc], cluster: list[bytes]) -> SinkScores:
    rows = [
        {
            "doc_id": number,
            "cluster_id": name,
            "sink_score": doc.score[0],
            "sink_score_low": max(0.0, doc.score[0] - doc.score[1]),
            "sink_score_high": min(1.0, doc.score[0] + doc.score[1]),
            "predicted_gain": doc.score[0] * 2,
            "predicted_gain_low": 0.0,
            "predicted_gain_high": doc.score[0] * 3,
            "signal_score": None,
            "sink_class": None,
            "scored_by": "empty" if doc.text is None else "student",
            "is_supported": doc.score[2],
            "reason": "copies and gradient norm",
        }
        for number, (doc, name) in enumerate(zip(docs, cluster, strict=True))
    ]
    return SINK_SCORES.check(pl.DataFrame(rows, schema=dict(SINK_SCORES.columns)))


def store_documents(folder: str, ids: pl.DataFrame, user: pa.Table, text_column: str, rows_per_part: int = 1000) -> Artifact:
    """Store the user's table as documents, as the corpus stage does."""
    text = user.column(text_column).cast(pa.large_string())
    ours = [ids[field.name].to_arrow().cast(field.type) for field in DOCUMENT_FIELDS if field.name != "text"]
    others = [name for name in user.column_names if name != text_column]
    schema = pa.schema([*DOCUMENT_FIELDS, *(pa.field(f"user.{name}", user.schema.field(name).type) for name in others)])
    table = pa.Table.from_arrays([*ours, text, *(user.column(name) for name in others)], schema=schema)
    starts = range(0, table.num_rows, rows_per_part) if table.num_rows else [0]
    parts = [write_part(folder, f"part-{n:05d}", table.slice(start, rows_per_part)) for n, start in enumerate(starts)]
    return publish("documents", folder, parts, {"schema": encode_schema(user.schema), "text_column": text_column})


@st.composite
def corpora(draw: st.DrawFn) -> tuple[list[Doc], frozenset[tuple[int, int]], int]:
    """Draw documents, which of their texts are alike, and how many copies may stay."""
    values, widths = st.sampled_from([0.0, 0.2, 0.5, 0.7, 0.7, 0.95, 1.0]), st.sampled_from([0.0, 0.1, 0.6])
    scores = st.tuples(values, widths, st.sampled_from([True] * 4 + [False]))
    texts = st.one_of(st.integers(0, 7), st.integers(0, 7), st.none())
    docs = draw(st.lists(st.builds(Doc, texts, st.sampled_from(["web", "books", "code"]), scores), max_size=20))
    alike = draw(st.frozensets(st.sampled_from(list(combinations(range(8), 2))), max_size=6))
    return docs, alike, draw(st.integers(1, 3))


class Kit:
    """Hand the builders to tests, which importlib mode keeps from importing this file."""

    Doc = Doc
    ledger = staticmethod(build_ledger)
    with_texts = staticmethod(with_texts)
    replace = staticmethod(replace)
    is_verified = staticmethod(is_verified)
    store = staticmethod(store_documents)
    corpora = staticmethod(corpora)


@pytest.fixture(scope="session")
def kit() -> type[Kit]:
    """Hand out the builders."""
    return Kit
