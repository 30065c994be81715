"""Rows split by a number into files, and one number's files found again: how a table larger than memory is regrouped."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from pipeline.store import write_scratch

Rows = npt.NDArray[Any]


def write_split(rows: Rows, numbers: npt.NDArray[np.integer], folder: str, name: str) -> list[str]:
    """Write one scratch file for each number that occurs, with the rows that have it in their order; return the files' paths."""
    # numpy sorts small integers by counting
    order = np.argsort(numbers.astype(np.min_scalar_type(int(numbers.max(initial=0)))), kind="stable")
    found, starts = np.unique(numbers[order], return_index=True)
    paths = [f"{folder}/{_prefix(int(number))}{name}.npy" for number in found]
    for path, (start, end) in zip(paths, pairwise([*starts, len(order)]), strict=True):
        write_scratch(path, rows[order[start:end]])
    return paths


def split_paths(folder: str, paths: Sequence[str], num_numbers: int) -> list[list[str]]:
    """Return the files written under each number, in order of their names."""
    own: list[list[str]] = [[] for _ in range(num_numbers)]
    for path in sorted(paths):
        own[int(path.removeprefix(f"{folder}/").partition("-")[0])].append(path)
    return own


def _prefix(number: int) -> str:
    return f"{number:06d}-"
