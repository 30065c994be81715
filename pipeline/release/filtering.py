"""Write the filtered dataset: the user's own columns, in their own types and order, for every row that stays.

Documents are read part by part; memory holds one part and one row group. The user's Arrow schema comes back with its metadata
(Hugging Face features included), which is why pyarrow writes and not polars. What a decision asks of a training loop travels in
`sink_weight`, present as soon as one released row weighs other than 1, and in `sink_mask_spans`, present as soon as one is masked:
for each row the spans (start inclusive, end exclusive, in bytes of the released text, sorted, disjoint) to leave out of the loss.

Only the span policy `trim` changes a user's value, the text of trimmed rows: rows in are still rows kept plus rows removed, but bytes of
text are not, and the content hash of a trimmed row is no longer that of its text. What was cut is counted as it passes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import ReleaseConfig
from pipeline.errors import InputError, TableError
from pipeline.release.decisions import is_released
from pipeline.release.shards import write_shards
from pipeline.release.spans import PLACED, treated_spans
from pipeline.release.treatment import SpanCounts, treat_texts
from pipeline.rows import restore_user_rows, user_schema
from pipeline.store import Artifact, Part, read_arrow
from pipeline.tables import Clusters, Decisions, SinkScores, check_documents

EXTRA_TYPES: Mapping[str, pa.DataType] = {
    "sink_weight": pa.float64(),
    "sink_mask_spans": pa.list_(pa.struct([pa.field("start", pa.int64()), pa.field("end", pa.int64())])),
    "sink_doc_id": pa.int64(),
    "sink_score": pa.float64(),
    "sink_cluster_id": pa.string(),  # hexadecimal
    "sink_cluster_size": pa.int64(),
}


@dataclass(frozen=True)
class FilteredData:
    """Name what was written: shards (paths under `folder`), columns in order, rows of each source, what spans did, the Arrow schema."""

    folder: str
    shards: tuple[Part, ...]
    columns: tuple[str, ...]
    rows_by_source: Mapping[str, int] = field(default_factory=dict)
    spans: SpanCounts = field(default_factory=SpanCounts)
    schema: pa.Schema | None = None

    @property
    def num_rows(self) -> int:
        """Count the rows of all shards."""
        return sum(shard.num_rows for shard in self.shards)


def filter_documents(
    documents: Artifact,
    decisions: Decisions,
    folder: str,
    config: ReleaseConfig,
    scores: SinkScores | None = None,
    clusters: Clusters | None = None,
    placed: pl.DataFrame | None = None,
) -> FilteredData:
    """Write the released rows under `folder`/data, in doc_id order, and count them by source as they pass.

    `scores` and `clusters` are needed only for `config.extra_columns`. placed: the repeated spans of released rows, as `placed_spans`
    returns them. Nothing is written if nothing is released.

    Raises: InputError when the user's data already has a column of a name we have to add; TableError when documents and decisions are
    not about the same rows, or spans and decisions are not about the same texts.
    """
    released = _released(decisions, config, scores, clusters, _treated(decisions, config, placed))
    theirs = user_schema(documents)
    schema = _output_schema(theirs, [name for name in EXTRA_TYPES if name in released.columns])
    num_rows = int(released["is_released"].sum())
    counts: Counter[str] = Counter()
    totals: Counter[str] = Counter()
    pieces = _pieces(documents, released, theirs, schema, config, counts, totals)
    shards = write_shards(folder, schema, pieces, num_rows, config.rows_per_shard)
    return FilteredData(folder, shards, tuple(schema.names), dict(sorted(counts.items())), SpanCounts(config.spans, **totals), schema)


def _treated(decisions: Decisions, config: ReleaseConfig, placed: pl.DataFrame | None) -> pl.DataFrame:
    """Return `doc_id, spans` of the documents in which spans act, or say that decisions were made on other spans."""
    spans = treated_spans(placed if placed is not None else pl.DataFrame(schema=PLACED))
    lists = spans.group_by("doc_id", maintain_order=True).agg(spans=pl.struct("start", "end"))
    untold = decisions.filter(pl.col("action") == "mask").join(lists, on="doc_id", how="anti").height
    treated = decisions.filter(is_released(config) & pl.col("evidence").str.contains('"span_count":', literal=True))
    unasked = lists.join(treated, on="doc_id", how="anti").height
    if untold or unasked:
        raise TableError(
            "spans and decisions differ",
            wanted="spans in every row that was decided to be masked or trimmed, and in no other",
            got=f"{untold} masked row(s) without spans, {unasked} row(s) with spans that no decision names",
        )
    return lists


def _released(
    decisions: Decisions, config: ReleaseConfig, scores: SinkScores | None, clusters: Clusters | None, spans: pl.DataFrame
) -> pl.DataFrame:
    """Return per document, in doc_id order, whether it is released, the spans that act in it and the columns of ours that go with it."""
    released = decisions.select("doc_id", "weight", is_released=is_released(config)).join(spans, on="doc_id", how="left")
    released = released.with_columns(pl.col("spans").fill_null([]))
    if released.filter(pl.col("is_released") & (pl.col("weight") != 1.0)).height:
        released = released.with_columns(sink_weight="weight")
    if spans.height and config.spans == "mask":
        released = released.with_columns(sink_mask_spans="spans")
    for name in config.extra_columns:
        released = _with_extra(released, name, scores, clusters)
    return released.drop("weight").sort("doc_id")


def _with_extra(released: pl.DataFrame, name: str, scores: SinkScores | None, clusters: Clusters | None) -> pl.DataFrame:
    if name == "doc_id":
        return released.with_columns(sink_doc_id="doc_id")
    frame = scores if name == "sink_score" else clusters
    if frame is None:
        raise TableError(f"the extra column {name} needs its table", wanted="scores" if name == "sink_score" else "clusters")
    value = pl.col(name).bin.encode("hex") if name == "cluster_id" else pl.col(name)
    ours = name if name.startswith("sink_") else f"sink_{name}"
    return released.join(frame.select("doc_id", value.alias(ours)), on="doc_id", how="left")


def _output_schema(user: pa.Schema, extra: list[str]) -> pa.Schema:
    taken = [name for name in extra if name in user.names]
    if taken:
        raise InputError(
            f"the input already has a column named {', '.join(taken)}",
            where="the user's columns",
            wanted="that name free, since the decisions have to be written under it",
            do="rename the column, for instance to original_" + taken[0],
        )
    for name in extra:
        user = user.append(pa.field(name, EXTRA_TYPES[name]))
    return user


def _pieces(
    documents: Artifact,
    released: pl.DataFrame,
    theirs: pa.Schema,
    schema: pa.Schema,
    config: ReleaseConfig,
    counts: Counter[str],
    totals: Counter[str],
) -> Iterator[tuple[pa.Table, np.ndarray]]:
    ours = list(schema)[len(theirs) :]
    seen = 0
    for path in documents.paths():
        part = check_documents(read_arrow(path))
        rows = _rows_of(part, released, seen)
        seen += part.num_rows
        kept = part.filter(pa.array(rows["is_released"].to_numpy()))
        counts.update(kept.column("source").to_pylist())
        added = rows.filter("is_released")
        kept = treat_texts(kept, added["spans"], config.spans, totals)
        user = restore_user_rows(kept, theirs, documents.facts["text_column"])
        columns = [*user.columns, *(added[wanted.name].to_arrow().cast(wanted.type) for wanted in ours)]
        text_bytes = pc.fill_null(pc.binary_length(kept.column("text")), 0).to_numpy()
        yield pa.Table.from_arrays(columns, schema=schema), text_bytes
    if seen != released.height:
        raise TableError("documents and decisions differ", wanted=f"{released.height} documents", got=f"{seen}")


def _rows_of(part: pa.Table, released: pl.DataFrame, seen: int) -> pl.DataFrame:
    rows = released.slice(seen, part.num_rows)
    ids = part.column("doc_id").to_numpy()
    if not np.array_equal(rows["doc_id"].to_numpy(), ids):
        raise TableError("documents and decisions differ", where=f"documents from doc_id {ids[0]} on", wanted="the same doc_ids, rising")
    return rows
