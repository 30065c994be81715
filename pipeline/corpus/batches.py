"""A corpus as one stream of small tables in one schema, wherever it lies."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import InputConfig
from pipeline.corpus import columnar, delimited, jsonl, plain
from pipeline.corpus.files import InputFile, digests
from pipeline.corpus.listing import Listing, list_files
from pipeline.corpus.schemas import fit, merge_schemas
from pipeline.errors import InputError

SHARD = re.compile(r"-\d{5}-of-\d{5}(?=\.|$)")


@dataclass(frozen=True)
class Batch:
    """Hold some rows in the corpus's schema, and the id and source they have unless a column says otherwise."""

    rows: pa.Table
    ids: Sequence[str] | pa.Array
    sources: Sequence[str] | pa.Array


@dataclass(frozen=True)
class Corpus:
    """Hold a corpus that is open for reading: its common schema, each file's own, what its files are, and its rows in order."""

    schema: pa.Schema
    schemas: Sequence[tuple[str, pa.Schema]]  # per file or group of files, with its name
    files: Sequence[Mapping[str, Any]]  # path, bytes, digest
    batches: Callable[[], Iterator[Batch]]
    skipped: Mapping[str, int] = field(default_factory=dict)
    encodings: Counter[str] = field(default_factory=Counter)  # of text files, counted while batches are read


def open_files(config: InputConfig) -> Corpus:
    """Open the files of `input.paths`.

    Raises: InputError naming the file that is missing, unreadable or does not fit the others.
    """
    listing = list_files(config)
    schemas = [(group[0].path, _schema(group)) for group in _groups(listing.files)]
    schema = merge_schemas(schemas)
    encodings: Counter[str] = Counter()
    batches = partial(_batches, listing, schema, encodings)
    return Corpus(schema, schemas, digests(listing.files), batches, listing.skipped, encodings)


def source_name(name: str) -> str:
    """Return the source of a data file: its name without a shard's number, so that all shards are one source."""
    return SHARD.sub("", name)


def text_sources(listing: Listing) -> dict[str, str]:
    """Return each text file's source by name: its first folder below the common root.

    Where every folder holds one document only (as in `/usr/share/doc/*/copyright`), folders are ids, not sources: all take the root's name.
    """
    names = [file.name for file in listing.files if file.format == "text"]
    root = listing.root or "text"
    folders = Counter(name.split("/")[0] for name in names if "/" in name)
    if max(folders.values(), default=0) <= 1:
        return dict.fromkeys(names, root)
    return {name: name.split("/")[0] if "/" in name else root for name in names}


def _groups(files: Sequence[InputFile]) -> Iterator[list[InputFile]]:
    """Yield data files one by one, neighbouring text files together: a table for each would cost more than its text."""
    for is_text, neighbours in groupby(files, key=lambda file: file.format == "text"):
        group = list(neighbours)
        yield from [group] if is_text else ([file] for file in group)


def _schema(group: list[InputFile]) -> pa.Schema:
    readers = {"parquet": columnar.schema_of, "arrow": columnar.schema_of, "jsonl": jsonl.schema_of, "csv": delimited.schema_of}
    return plain.SCHEMA if group[0].format == "text" else readers[group[0].format](group[0])


def _tables(group: list[InputFile], schema: pa.Schema, encodings: Counter[str]) -> Iterator[pa.Table]:
    file = group[0]
    if file.format == "text":
        return plain.read(group, encodings)
    if file.format == "jsonl":
        return jsonl.read(file, schema)
    return delimited.read(file) if file.format == "csv" else columnar.read(file)


def _batches(listing: Listing, schema: pa.Schema, encodings: Counter[str]) -> Iterator[Batch]:
    encodings.clear()
    of_text = text_sources(listing)
    for group in _groups(listing.files):
        file, num_rows = group[0], 0
        for table in _tables(group, schema, encodings):
            rows = fit(table, schema, file.path)
            if file.format == "text":
                ids = table.column("id").to_pylist()
                yield Batch(rows, ids, [of_text[name] for name in ids])
            else:
                source = pa.repeat(pa.scalar(source_name(file.name), pa.large_string()), rows.num_rows)
                yield Batch(rows, _numbered(file.name, num_rows, rows.num_rows), source)
            num_rows += rows.num_rows
        if num_rows == 0 and file.format == "jsonl":
            raise InputError("the file holds no rows", where=file.path, wanted="one JSON object a line", do="restore or remove it")


def _numbered(name: str, before: int, count: int) -> pa.Array:
    numbers = pa.array(np.arange(before + 1, before + count + 1)).cast(pa.large_string())
    return pc.binary_join_element_wise(pa.scalar(name, pa.large_string()), numbers, pa.scalar(":", pa.large_string()))
