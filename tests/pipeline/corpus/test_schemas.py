"""One schema for all files."""

from __future__ import annotations

import re
from typing import Any

import pyarrow as pa
import pytest

from pipeline.corpus.schemas import check_storable, fit, merge_schemas
from pipeline.errors import InputError


def merged(*schemas: Any) -> Any:
    return merge_schemas([(f"file{number}", pa.schema(schema)) for number, schema in enumerate(schemas)])


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    [
        (pa.int32(), pa.int64(), pa.int64()),
        (pa.int64(), pa.float64(), pa.float64()),
        (pa.null(), pa.string(), pa.string()),
        (pa.string(), pa.large_string(), pa.large_string()),
        (pa.uint64(), pa.int64(), pa.uint64()),
        (pa.list_(pa.null()), pa.list_(pa.string()), pa.list_(pa.string())),
        (pa.struct({"x": pa.int8(), "y": pa.int8()}), pa.struct({"x": pa.int16()}), pa.struct({"x": pa.int16(), "y": pa.int8()})),
        (pa.timestamp("s"), pa.timestamp("ms"), pa.timestamp("ms")),
    ],
)
def test_types_widen(one: Any, other: Any, wanted: Any) -> None:
    """Two types become the narrowest that holds both, in either order."""
    assert merged({"a": one}, {"a": other}).field("a").type == merged({"a": other}, {"a": one}).field("a").type == wanted


def test_missing_columns_are_nullable_and_come_last() -> None:
    """Columns stand in order of first appearance; one that a file lacks may be null."""
    required = pa.field("a", pa.int8(), nullable=False)
    both = merged([required], [pa.field("b", pa.int8(), nullable=False), required])
    assert both.equals(pa.schema([required, pa.field("b", pa.int8())]))
    assert merged([required], {"b": pa.int8()}).field("a").nullable


def test_metadata_stays_where_files_agree() -> None:
    """Metadata that differs between files describes none of them and goes."""
    one = pa.schema([pa.field("a", pa.int8(), metadata={"f": "1", "g": "2"})], metadata={"k": "v", "huggingface": "x"})
    other = pa.schema([pa.field("a", pa.int8(), metadata={"f": "1"})], metadata={"k": "v"})
    both = merge_schemas([("x", one), ("y", other)])
    assert both.metadata == {b"k": b"v"}
    assert both.field("a").metadata == {b"f": b"1"}
    assert merge_schemas([("x", one), ("y", one)]).equals(one, check_metadata=True)


@pytest.mark.parametrize(("one", "other"), [(pa.int64(), pa.string()), (pa.bool_(), pa.int64()), (pa.date32(), pa.string())])
def test_types_that_do_not_fit_are_named(one: Any, other: Any) -> None:
    """The message names the file, the column and both types."""
    with pytest.raises(
        InputError, match=rf"column a has a type .*; in file1; wanted {re.escape(str(one))}; got {other}; what to do: convert"
    ):
        merged({"a": one}, {"a": other})


def test_twin_columns_are_named() -> None:
    """A column name that a file holds twice cannot be kept apart."""
    twins = [("a", pa.int8()), ("a", pa.int8())]
    for schemas in ([twins], [{"a": pa.int8()}, twins]):
        with pytest.raises(InputError, match=r"column names appear twice; in file\d; got a;"):
            merged(*schemas)


def test_rows_are_fitted_without_loss() -> None:
    """Values are cast to the common type, missing columns are null, and a value that does not fit is an error."""
    schema = pa.schema({"a": pa.float64(), "b": pa.string()})
    assert fit(pa.table({"a": [1]}), schema, "f").to_pylist() == [{"a": 1.0, "b": None}]
    with pytest.raises(InputError, match=r"column a does not fit .*; in f; wanted double; got int64 with values outside it"):
        fit(pa.table({"a": [2**60 + 1]}), schema, "f")


def test_columns_that_parquet_cannot_hold_are_named() -> None:
    """Such columns are refused before the first part is written."""
    refused = {"e": pa.struct([]), "i": pa.month_day_nano_interval(), "z": pa.list_(pa.int8(), 0)}
    with pytest.raises(
        InputError, match=r"cannot be kept in Parquet; got e \(struct<>\), i \(month_day_nano_interval\), z \(fixed_size_list"
    ):
        check_storable(pa.schema({"ok": pa.int8(), **refused}))
