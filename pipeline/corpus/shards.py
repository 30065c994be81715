"""Shards: what one worker reads at a time, cut at places that the input and the settings decide, whoever reads and however many there are.

A file is cut where a reader can begin: before a row group of Parquet, after a line of uncompressed JSONL. Other files are read whole.
Neighbouring stretches are joined until they hold a few parts' bytes, so that small files share a shard and only its last part is short.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TypeAlias

from pipeline.corpus.files import InputFile

PARTS_PER_SHARD = 2


@dataclass(frozen=True)
class Stretch:
    """Name rows of one data file, or some text files whole.

    `start` and `stop` count row groups of Parquet and bytes of JSONL, `stop` None is the end; `rows_before` and `first_line` say where in
    the file it begins. `num_rows` is None where it was not counted. `sources` are those of text files, one each.
    """

    files: tuple[InputFile, ...]
    num_bytes: int
    num_rows: int | None
    start: int = 0
    stop: int | None = None
    rows_before: int = 0
    first_line: int = 1
    sources: tuple[str, ...] = ()


Shard: TypeAlias = tuple[Stretch, ...]


def plan_shards(stretches: Iterable[Stretch], bytes_per_part: int) -> list[Shard]:
    """Join neighbouring stretches into shards; a new one begins where the last would exceed a few parts' bytes."""
    shards: list[Shard] = []
    own: list[Stretch] = []
    num_bytes = 0
    for stretch in stretches:
        if own and num_bytes + stretch.num_bytes > PARTS_PER_SHARD * bytes_per_part:
            shards.append(tuple(_joined(own)))
            own, num_bytes = [], 0
        own.append(stretch)
        num_bytes += stretch.num_bytes
    return [*shards, tuple(_joined(own))] if own else shards


def first_rows(shards: Iterable[Shard], first: int) -> Iterator[int]:
    """Yield the number of each shard's first row; all but the last must be counted."""
    for shard in shards:
        yield first
        first += sum(stretch.num_rows or 0 for stretch in shard)


def _joined(stretches: Iterable[Stretch]) -> Iterator[Stretch]:
    """Join stretches that follow one another in the same file."""
    last: Stretch | None = None
    for stretch in stretches:
        if last is not None and stretch.files == last.files and stretch.start == last.stop:
            rows = None if last.num_rows is None or stretch.num_rows is None else last.num_rows + stretch.num_rows
            last = replace(last, stop=stretch.stop, num_rows=rows, num_bytes=last.num_bytes + stretch.num_bytes)
            continue
        if last is not None:
            yield last
        last = stretch
    if last is not None:
        yield last
