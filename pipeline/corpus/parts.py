"""Cut a stream of rows into parts, at places that depend on the rows alone, without holding a part in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.errors import InputError

SizedRows: TypeAlias = tuple[pa.Table, npt.NDArray[np.int64]]  # rows, and each row's size in bytes


def cut_parts(batches: Iterable[SizedRows], rows_per_part: int, bytes_per_part: int) -> Iterator[Iterator[pa.Table]]:
    """Cut batches of rows, each with its rows' sizes, anew: a part ends with the row that reaches either bound.

    A part is its pieces, which are drawn from the batches as they are asked for, and all of them before the next part.
    """
    pieces = _cut(batches, rows_per_part, bytes_per_part)
    for first, is_last in pieces:
        yield chain([first], _rest(pieces) if not is_last else ())


def _rest(pieces: Iterator[tuple[pa.Table, bool]]) -> Iterator[pa.Table]:
    for piece, is_last in pieces:
        yield piece
        if is_last:
            return


def _cut(batches: Iterable[SizedRows], rows_per_part: int, bytes_per_part: int) -> Iterator[tuple[pa.Table, bool]]:
    """Yield slices of the batches and whether a part ends with each."""
    num_rows, num_bytes = 0, 0
    for table, sizes in batches:
        start = 0
        while start < table.num_rows:
            reached = num_bytes + np.cumsum(sizes[start : start + rows_per_part - num_rows])
            take = min(int(np.searchsorted(reached, bytes_per_part)) + 1, len(reached))
            num_rows, num_bytes = num_rows + take, int(reached[take - 1])
            is_last = num_rows == rows_per_part or num_bytes >= bytes_per_part
            yield table.slice(start, take), is_last
            start += take
            if is_last:
                num_rows, num_bytes = 0, 0


def with_one_dictionary(pieces: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Yield a part's pieces as they are, or joined to one where a column has a dictionary, of which a file holds one.

    Raises: InputError when a column's dictionary is too large for its index type then.
    """
    first = next(pieces)
    if not any(_has_dictionary(field.type) for field in first.schema):
        yield from chain([first], pieces)
        return
    try:
        yield pa.concat_tables([first, *pieces]).unify_dictionaries()
    except pa.ArrowException as error:
        raise InputError(
            "a dictionary column has more values than its index type can count", got=str(error), do="write the column as plain strings"
        ) from error


def _has_dictionary(kind: pa.DataType) -> bool:
    if isinstance(kind, pa.BaseExtensionType):
        return _has_dictionary(kind.storage_type)
    return bool(pa.types.is_dictionary(kind)) or any(_has_dictionary(kind.field(each).type) for each in range(kind.num_fields))
