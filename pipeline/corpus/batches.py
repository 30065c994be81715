"""A corpus as shards that are read independently, each a stream of small tables in one schema, wherever it lies."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, groupby
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import InputConfig
from pipeline.corpus import columnar, delimited, jsonl, plain
from pipeline.corpus.files import InputFile, digests
from pipeline.corpus.listing import list_files
from pipeline.corpus.schemas import fit, merge_schemas
from pipeline.corpus.shards import Shard, Stretch, plan_shards
from pipeline.parallel import Mapper, in_order

SHARD = re.compile(r"-\d{5}-of-\d{5}(?=\.|$)")


@dataclass(frozen=True)
class Batch:
    """Hold some rows in the corpus's schema, and the id and source they have unless a column says otherwise."""

    rows: pa.Table
    ids: Sequence[str] | pa.Array
    sources: Sequence[str] | pa.Array


@dataclass(frozen=True)
class Corpus:
    """Hold a corpus that is open for reading: its common schema, each file's own, what its files are, and its shards in order.

    `read` yields the rows of a stretch and counts the encodings of text files.
    """

    schema: pa.Schema
    schemas: Sequence[tuple[str, pa.Schema]]  # per file or group of files, with its name
    files: Sequence[Mapping[str, Any]]  # path, bytes, digest
    shards: Sequence[Shard]
    read: Callable[[Stretch, Counter[str]], Iterator[Batch]]
    skipped: Mapping[str, int] = field(default_factory=dict)

    def batches(self) -> Iterator[Batch]:
        """Yield all rows in order."""
        return chain.from_iterable(self.read(stretch, Counter()) for shard in self.shards for stretch in shard)


def open_files(config: InputConfig, mapper: Mapper = in_order, *, are_counted: bool = False) -> Corpus:
    """Open the files of `input.paths`; `are_counted`: how many rows each has, too, whatever that costs.

    Raises: InputError naming the file that is missing, unreadable or does not fit the others.
    """
    listing = list_files(config)
    groups = list(_groups(listing.files))
    data = [group[0] for group in groups if group[0].format != "text"]
    # what comes after the last is nothing that would need its number
    wanted = [(file, are_counted and file is not listing.files[-1]) for file in data]
    found = dict(zip(data, mapper(describe_file, wanted), strict=True))
    described = [found.get(group[0]) or (plain.SCHEMA, plain.describe(group)) for group in groups]
    schemas = [(group[0].path, schema) for group, (schema, _) in zip(groups, described, strict=True)]
    schema = merge_schemas(schemas)
    shards = plan_shards((stretch for _, stretches in described for stretch in stretches), config.bytes_per_part)
    return Corpus(schema, schemas, digests(listing.files), shards, partial(read_stretch, schema=schema), listing.skipped)


def describe_file(wanted: tuple[InputFile, bool]) -> tuple[pa.Schema, list[Stretch]]:
    """Return a data file's own schema and where it can be cut, its rows counted where that costs nothing or is asked for."""
    file, is_counted = wanted
    if file.format == "jsonl":
        return jsonl.describe(file)
    return delimited.describe(file, is_counted) if file.format == "csv" else columnar.describe(file, is_counted)


def source_name(name: str) -> str:
    """Return the source of a data file: its name without a shard's number, so that all shards are one source."""
    return SHARD.sub("", name)


def _groups(files: Sequence[InputFile]) -> Iterator[list[InputFile]]:
    """Yield data files one by one, neighbouring text files together: a table for each would cost more than its text."""
    for is_text, neighbours in groupby(files, key=lambda file: file.format == "text"):
        group = list(neighbours)
        yield from [group] if is_text else ([file] for file in group)


def read_stretch(stretch: Stretch, encodings: Counter[str], schema: pa.Schema) -> Iterator[Batch]:
    """Yield the rows of a stretch in the corpus's schema, and count the encodings of text files."""
    file, num_rows = stretch.files[0], stretch.rows_before
    for table in _tables(stretch, schema, encodings):
        rows = fit(table, schema, file.path)
        if file.format == "text":
            first, num_rows = num_rows, num_rows + rows.num_rows
            yield Batch(rows, table.column("id").to_pylist(), stretch.sources[first:num_rows])
        else:
            source = pa.repeat(pa.scalar(source_name(file.name), pa.large_string()), rows.num_rows)
            yield Batch(rows, _numbered(file.name, num_rows, rows.num_rows), source)
            num_rows += rows.num_rows


def _tables(stretch: Stretch, schema: pa.Schema, encodings: Counter[str]) -> Iterator[pa.Table]:
    file = stretch.files[0]
    if file.format == "text":
        return plain.read(stretch.files, encodings)
    if file.format == "jsonl":
        return jsonl.read(file, schema, stretch.start, stretch.stop, stretch.first_line)
    return delimited.read(file) if file.format == "csv" else columnar.read(file, stretch.start, stretch.stop)


def _numbered(name: str, before: int, count: int) -> pa.Array:
    numbers = pa.array(np.arange(before + 1, before + count + 1)).cast(pa.large_string())
    return pc.binary_join_element_wise(pa.scalar(name, pa.large_string()), numbers, pa.scalar(":", pa.large_string()))
