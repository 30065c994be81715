"""Name a row by everything the user put in it: BLAKE3, 128 bits, over a canonical encoding of all its columns, text included.

The name puts rows of equal text in order and says which rows are interchangeable.

The encoding of a row is the concatenation, over its columns sorted by name, of `length of name | name | value`, nulls left out: a null
is not the empty string, and a column that another file adds changes no hash. Of strings of more than 256 bytes that are a column's own
values (not inside a list or struct) the encoding holds the hash. Values are self-delimiting (all lengths and counts are 8 bytes,
little-endian):

    bool                 ? | 1 byte
    integers, any width  i | 8 bytes | sign byte
    floats, any width    f | 8 bytes as float64, one NaN for all
    decimals             d | scale | 32 bytes
    strings, binary      s or b | length | bytes; S or B | length | hash of the bytes, 16 bytes
    dates and times      t | length of type | type | i ...
    lists, maps          l | count | elements, each encoded or 0 for null
    structs              r | length | fields as in a row

So neither file, part, chunk, column order, dictionary encoding nor the width of a number changes a hash; the type of a time does. Whole
columns are encoded at once, and long values are hashed where they lie.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.hashing import as_binary, hash_messages

Array: TypeAlias = Any  # pyarrow ships no types

SHORT_BYTES = 256
"""Bytes up to which a column's string enters its row's encoding where it stands."""
EMPTY = pa.scalar(b"", pa.large_binary())
NULL = pa.scalar(b"0", pa.large_binary())


def row_hashes(rows: pa.Table) -> tuple[Array, npt.NDArray[np.int64]]:
    """Return each row's hash as an Arrow array of binary(16), and each row's size in bytes: its encoding and its long values."""
    arrays = sorted((name, _one_array(rows.column(name))) for name in rows.column_names)
    long = {name: found for name, values in arrays if (found := _find_long(values)) is not None}
    pieces = [piece for name, values in arrays for piece in _pieces(name, values, long.get(name))]
    encoded = pa.concat_arrays([_join(*pieces)]) if pieces else pa.array([b""] * rows.num_rows, pa.large_binary())
    data, offsets = _bytes_of(encoded)
    sizes = np.diff(offsets) + sum((each.sizes for each in long.values()), np.zeros(rows.num_rows, np.int64))
    return as_binary(hash_messages(data, offsets[:-1], offsets[1:])), sizes


@dataclass(frozen=True)
class _Long:
    """Hold a column of strings of which some are long: the bytes of value i, 0 if it is short, and what stands for it in the encoding."""

    plain: Array
    sizes: npt.NDArray[np.int64]
    shown: Array


def _find_long(values: Array) -> _Long | None:
    if not (_is_text(values.type) or _is_binary(values.type)):
        return None
    plain = (values.cast(pa.large_string()) if _is_text(values.type) else values).cast(pa.large_binary())
    lengths = pc.fill_null(pc.binary_length(plain), 0).to_numpy(zero_copy_only=False).astype(np.int64)
    is_long = lengths > SHORT_BYTES
    if not is_long.any():
        return None
    data, offsets = _bytes_of(plain)
    hashes = as_binary(hash_messages(data, offsets[:-1][is_long], offsets[1:][is_long])).cast(pa.large_binary())
    shown = pc.replace_with_mask(pc.if_else(pa.array(is_long), EMPTY, plain), pa.array(is_long), hashes)
    return _Long(plain, np.where(is_long, lengths, 0), shown)


def _pieces(name: str, values: Array, long: _Long | None) -> list[Array | bytes]:
    """Return what a column adds to its rows' encodings, as few columns as can be: each is copied once more when they are joined."""
    if long is not None:
        tag = b"s" if _is_text(values.type) else b"b"
        tags = pc.if_else(pa.array(long.sizes > 0), pa.scalar(tag.upper(), pa.large_binary()), pa.scalar(tag, pa.large_binary()))
        lengths = _counts(pc.binary_length(long.plain))
        if not values.null_count:
            return [_head(name.encode()), tags, lengths, long.shown]
        return [_pair(name, _join(tags, lengths, long.shown))]
    if not values.null_count and (_is_text(values.type) or _is_binary(values.type)):
        return [_head(name.encode()), *_string_pieces(values)]
    return [_pair(name, encode(values))]


def _one_array(column: pa.ChunkedArray) -> Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    whole = column.combine_chunks()
    return whole.chunk(0) if isinstance(whole, pa.ChunkedArray) else whole


def _pairs(named: Iterable[tuple[str, Array]]) -> list[Array]:
    """Return name and value of each column, sorted by name; nothing where the value is null."""
    return [_pair(name, encode(values)) for name, values in sorted(named, key=lambda pair: pair[0])]


def _pair(name: str, encoded: Array) -> Array:
    return pc.fill_null(_join(_head(name.encode()), encoded), EMPTY)


def _head(name: bytes) -> bytes:
    return struct.pack("<q", len(name)) + name


