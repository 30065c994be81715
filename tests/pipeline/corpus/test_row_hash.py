"""A row's name by its content."""

from __future__ import annotations

import datetime
import decimal
import struct
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.corpus.row_hash import row_hashes

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=5) | st.sampled_from(["x" * 256, "x" * 257, "é" * 200])
SCHEMA = pa.schema(
    {
        "text": pa.string(),
        "é": pa.large_binary(),
        "i": pa.int64(),
        "u": pa.uint64(),
        "f": pa.float64(),
        "b": pa.bool_(),
        "l": pa.list_(pa.string()),
        "o": pa.struct({"x": pa.int32(), "a": pa.list_(pa.bool_())}),
    }
)
ROW = st.fixed_dictionaries(
    {
        "text": st.none() | TEXT,
        "é": st.none() | st.binary(max_size=3) | st.just(bytes(300)),
        "i": st.none() | st.integers(-(2**63), 2**63 - 1),
        "u": st.none() | st.integers(0, 2**64 - 1),
        "f": st.none() | st.floats(),
        "b": st.none() | st.booleans(),
        "l": st.none() | st.lists(st.none() | TEXT, max_size=3),
        "o": st.none() | st.fixed_dictionaries({"x": st.none() | st.integers(-9, 9), "a": st.none() | st.lists(st.booleans(), max_size=2)}),
    }
)


def sized(data: bytes) -> bytes:
    return struct.pack("<q", len(data)) + data


def plain(value: Any) -> bytes:
    """Encode one value as the module's docstring says."""
    match value:
        case None:
            return b"0"
        case bool():
            return b"?" + bytes([value])
        case int():
            return b"i" + (value % 2**64).to_bytes(8, "little") + (b"\xff" if value < 0 else b"\0")
        case float():
            return b"f" + struct.pack("<d", np.nan if value != value else value)
        case str():
            return b"s" + sized(value.encode())
        case bytes():
            return b"b" + sized(value)
        case list():
            return b"l" + struct.pack("<q", len(value)) + b"".join(map(plain, value))
        case _:
            return b"r" + sized(plain_row(value))


def plain_row(row: dict[str, Any]) -> bytes:
    return b"".join(sized(name.encode()) + plain(value) for name, value in sorted(row.items()) if value is not None)


def plain_whole(row: dict[str, Any]) -> tuple[bytes, int]:
    """Encode a row, with the hashes of its columns' long strings, and count its bytes with the strings themselves."""
    pieces, num_long = [], 0
    for name, value in sorted(row.items()):
        data = value.encode() if isinstance(value, str) else value
        if isinstance(data, bytes) and len(data) > 256:
            tag = b"S" if isinstance(value, str) else b"B"
            pieces.append(sized(name.encode()) + tag + struct.pack("<q", len(data)) + digest(data))
            num_long += len(data)
        elif value is not None:
            pieces.append(sized(name.encode()) + plain(value))
    encoded = b"".join(pieces)
    return encoded, len(encoded) + num_long


def digest(data: bytes) -> bytes:
    return bytes(blake3(data).digest(length=16))


def hashes(table: Any) -> list[bytes]:
    return list(row_hashes(table)[0].to_pylist())


@settings(deadline=None)  # kernels compile in the first example
@given(st.lists(ROW), st.integers(0, 3))
def test_hashes_are_those_of_the_documented_encoding(rows: list[dict[str, Any]], start: int) -> None:
    """Column by column gives what value by value would, sizes included, also in a slice and in chunks."""
    table = pa.Table.from_pylist(rows, SCHEMA)
    got, sizes = row_hashes(table)
    assert got.to_pylist() == [digest(plain_whole(row)[0]) for row in rows]
    assert sizes.tolist() == [plain_whole(row)[1] for row in rows]
    sliced = pa.concat_tables([table.slice(start), table.slice(0, start)])
    assert hashes(sliced) == [*got.to_pylist()[start:], *got.to_pylist()[:start]]


