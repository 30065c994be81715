"""The user's rows come back."""

from __future__ import annotations

import datetime

import pyarrow as pa

from pipeline.rows import encode_schema, restore_user_rows, user_schema
from pipeline.store import Artifact

SCHEMA = pa.schema(
    [
        pa.field("doc_id", pa.string(), metadata={"of": "field"}),
        pa.field("body", pa.string()),
        pa.field("text", pa.date64()),
        pa.field("at", pa.timestamp("s")),
    ],
    metadata={"huggingface": "{}"},
)


def test_a_schema_survives_its_encoding() -> None:
    """Types, order and both kinds of metadata come back from the facts."""
    artifact = Artifact("documents", "x", (), "", {"schema": encode_schema(SCHEMA)})
    assert user_schema(artifact).equals(SCHEMA, check_metadata=True)


def test_rows_are_restored_under_their_own_names_and_types() -> None:
    """Columns named like ours are told apart by the prefix; types that Parquet widened are narrowed."""
    day, at = datetime.date(2020, 1, 2), datetime.datetime(2020, 1, 2, 3, 4, 5)
    documents = pa.table(
        {
            "doc_id": [0],
            "text": pa.array(["t"], pa.large_string()),
            "user.doc_id": ["d"],
            "user.text": pa.array([day], pa.date32()),
            "user.at": pa.array([at], pa.timestamp("ms")),
        }
    )
    restored = restore_user_rows(documents, SCHEMA, "body")
    assert restored.schema.equals(SCHEMA, check_metadata=True)
    assert restored.to_pylist() == [{"doc_id": "d", "body": "t", "text": day, "at": at}]
