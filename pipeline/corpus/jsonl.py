"""JSONL: one JSON object a line, UTF-8, `\\n` or `\\r\\n`, blank lines allowed.

Python's own parser, not Arrow's: Arrow's guesses timestamps in strings, turns integers from 2**63 into floats and (26.0.1) crashes on a
line that is `null`. It costs a factor of about three in reading, little beside the stages that follow. Types are inferred over every
line before the first row is read, so one late line cannot change what earlier rows became.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import pyarrow as pa

from pipeline.corpus.files import InputFile, open_bytes
from pipeline.corpus.schemas import merge_schemas
from pipeline.corpus.shards import Stretch
from pipeline.errors import InputError

BLOCK_BYTES = 4 << 20
Line: TypeAlias = tuple[int, dict[str, Any]]  # line number from 1, and its object
BYTE_ORDER_MARK = b"\xef\xbb\xbf"
HALF, MEND_HALF = "an unpaired surrogate escape (\\ud800-\\udfff)", "mend the escape: it is half a character"


def describe(file: InputFile) -> tuple[pa.Schema, list[Stretch]]:
    """Infer the columns of a file from all of its lines, and find where it can be cut: nowhere, if it is compressed.

    Raises: InputError naming the line that is no JSON object, or the column whose values share no type, or the file without any.
    """
    schema, stretches, num_rows = pa.schema([]), list[Stretch](), 0
    for first_line, start, stop, rows in _blocks(file):
        stretches.append(Stretch((file,), stop - start, len(rows), start, stop, num_rows, first_line))
        num_rows += len(rows)
        fields = [pa.field(name, _infer(rows, name, file)) for name in _names(rows)]
        where = f"{file.path}, lines from {first_line}"
        schema = merge_schemas([(file.path, schema), (where, pa.schema(fields))]) if len(schema) else pa.schema(fields)
    if not num_rows:
        raise InputError("the file holds no rows", where=file.path, wanted="one JSON object a line", do="restore or remove it")
    return schema, stretches if file.compression is None else [Stretch((file,), file.num_bytes, num_rows)]


def read(file: InputFile, schema: pa.Schema, start: int = 0, stop: int | None = None, first_line: int = 1) -> Iterator[pa.Table]:
    """Yield a file's rows in the types of `schema`, or those that begin from byte `start` on and before byte `stop`.

    Raises: InputError naming the line, the column, the type wanted and what came.
    """
    for *_, rows in _blocks(file, start, stop, first_line):
        present = _names(rows)
        fields = [field for field in schema if field.name in present]
        columns = [_column(rows, field, file) for field in fields]
        yield pa.Table.from_arrays(columns, schema=pa.schema(fields)) if fields else _bare(len(rows))


def _bare(num_rows: int) -> pa.Table:
    return pa.table({"": pa.nulls(num_rows)})


def _blocks(file: InputFile, start: int = 0, stop: int | None = None, number: int = 1) -> Iterator[tuple[int, int, int, list[Line]]]:
    """Yield the first line's number, first byte, end and objects of each block of whole lines."""
    for block in _whole_lines(file, start, stop):
        end = start + len(block)
        rows = _parse(block if start else block.removeprefix(BYTE_ORDER_MARK), number, file)
        if rows:
            yield number, start, end, rows
        start, number = end, number + block.count(b"\n")


def _whole_lines(file: InputFile, start: int, stop: int | None) -> Iterator[bytes]:
    pieces: list[bytes] = []
    left = sys.maxsize if stop is None else stop - start
    with open_bytes(file) as stream:
        if start:
            stream.seek(start)
        while piece := _read(stream, file, left):
            left -= len(piece)
            end = piece.rfind(b"\n") + 1
            if end:
                yield b"".join([*pieces, piece[:end]])
                pieces = []
            pieces.append(piece[end:])
    if last := b"".join(pieces):
        yield last


