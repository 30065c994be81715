"""Give the user back what came in: the columns of `documents` under their own names, in their own order and types.

`corpus` writes the original schema into the artifact's facts and `release` restores rows with it; neither imports the other.
"""

from __future__ import annotations

import base64
from collections.abc import Collection, Iterator

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.store import Artifact, iter_chosen, read_arrow
from pipeline.tables import PROFILES, USER_PREFIX, Documents, Profiles
from pipeline.text import empty_content_hash

HASHES = (("content_hash", pa.large_binary()), ("row_hash", pa.large_binary()))


def encode_schema(schema: pa.Schema) -> str:
    """Return a schema, metadata included, as base64 of its Arrow IPC form."""
    return base64.b64encode(schema.serialize().to_pybytes()).decode("ascii")


def user_schema(documents: Artifact) -> pa.Schema:
    """Return the schema that the user's rows came in, metadata included."""
    return pa.ipc.read_schema(pa.py_buffer(base64.b64decode(documents.facts["schema"])))


def restore_user_rows(documents: pa.Table, schema: pa.Schema, text_column: str) -> pa.Table:
    """Return the user's rows of a part (or any rows of it) of `documents`: their columns in their order, types and metadata.

    Types that Parquet widens on the way (seconds to milliseconds, date64 to date32) are narrowed back, without loss.
    """
    columns = [documents.column("text" if field.name == text_column else USER_PREFIX + field.name) for field in schema]
    return pa.Table.from_arrays([_as(column, field.type) for column, field in zip(columns, schema, strict=True)], schema=schema)


def profile_documents(documents: Documents) -> Profiles:
    """Return what can be known of each document without reading its text again: identity, bytes, emptiness."""
    return profile_names(name_documents(documents))


def name_documents(documents: Documents) -> pa.Table:
    """Return what names each document, and the bytes of its text."""
    sizes = pc.fill_null(pc.binary_length(documents["text"]), 0).cast(pa.int64())
    return documents.select(["doc_id", "source", "source_id", "content_hash", "row_hash"]).append_column("num_bytes", sizes)


def profile_names(names: pa.Table) -> Profiles:
    """Return `profile_documents` of documents that `name_documents` named."""
    strings = [(name, pa.large_string()) for name in ("source", "source_id")]
    columns = names.cast(pa.schema([("doc_id", pa.int64()), *strings, *HASHES, ("num_bytes", pa.int64())]))
    frame = pl.DataFrame(pl.from_arrow(columns))
    return PROFILES.check(frame.with_columns(is_empty=pl.col("content_hash") == pl.lit(empty_content_hash())))


def read_texts(documents: Artifact, doc_ids: Collection[int]) -> Iterator[tuple[int, str]]:
    """Yield (doc_id, text) of the chosen documents in doc_id order, one row group in memory at a time; a null text is empty."""
    wanted = pl.Series(sorted(doc_ids), dtype=pl.Int64)
    for path in documents.paths():
        is_wanted = pl.Series(read_arrow(path, ["doc_id"])["doc_id"]).is_in(wanted.implode()).to_numpy()
        for chosen in iter_chosen(path, ["doc_id", "text"], is_wanted):
            for doc_id, text in zip(chosen["doc_id"].to_pylist(), chosen["text"].to_pylist(), strict=True):
                yield doc_id, text or ""


def _as(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    return column if column.type.equals(kind, check_metadata=True) else column.cast(kind)
