"""Tables are what they declare."""

from __future__ import annotations

from typing import Any

import polars as pl
import pyarrow as pa
import pytest

from pipeline.errors import TableError
from pipeline.tables import CLUSTERS, DECISIONS, DOCUMENT_FIELDS, SINK_SCORES, TABLES, Table, check_documents

GOOD = {"doc_id": [0, 1], "cluster_id": [b"a" * 16, b"b" * 16], "cluster_size": [1, 1]}


def documents(**changes: Any) -> Any:
    columns = {"doc_id": [0], "source": ["s"], "source_id": ["i"], "content_hash": [b"c" * 16], "row_hash": [b"r" * 16], "text": [None]}
    arrays = {field.name: pa.array(columns[field.name], field.type) for field in DOCUMENT_FIELDS}
    return pa.table({**arrays, **changes})


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_every_table_can_be_empty(table: Table[Any]) -> None:
    """The empty frame passes each table's own check, and keys, nullable and enum columns are declared ones."""
    assert table.empty().width == len(table.columns)
    assert {*table.key, *table.nullable, *table.enums} <= set(table.columns)
    assert not set(table.key) & table.nullable


def test_columns_come_in_declared_order() -> None:
    """A frame whose columns stand otherwise is put in order."""
    shuffled = pl.DataFrame(GOOD).select("cluster_size", "doc_id", "cluster_id")
    assert CLUSTERS.check(shuffled).columns == list(CLUSTERS.columns)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"doc_id": [0, 0]}, r"table clusters has 1 fault\(s\): key \('doc_id',\) is not unique"),
        ({"doc_id": [0, None]}, r"column doc_id holds 1 null\(s\)"),
        ({"doc_id": ["a", "b"]}, r"column doc_id wanted Int64, got String"),
        ({"extra": [1, 2]}, r"column extra is not part of the table"),
        ({"doc_id": ["a", "b"], "extra": [1, 2]}, r"has 2 fault\(s\): column extra .*; column doc_id wanted"),
    ],
)
def test_faults_are_listed(change: dict[str, list[Any]], message: str) -> None:
    """The message names the table, each column at fault, what was wanted and what came."""
    with pytest.raises(TableError, match=message):
        CLUSTERS.check(pl.DataFrame({**GOOD, **change}))


def test_missing_columns_are_named() -> None:
    """A column that is not there is a fault of its own."""
    with pytest.raises(TableError, match=r"column cluster_id is missing; column cluster_size is missing"):
        CLUSTERS.check(pl.DataFrame({"doc_id": [1]}))


def test_open_tables_take_further_columns() -> None:
    """Signals of any name may stand behind the declared columns of sink_scores."""
    frame = SINK_SCORES.empty().with_columns(pl.lit(1.0).alias("signal"))
    assert SINK_SCORES.check(frame).columns[-1] == "signal"


def test_enumerated_values_are_checked_and_null_where_allowed() -> None:
    """A word outside the list is a fault; null in a nullable column is none."""
    row = {"doc_id": 0, "action": "keep", "weight": 1.0, "reason": "unique", "kept_doc_id": None, "evidence": ""}
    schema = dict(DECISIONS.columns)
    assert DECISIONS.check(pl.DataFrame([row], schema=schema)).height == 1
    with pytest.raises(TableError, match=r"column action wanted one of \('keep', .*\), got \['burn'\]"):
        DECISIONS.check(pl.DataFrame([{**row, "action": "burn"}], schema=schema))


def test_documents_are_checked() -> None:
    """Ours first and typed, text alone nullable, the user's under their prefix."""
    assert check_documents(documents(**{"user.x": pa.array([1])})).num_rows == 1


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (documents(x=pa.array([1])), r"column x must start with user\."),
        (documents(source=pa.array([None], pa.large_string())), r"column source holds 1 null\(s\)"),
        (documents(doc_id=pa.array([0], pa.int32())), r"column doc_id wanted int64, got int32"),
        (documents().select(["source", "doc_id"]), r"has 6 fault\(s\): column 0 must be doc_id; column 1 must be source"),
    ],
)
def test_faults_of_documents_are_listed(table: Any, message: str) -> None:
    """The message names each column at fault."""
    with pytest.raises(TableError, match=message):
        check_documents(table)