def encode(values: Array) -> Array:
    """Encode a column as large_binary, null where the value is null."""
    kind = values.type
    if isinstance(kind, pa.BaseExtensionType):
        return encode(values.storage)
    if pa.types.is_dictionary(kind):
        return encode(values.dictionary_decode())
    if pa.types.is_null(kind):
        return pa.nulls(len(values), pa.large_binary())
    if pa.types.is_boolean(kind):
        return _fixed(b"?", values, pc.fill_null(values, False).cast(pa.uint8()).to_numpy()[:, None])
    if pa.types.is_integer(kind):
        return _integers(values)
    if pa.types.is_floating(kind):
        return _floats(values)
    if pa.types.is_decimal(kind):
        return _decimals(values)
    if pa.types.is_temporal(kind):
        name = str(kind).encode()
        plain = values.view(pa.int32() if kind.bit_width == 32 else pa.int64())
        return _join(b"t" + _head(name), _integers(plain))
    if pa.types.is_struct(kind):
        return _structs(values)
    if pa.types.is_nested(kind):
        return _lists(values)
    return _strings(values)


def _strings(values: Array) -> Array:
    return _join(*_string_pieces(values))


def _string_pieces(values: Array) -> list[Array | bytes]:
    is_text = _is_text(values.type)
    plain = (values.cast(pa.large_string()) if is_text else values).cast(pa.large_binary())
    return [b"s" if is_text else b"b", _counts(pc.binary_length(plain)), plain]


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _is_binary(kind: pa.DataType) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind))


def _bytes_of(values: Array) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64]]:
    """Return the bytes of an array of large_binary, and where each value begins and the last ends."""
    _, offsets, data = values.buffers()
    if not len(values):
        return np.empty(0, np.uint8), np.zeros(1, np.int64)
    plain = np.frombuffer(data, np.uint8) if data is not None and data.size else np.empty(0, np.uint8)
    return plain, np.frombuffer(offsets, np.int64)[values.offset : values.offset + len(values) + 1]


def _integers(values: Array) -> Array:
    numbers = pc.fill_null(values, 0).to_numpy(zero_copy_only=False)
    wide = numbers.astype("<u8" if numbers.dtype.kind == "u" else "<i8")
    sign = np.where(wide < 0, 255, 0).astype(np.uint8)
    return _fixed(b"i", values, np.column_stack([wide.view(np.uint8).reshape(-1, 8), sign]))


def _floats(values: Array) -> Array:
    numbers = values.to_numpy(zero_copy_only=False).astype("<f8")
    numbers[np.isnan(numbers)] = np.nan
    return _fixed(b"f", values, numbers.view(np.uint8).reshape(-1, 8))


def _decimals(values: Array) -> Array:
    wide = pa.concat_arrays([values.cast(pa.decimal256(76, values.type.scale))])
    data = np.frombuffer(wide.buffers()[1], np.uint8)[wide.offset * 32 : (wide.offset + len(wide)) * 32]
    return _fixed(b"d" + struct.pack("<q", values.type.scale), values, data.reshape(-1, 32))


def _lists(values: Array) -> Array:
    if pa.types.is_map(values.type):
        entry = pa.struct([values.type.key_field, values.type.item_field])
        values = values.cast(pa.large_list(entry))
    counts = pc.fill_null(pc.list_value_length(values), 0).cast(pa.int64())
    offsets = np.concatenate([[0], np.cumsum(counts.to_numpy())]).astype(np.int64)
    elements = pc.fill_null(encode(pc.list_flatten(values)), NULL)
    joined = pc.binary_join(pa.LargeListArray.from_arrays(offsets, elements), EMPTY)
    return _where_valid(values, _join(b"l", _counts(counts), joined))


def _structs(values: Array) -> Array:
    names = [field.name for field in values.type]
    pairs = _pairs(zip(names, values.flatten(), strict=True))
    joined = _join(*pairs) if pairs else pa.array([b""] * len(values), pa.large_binary())
    return _where_valid(values, _join(b"r", _counts(pc.binary_length(joined)), joined))


def _counts(counts: Array) -> Array:
    numbers = pc.fill_null(counts, 0).to_numpy(zero_copy_only=False).astype("<i8")
    return _bytes(numbers.view(np.uint8).reshape(-1, 8))


def _fixed(tag: bytes, values: Array, data: npt.NDArray[np.uint8]) -> Array:
    """Return tag and data (rows, width), null where `values` is."""
    return _where_valid(values, _join(tag, _bytes(data)))


def _bytes(data: npt.NDArray[np.uint8]) -> Array:
    buffer = pa.py_buffer(np.ascontiguousarray(data))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(data.shape[1]), data.shape[0], [None, buffer]).cast(pa.large_binary())


def _join(*pieces: Array | bytes) -> Array:
    """Concatenate columns and constants row by row; null where any piece is."""
    scalars = [pa.scalar(piece, pa.large_binary()) if isinstance(piece, bytes) else piece for piece in pieces]
    return pc.binary_join_element_wise(*scalars, EMPTY)


def _where_valid(values: Array, encoded: Array) -> Array:
    return pc.if_else(values.is_valid(), encoded, pa.scalar(None, pa.large_binary()))
