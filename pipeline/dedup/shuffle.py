"""Rows split by a number into scratch files, and one number's rows found again: how a table larger than memory is regrouped."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from pipeline.dedup.kernels import Hashes
from pipeline.dedup.union_find import Indices
from pipeline.store import read_scratch, write_scratch

Rows = npt.NDArray[Any]


@dataclass(frozen=True)
class Slice:
    """Point at the rows `start` .. `end` of a scratch file."""

    path: str
    start: int
    end: int

    def read(self, dtype: npt.DTypeLike) -> Rows:
        """Read them."""
        return read_scratch(self.path, dtype, self.start, self.end)


@dataclass(frozen=True)
class Split:
    """Describe a file of rows in order of their numbers, as they stood where those are equal: rows of number n end before `ends[n]`."""

    path: str
    ends: Indices


def write_split(rows: Rows, numbers: Hashes, num_numbers: int, path: str) -> Split:
    """Write rows in order of their numbers, which are below `num_numbers`."""
    order, ends = _order_by(numbers, num_numbers)
    write_scratch(path, rows[order])
    return Split(path, ends)


def slices_of(splits: Iterable[Split], number: int) -> list[Slice]:
    """Return where the rows of a number are, file by file."""
    bounds = ((split.path, int(split.ends[number - 1]) if number else 0, int(split.ends[number])) for split in splits)
    return [Slice(path, start, end) for path, start, end in bounds if end > start]


@njit(cache=True, nogil=True)
def _order_by(numbers: Hashes, num_numbers: int) -> tuple[Indices, Indices]:
    """Return the order that sorts numbers below `num_numbers`, equal ones as they stand, and where each number's end."""
    ends = np.zeros(num_numbers + 1, np.int64)
    for number in numbers:
        ends[np.int64(number) + 1] += 1
    ends = np.cumsum(ends)
    order = np.empty(len(numbers), np.int64)
    for i in range(len(numbers)):
        number = np.int64(numbers[i])
        order[ends[number]] = i
        ends[number] += 1
    return order, ends[:num_numbers]