def _read(stream: Any, file: InputFile, most: int) -> bytes:
    try:
        return bytes(stream.read(min(BLOCK_BYTES, most)))
    except (OSError, EOFError) as error:
        raise InputError(
            "the file cannot be read to its end", where=file.path, got=str(error), do="copy it again; it is damaged"
        ) from error


def _parse(block: bytes, first: int, file: InputFile) -> list[Line]:
    rows = []
    for number, line in enumerate(block.split(b"\n"), start=first):
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8"))
        except UnicodeDecodeError as error:
            raise _fault("the line is not UTF-8", file, number, "UTF-8", str(error), "convert the file, for example with iconv") from None
        except (ValueError, RecursionError) as error:
            raise _fault("the line is not JSON", file, number, "one JSON object a line", str(error), "mend or remove the line") from None
        if not isinstance(row, dict):
            do = "write one object a line, for example with jq -c '.[]'" if isinstance(row, list) else "mend or remove the line"
            raise _fault("the line is not an object", file, number, "one JSON object a line", f"a {type(row).__name__}", do)
        rows.append((number, row))
    return rows


def _fault(what: str, file: InputFile, line: int, wanted: str, got: str, do: str) -> InputError:
    return InputError(what, where=f"{file.path}, line {line}", wanted=wanted, got=got, do=do)


def _names(rows: Sequence[Line]) -> list[str]:
    return list(dict.fromkeys(name for _, row in rows for name in row))


def _infer(rows: Sequence[Line], name: str, file: InputFile) -> pa.DataType:
    if _is_halved(name):
        line = next(number for number, row in rows if name in row)
        raise _fault("a column's name holds half a character", file, line, "a name in Unicode", HALF, MEND_HALF)
    values = [row.get(name) for _, row in rows]
    kinds = {*map(type, values)} - {type(None)}
    if kinds <= {str}:
        return pa.string() if kinds else pa.null()
    try:
        return pa.array(values).type
    except OverflowError:
        if all(value is None or (type(value) is int and 0 <= value < 2**64) for value in values):
            return pa.uint64()
        got = "an integer beyond 64 bits, or beside negative ones"
    except UnicodeEncodeError:
        line = next(number for number, row in rows if _is_halved(row.get(name)))
        raise _fault(f"column {name} holds half a character", file, line, "text in Unicode", HALF, MEND_HALF) from None
    except pa.ArrowException:
        got = ", ".join(sorted(kind.__name__ for kind in kinds))
    raise InputError(
        f"column {name} has values of several types",
        where=f"{file.path}, line {_first_change(rows, name)}",
        wanted="one type in every line",
        got=got,
        do="write the column as strings throughout, or leave it out",
    )


def _is_halved(value: Any) -> bool:
    """Say whether a surrogate without its other half stands anywhere in a value, names of fields included."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def _first_change(rows: Sequence[Line], name: str) -> int:
    """Return the line where a column's type changes; the block's first if it changes within a nested value."""
    kinds = [(number, type(row[name])) for number, row in rows if row.get(name) is not None]
    return next((number for number, kind in kinds if kind is not kinds[0][1]), kinds[0][0])


def _column(rows: Sequence[Line], field: pa.Field, file: InputFile) -> pa.Array:
    try:
        return pa.array([row.get(field.name) for _, row in rows], field.type)
    except (pa.ArrowException, UnicodeEncodeError, OverflowError, ValueError, TypeError):
        return pa.concat_arrays([_value(row.get(field.name), field, file, number) for number, row in rows])


def _value(value: Any, field: pa.Field, file: InputFile, line: int) -> pa.Array:
    try:
        return pa.array([value], field.type)
    except UnicodeEncodeError:
        got, do = HALF, MEND_HALF
    except (pa.ArrowException, OverflowError, ValueError, TypeError):
        got, do = f"a {type(value).__name__}", "write the column in one type throughout"
    raise _fault(f"column {field.name} holds a value of another type", file, line, str(field.type), got, do)
