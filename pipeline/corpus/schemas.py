"""One schema for all files: a column missing from a file is null there, narrow numbers widen, anything else is the user's to settle."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.errors import InputError


def merge_schemas(schemas: Sequence[tuple[str, pa.Schema]]) -> pa.Schema:
    """Unify (file, schema) pairs: columns in order of first appearance, the narrowest type that holds all, metadata that all share.

    Raises: InputError naming the file and the column that fits no common type, or that a file holds twice.
    """
    first_file, merged = schemas[0]
    _refuse_twins(first_file, merged)
    for file, schema in schemas[1:]:
        if schema.equals(merged, check_metadata=True):
            continue
        _refuse_twins(file, schema)
        fields = [_merge_fields(field, schema, file) for field in merged]
        fields += [field.with_nullable(True) for field in schema if field.name not in merged.names]
        merged = pa.schema(fields, metadata=_shared(merged.metadata, schema.metadata))
    return merged


def fit(table: pa.Table, schema: pa.Schema, where: str) -> pa.Table:
    """Return a file's rows in the common schema.

    Raises: InputError naming the file and the column whose values the common type cannot hold.
    """
    columns = []
    for field in schema:
        if field.name not in table.column_names:
            columns.append(pa.nulls(table.num_rows, field.type))
            continue
        column = table.column(field.name)
        try:
            columns.append(column if column.type == field.type else column.cast(field.type))
        except pa.ArrowException as error:
            raise InputError(
                f"column {field.name} does not fit the type that all files share",
                where=where,
                wanted=str(field.type),
                got=f"{column.type} with values outside it",
                do="write the column in one type in every file",
            ) from error
    return pa.Table.from_arrays(columns, schema=schema)


def check_storable(schema: pa.Schema) -> None:
    """Refuse columns that Parquet, and so the ledger and the filtered data, cannot hold.

    Raises: InputError naming each such column and its type.
    """
    refused = [f"{field.name} ({field.type})" for field in schema if not _is_storable(field)]
    if refused:
        raise InputError("columns cannot be kept in Parquet", got=", ".join(refused), do="convert or leave out these columns")


def _is_storable(field: pa.Field) -> bool:
    try:
        pq.write_table(pa.schema([field]).empty_table(), io.BytesIO())
    except pa.ArrowException:
        return False
    return not (pa.types.is_fixed_size_list(field.type) and field.type.list_size == 0)


def _merge_fields(field: pa.Field, schema: pa.Schema, file: str) -> pa.Field:
    if field.name not in schema.names:
        return field.with_nullable(True)
    other = schema.field(field.name)
    merged = pa.field(field.name, _merge_types(field, other, file), field.nullable or other.nullable)
    return merged.with_metadata(_shared(field.metadata, other.metadata))


def _merge_types(field: pa.Field, other: pa.Field, file: str) -> pa.DataType:
    pair = (field.type, other.type)
    if field.type == other.type:
        return field.type
    if pa.uint64() in pair and all(pa.types.is_integer(kind) for kind in pair):
        return pa.uint64()  # Arrow says int64, which the values that made it uint64 may not fit
    try:
        both = [pa.schema([field.remove_metadata()]), pa.schema([other.remove_metadata()])]
        return pa.unify_schemas(both, promote_options="permissive").field(0).type
    except pa.ArrowException as error:
        raise InputError(
            f"column {field.name} has a type that does not fit the other files'",
            where=file,
            wanted=str(field.type),
            got=str(other.type),
            do="convert the column in one of the files, or audit the files apart",
        ) from error


def _shared(one: dict[bytes, bytes] | None, other: dict[bytes, bytes] | None) -> dict[bytes, bytes] | None:
    shared = {key: value for key, value in (one or {}).items() if (other or {}).get(key) == value}
    return shared or None


def _refuse_twins(file: str, schema: pa.Schema) -> None:
    twins = sorted({name for name in schema.names if schema.names.count(name) > 1})
    if twins:
        raise InputError("column names appear twice", where=file, got=", ".join(twins), do="rename or remove one of each")
