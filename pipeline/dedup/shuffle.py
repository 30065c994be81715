"""Rows split by a number into files, and one number's rows read back: how a table larger than memory is regrouped."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from pipeline.store import Part, read_arrow, write_part


def write_split(rows: pl.DataFrame, by: str, folder: str, name: str) -> list[Part]:
    """Write one file for each value of the integer column `by`, which the files' names carry instead of their rows."""
    pieces = rows.sort(by, maintain_order=True).partition_by(by, maintain_order=True, as_dict=True, include_key=False)
    return [write_part(folder, f"{_prefix(int(key[0]))}{name}", piece) for key, piece in pieces.items()]


def read_split(folder: str, parts: Sequence[Part], number: int) -> pl.DataFrame | None:
    """Read all rows written under one number, or None if there were none."""
    paths = sorted(f"{folder}/{part.path}" for part in parts if part.path.startswith(_prefix(number)))
    frames = [pl.DataFrame(pl.from_arrow(read_arrow(path))) for path in paths]
    return pl.concat(frames) if frames else None


def _prefix(number: int) -> str:
    return f"{number:06d}-"
