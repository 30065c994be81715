"""CSV: a header, then rows of as many fields; commas, or tabs where the name says .tsv; UTF-8; quoted fields may span lines.

CSV has no types, so every column is a string and "007" stays "007"; an empty field is the empty string. Python's reader, not Arrow's:
in strict mode it reports a quotation mark that is never closed, which Arrow takes for one long last row.
"""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator
from itertools import islice

import pyarrow as pa

from pipeline.corpus.files import InputFile, open_bytes, suffix_of
from pipeline.corpus.shards import Stretch
from pipeline.errors import InputError

BATCH_ROWS = 1024
BATCH_CHARACTERS = 4 << 20


def schema_of(file: InputFile) -> pa.Schema:
    """Return the header's names, all strings.

    Raises: InputError when there is no header.
    """
    header = next(_rows(file), None)
    if not header:
        raise InputError("the file has no header", where=file.path, wanted="column names in the first line", do="add a header line")
    return pa.schema([pa.field(name, pa.string()) for name in header])


def describe(file: InputFile, is_counted: bool) -> tuple[pa.Schema, list[Stretch]]:
    """Return the header's names and the file as one stretch, whose rows are counted if asked for."""
    return schema_of(file), [Stretch((file,), file.num_bytes, sum(1 for _ in _rows(file)) - 1 if is_counted else None)]


def read(file: InputFile) -> Iterator[pa.Table]:
    """Yield a file's rows.

    Raises: InputError naming the row that has too few or too many fields, an open quotation, or bytes that are not UTF-8.
    """
    schema = schema_of(file)
    rows = islice(_rows(file), 1, None)
    while batch := list(_take(rows)):
        yield pa.Table.from_arrays([pa.array(column, pa.string()) for column in zip(*batch, strict=True)], schema=schema)


def _take(rows: Iterator[list[str]]) -> Iterator[list[str]]:
    num_characters = 0
    for row in islice(rows, BATCH_ROWS):
        yield row
        num_characters += sum(map(len, row))
        if num_characters >= BATCH_CHARACTERS:
            return


def _rows(file: InputFile) -> Iterator[list[str]]:
    """Yield the header and the rows, every one as long as the header; blank lines are passed over."""
    csv.field_size_limit(sys.maxsize)  # the module's own limit, 128 KiB, is shorter than a novel
    with open_bytes(file) as raw, io.TextIOWrapper(raw, encoding="utf-8-sig", newline="") as text:
        reader = csv.reader(text, delimiter="\t" if suffix_of(file.path) == ".tsv" else ",", strict=True)
        width, number = 0, -1  # the header is row 0
        try:
            for row in reader:
                if not row:
                    continue
                number += 1
                width = width or len(row)
                if len(row) != width:
                    raise _fault("the row does not match the header", file, number, f"{width} fields", f"{len(row)}")
                yield row
        except csv.Error as error:
            raise _fault("the row is not CSV", file, number + 1, "quotation marks in pairs", str(error)) from None
        except UnicodeDecodeError as error:
            raise _fault("the row, or one soon after it, is not UTF-8", file, number + 1, "UTF-8", str(error)) from None
        except (OSError, EOFError) as error:
            raise InputError(
                "the file cannot be read to its end", where=file.path, got=str(error), do="copy it again; it is damaged"
            ) from error


def _fault(what: str, file: InputFile, row: int, wanted: str, got: str) -> InputError:
    return InputError(
        what, where=f"{file.path}, row {row}", wanted=wanted, got=got, do="mend the row, or convert the file to Parquet or JSONL"
    )
