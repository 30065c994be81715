"""Where parts end."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpus.parts import cut_parts, with_one_dictionary
from pipeline.errors import InputError


def plain(sizes: list[int], rows: int, size: int) -> list[int]:
    """Return the rows of each part, row by row."""
    parts: list[int] = []
    num_rows, num_bytes = 0, 0
    for one in sizes:
        num_rows, num_bytes = num_rows + 1, num_bytes + one
        if num_rows == rows or num_bytes >= size:
            parts, num_rows, num_bytes = [*parts, num_rows], 0, 0
    return [*parts, num_rows] if num_rows else parts


@given(st.lists(st.lists(st.integers(0, 20))), st.integers(1, 6), st.integers(1, 50))
def test_parts_end_at_their_bounds_wherever_batches_do(batches: list[list[int]], rows: int, size: int) -> None:
    """Parts are those that a row-by-row count would cut, and hold every row in order."""
    flat = [one for batch in batches for one in batch]
    sized = [(pa.table({"size": pa.array(batch, pa.int64())}), np.array(batch, np.int64)) for batch in batches]
    parts = [pa.concat_tables(pieces) for pieces in cut_parts(sized, rows, size)]
    assert [part.num_rows for part in parts] == plain(flat, rows, size)
    assert [one for part in parts for one in part.column("size").to_pylist()] == flat


def test_dictionaries_that_outgrow_their_index_are_named() -> None:
    """Batches with dictionaries of their own may need more values together than the index type counts."""
    kind = pa.dictionary(pa.int8(), pa.string())
    batches = [pa.table({"a": pa.array([f"{b}-{i}" for i in range(100)]).cast(kind)}) for b in range(2)]
    with pytest.raises(InputError, match=r"a dictionary column has more values than its index type can count; .* plain strings"):
        list(with_one_dictionary(next(cut_parts([(batch, np.ones(100, np.int64)) for batch in batches], 1000, 10**6))))
