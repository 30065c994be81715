"""Cut a stream of rows into parts that memory can hold, at places that depend on the rows alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.errors import InputError

SizedRows: TypeAlias = tuple[pa.Table, npt.NDArray[np.int64]]  # rows, and each row's size in bytes


def cut_parts(batches: Iterable[SizedRows], rows_per_part: int, bytes_per_part: int) -> Iterator[pa.Table]:
    """Join batches of rows, each with its rows' sizes, and cut them anew: a part ends with the row that reaches either bound.

    Where parts end does not depend on where batches did.
    """
    pending: list[pa.Table] = []
    num_rows, num_bytes = 0, 0
    for table, sizes in batches:
        start = 0
        while start < table.num_rows:
            reached = num_bytes + np.cumsum(sizes[start : start + rows_per_part - num_rows])
            take = min(int(np.searchsorted(reached, bytes_per_part)) + 1, len(reached))
            pending.append(table.slice(start, take))
            start, num_rows, num_bytes = start + take, num_rows + take, int(reached[take - 1])
            if num_rows == rows_per_part or num_bytes >= bytes_per_part:
                yield _concatenated(pending)
                pending, num_rows, num_bytes = [], 0, 0
    if pending:
        yield _concatenated(pending)


def _concatenated(tables: list[pa.Table]) -> pa.Table:
    try:
        return pa.concat_tables(tables).unify_dictionaries()
    except pa.ArrowException as error:
        raise InputError(
            "a dictionary column has more values than its index type can count", got=str(error), do="write the column as plain strings"
        ) from error