@pytest.mark.parametrize(
    ("kind", "same"),
    [
        (pa.string(), [pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]),
        (pa.binary(), [pa.large_binary(), pa.binary_view(), pa.binary(2)]),
        (pa.int8(), [pa.int16(), pa.int64(), pa.uint64(), pa.uint8()]),
        (pa.float16(), [pa.float32(), pa.float64()]),
        (pa.list_(pa.int8()), [pa.large_list(pa.int8()), pa.list_(pa.int64(), 2), pa.list_view(pa.int8()), pa.large_list_view(pa.int8())]),
        (pa.decimal32(5, 2), [pa.decimal64(9, 2), pa.decimal128(20, 2), pa.decimal256(50, 2)]),
    ],
)
def test_the_width_of_a_type_changes_nothing(kind: Any, same: list[Any]) -> None:
    """Values that are equal hash equally in every type of their family."""
    values = {"string": ["ab", None], "binary": [b"ab", None], "int8": [7, None], "list<item: int8>": [[1, 2], None]}
    halves = np.array([1.5, 2.0], np.float16)
    numbers = [decimal.Decimal("1.25"), None]
    one = values.get(str(kind), halves if kind == pa.float16() else numbers)
    wanted = hashes(pa.table({"a": pa.array(one, kind)}))
    for other in same:
        array = pa.array(one, kind).cast(other) if "view" not in str(other) or "list" not in str(other) else pa.array(one, other)
        assert hashes(pa.table({"a": array})) == wanted, other


def test_what_differs_hashes_differently() -> None:
    """Null, empty, zero, false, NaN, and the same bytes in other columns or other kinds are all different rows."""
    moment = datetime.datetime(2020, 1, 1)
    arrays = [
        pa.array([None], pa.string()),
        pa.array([""]),
        pa.array([b""]),
        pa.array(["\0"]),
        pa.array([0]),
        pa.array([0.0]),
        pa.array([-0.0]),
        pa.array([False]),
        pa.array([float("nan")]),
        pa.array([[]], pa.list_(pa.string())),
        pa.array([[None]], pa.list_(pa.string())),
        pa.array([[""]], pa.list_(pa.string())),
        pa.array([["", ""]], pa.list_(pa.string())),
        pa.array([{"x": None}], pa.struct({"x": pa.string()})),
        pa.array([{"x": ""}], pa.struct({"x": pa.string()})),
        pa.array([decimal.Decimal(0)], pa.decimal128(5, 2)),
        pa.array([moment], pa.timestamp("s")),
        pa.array([moment], pa.timestamp("s", "UTC")),
        pa.array([moment], pa.timestamp("ms")),
        pa.array([moment.date()], pa.date32()),
        pa.array([moment.time()], pa.time64("us")),
        pa.array([3], pa.duration("s")),
        pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
        pa.array([[("k", 2)]], pa.map_(pa.string(), pa.int64())),
    ]
    tables = [pa.table({"a": array}) for array in arrays] + [
        pa.table({"b": [""]}),
        pa.table({"a": [""], "b": [""]}),
        pa.table({"ab": [""]}),
    ]
    assert len({hashes(table)[0] for table in tables}) == len(tables)


def test_columns_without_a_value_and_column_order_change_nothing() -> None:
    """A row is what it holds: a null column adds nothing, and columns have no order."""
    wanted = hashes(pa.table({"a": ["x"], "b": [1]}))
    assert wanted == hashes(pa.table({"b": [1], "a": ["x"], "c": pa.nulls(1), "d": pa.nulls(1, pa.list_(pa.int8()))}))
    nan = struct.unpack("<d", struct.pack("<Q", 0x7FF8000000000123))[0]
    assert hashes(pa.table({"a": [nan]})) == hashes(pa.table({"a": [float("nan")]}))


def test_rows_without_columns_hash_like_the_empty_row() -> None:
    """No column, or nulls only, is still a row."""
    assert hashes(pa.table({"a": pa.nulls(2)})) == [digest(b"")] * 2


def test_extension_types_hash_as_their_storage() -> None:
    """A UUID is its sixteen bytes."""
    assert hashes(pa.table({"a": pa.array([b"0" * 16], pa.uuid())})) == hashes(pa.table({"a": [b"0" * 16]}))
