"""The first stage: a corpus becomes the `documents` table, part by part, the user's columns untouched.

Rows get their number in path-sorted input as doc_id. The input is cut into shards (`corpus.shards`), and each shard into parts, at places
that do not depend on who reads. The text moves to the column `text`, every other column to `user.NAME` in its own
type; the original schema, metadata included, goes into the artifact's facts so that `pipeline.rows` can give back what came in. Rows
go to disk as they come: memory holds a few batches a worker, and of a part what names its documents, whatever the size of the corpus.

Texts are normalised once, here; who wants to make something of them while they are in memory passes a `scan`, and a `keep` that takes
what it made, part by part.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.config import InputConfig
from pipeline.corpus.batches import Batch, Corpus, open_files
from pipeline.corpus.columns import Columns, guess_columns
from pipeline.corpus.files import digest_files, digests
from pipeline.corpus.hub import describe_dataset, open_dataset
from pipeline.corpus.listing import is_saved_dataset, list_files
from pipeline.corpus.parts import SizedRows, cut_parts, with_one_dictionary
from pipeline.corpus.row_hash import row_hashes
from pipeline.corpus.schemas import check_storable
from pipeline.corpus.shards import Shard, Stretch, first_rows
from pipeline.errors import InputError
from pipeline.parallel import Mapper, ahead, in_order
from pipeline.rows import encode_schema, name_documents
from pipeline.store import Artifact, Part, publish, write_records
from pipeline.tables import DOCUMENT_FIELDS, USER_PREFIX, check_documents
from pipeline.text import Bytes, Offsets, cut_blocks, hash_normalised, padded_buffers

Scan: TypeAlias = Callable[[Bytes, Offsets], pa.Table]
"""Takes normalised texts as `text.padded_buffers` returns them, in any thread, and returns a table with a row for each."""
Keep: TypeAlias = Callable[[str, pa.Table, pa.Table], None]
"""Takes a part's name, the names of its documents (`rows.name_documents`), and what the scan made of them."""

SCAN_PREFIX = "scan."
MAX_LISTED = 1000
"""Files and sources that the facts list one by one; beyond it only their number and digest stay."""


def read_corpus(
    config: InputConfig,
    folder: str,
    scan: Scan | None = None,
    keep: Keep | None = None,
    *,
    first_id: int = 0,
    workers: int = 1,
    mapper: Mapper | None = None,
) -> Artifact:
    """Read the corpus into a `documents` table under `folder`; ids count up from `first_id`.

    The shards are read as one stream by so many threads of this process or, if there is a `mapper`, each by whom that finds, for which
    rows are counted first; the bytes are the same. Then `scan` and `keep` are functions of a module, too.

    Facts: schema (base64 of the Arrow IPC schema), text_column, id_column, source_column, num_rows, num_null_texts, bytes (of text),
    input_bytes, num_files, files (path, bytes, digest), input_digest, num_sources, sources (rows each), encodings (text files each),
    skipped (files left out, by reason).

    Raises: InputError saying what in the input cannot be read or trusted.
    """
    corpus = open_corpus(config, mapper or in_order, are_counted=mapper is not None)
    columns = guess_columns(corpus.schema, config)
    _refuse_textless(corpus, columns)
    check_storable(corpus.schema)
    read = partial(_read_shards, read=corpus.read, columns=columns, scan=scan, keep=keep, config=config, folder=folder)
    if mapper is None:
        found = [read((first_id, list(enumerate(corpus.shards))), workers=workers)]
    else:
        each = [(first, [numbered]) for first, numbered in zip(first_rows(corpus.shards, first_id), enumerate(corpus.shards), strict=True)]
        found = list(mapper(partial(read, workers=max(1, workers // max(1, len(each)))), each))
    parts = [part for own, _ in found for part in own]
    if not parts:
        raise InputError("the input holds no rows", where=", ".join(config.paths) or str(config.dataset), do="check what input.paths names")
    return publish("documents", folder, parts, _facts(corpus, columns, sum((tally for _, tally in found), _Tally())))


def input_digest(config: InputConfig) -> str:
    """Return a digest of the names and bytes of everything that would be read: under the same settings, equal digests are equal rows.

    Raises: InputError as `find_files` does.
    """
    return digest_files(input_files(config))


def input_files(config: InputConfig) -> list[dict[str, Any]]:
    """Return name (`path`), size (`bytes`) and `digest` of everything that would be read; for files every byte is read.

    Raises: InputError as `find_files` does.
    """
    return describe_dataset(config) if _is_hub(config) else digests(list_files(config).files)


def read_schema(config: InputConfig) -> pa.Schema:
    """Return the schema that all files share, which `guess_columns` takes; reads JSONL whole, of other formats the heads."""
    return open_corpus(config).schema


def _is_hub(config: InputConfig) -> bool:
    return config.dataset is not None and not (Path(config.dataset).is_dir() and is_saved_dataset(config.dataset))


def open_corpus(config: InputConfig, mapper: Mapper = in_order, *, are_counted: bool = False) -> Corpus:
    """Open the files or the dataset of a configuration; as `open_files` takes its arguments.

    Raises: InputError as `find_files` does.
    """
    return open_dataset(config) if _is_hub(config) else open_files(config, mapper, are_counted=are_counted)


def _refuse_textless(corpus: Corpus, columns: Columns) -> None:
    for file, schema in corpus.schemas:
        if columns.text not in schema.names:
            raise InputError(
                f"the file has no column {columns.text}",
                where=file,
                wanted=f"the text in column {columns.text}, as in the other files",
                got=f"columns {', '.join(schema.names)}",
                do="leave the file out, or rename its column",
            )


@dataclass
class _Tally:
    """Count what passes on the way to disk."""

    num_rows: int = 0
    num_null_texts: int = 0
    num_text_bytes: int = 0
    sources: Counter[str] = field(default_factory=Counter)
    encodings: Counter[str] = field(default_factory=Counter)

    def add(self, documents: pa.Table) -> None:
        text = documents.column("text")
        self.num_rows += len(text)
        self.num_null_texts += text.null_count
        self.num_text_bytes += pc.sum(pc.binary_length(text)).as_py() or 0
        self.sources.update({str(item["values"]): item["counts"] for item in pc.value_counts(documents.column("source")).to_pylist()})

    def __add__(self, other: _Tally) -> _Tally:
        return _Tally(
            self.num_rows + other.num_rows,
            self.num_null_texts + other.num_null_texts,
            self.num_text_bytes + other.num_text_bytes,
            self.sources + other.sources,
            self.encodings + other.encodings,
        )


def _read_shards(
    work: tuple[int, list[tuple[int, Shard]]],
    read: Callable[[Stretch, Counter[str]], Iterator[Batch]],
    columns: Columns,
    scan: Scan | None,
    keep: Keep | None,
    config: InputConfig,
    folder: str,
    workers: int,
) -> tuple[list[Part], _Tally]:
    """Read some shards, in order, as one stream; parts end with their shard, and ids count up from the first."""
    first_id, shards = work
    tally = _Tally()
    batches = ((number, batch) for number, shard in shards for stretch in shard for batch in read(stretch, tally.encodings))
    make = partial(_to_documents, columns=columns, scan=scan)
    with closing(in_order(make, _numbered(batches, first_id), workers)) as converted, closing(ahead(converted)) as drawn:
        cut = _cut(_counted(drawn, tally), config)
        parts = [_write(name, pieces, folder, config.codec, keep) for name, pieces in cut]
    _refuse_change([stretch for _, shard in shards for stretch in shard], tally.num_rows)
    return parts, tally


def _refuse_change(stretches: Sequence[Stretch], num_rows: int) -> None:
    counts = [stretch.num_rows for stretch in stretches if stretch.num_rows is not None]
    if len(counts) == len(stretches) and sum(counts) != num_rows:
        raise InputError(
            "a file changed while it was read",
            where=f"one of {stretches[0].files[0].path} to {stretches[-1].files[-1].path}",
            wanted=f"{sum(counts):,} rows, as counted before",
            got=f"{num_rows:,}",
            do="run the same command again when nobody writes the input",
        )


def _numbered(batches: Iterable[tuple[int, Batch]], first_id: int) -> Iterator[tuple[int, int, Batch]]:
    for shard, batch in batches:
        if batch.rows.num_rows:
            yield shard, first_id, batch
            first_id += batch.rows.num_rows


def _counted(converted: Iterable[tuple[int, SizedRows]], tally: _Tally) -> Iterator[tuple[int, SizedRows]]:
    for shard, (documents, sizes) in converted:
        tally.add(documents)
        yield shard, (documents, sizes)


def _cut(converted: Iterable[tuple[int, SizedRows]], config: InputConfig) -> Iterator[tuple[str, Iterator[pa.Table]]]:
    """Yield the name of each part and its pieces, which are drawn as they are asked for."""
    for shard, rows in groupby(converted, key=itemgetter(0)):
        for number, pieces in enumerate(cut_parts((sized for _, sized in rows), config.rows_per_part, config.bytes_per_part)):
            yield f"part-{shard:05d}-{number:05d}", pieces


def _to_documents(numbered: tuple[int, int, Batch], columns: Columns, scan: Scan | None) -> tuple[int, SizedRows]:
    shard, first_id, batch = numbered
    rows = batch.rows
    texts = rows.column(columns.text)
    text = (texts.chunk(0) if texts.num_chunks == 1 else texts.combine_chunks()).cast(pa.large_string())
    content, scanned = _pass_over(text, scan)
    hashes, sizes = row_hashes(rows)
    ours = [
        pa.array(np.arange(first_id, first_id + rows.num_rows), pa.int64()),
        _named(rows, columns.source, batch.sources),
        _named(rows, columns.id, batch.ids),
        content,
        hashes,
        text,
    ]
    theirs = [field for field in rows.schema if field.name != columns.text]
    fields = [*DOCUMENT_FIELDS, *(field.with_name(USER_PREFIX + field.name) for field in theirs)]
    documents = pa.Table.from_arrays([*ours, *(rows.column(field.name) for field in theirs)], schema=pa.schema(fields))
    for name in scanned.column_names:
        documents = documents.append_column(SCAN_PREFIX + name, scanned[name])
    return shard, (documents, sizes)


def _pass_over(text: pa.Array, scan: Scan | None) -> tuple[pa.Array, pa.Table]:
    """Normalise a batch's texts, a block at a time, and return their content hashes and what the scan makes of them."""
    hashes, scanned = [], []
    for block in cut_blocks(text):
        normalised = padded_buffers(block)
        hashes.append(hash_normalised(*normalised))
        scanned.append(scan(*normalised) if scan is not None else pa.table({}))
    return pa.concat_arrays(hashes), pa.concat_tables(scanned).combine_chunks()


def _write(name: str, pieces: Iterator[pa.Table], folder: str, codec: str, keep: Keep | None) -> Part:
    """Write a part's documents as they come, and hand on what was made of them on the way."""
    names, scans = [], []

    def documents() -> Iterator[pa.Table]:
        for piece in with_one_dictionary(pieces):
            scanned = [column for column in piece.column_names if column.startswith(SCAN_PREFIX)]
            rows = check_documents(piece.drop_columns(scanned))
            if keep is not None:
                # what is held till the part ends must not hold the texts
                names.append(name_documents(rows))
                scans.append(piece.select(scanned).rename_columns([column.removeprefix(SCAN_PREFIX) for column in scanned]))
            yield rows

    part = write_records(folder, name, documents(), codec)
    if keep is not None:
        keep(name, pa.concat_tables(names), pa.concat_tables(scans))
    return part


def _named(rows: pa.Table, column: str | None, otherwise: Sequence[str] | pa.Array) -> pa.ChunkedArray | pa.Array:
    if column is not None and not rows.column(column).null_count:
        return rows.column(column).cast(pa.large_string())
    fallback = otherwise if isinstance(otherwise, pa.Array) else pa.array(otherwise, pa.large_string())
    return fallback if column is None else pc.coalesce(rows.column(column).combine_chunks().cast(pa.large_string()), fallback)


def _facts(corpus: Corpus, columns: Columns, tally: _Tally) -> dict[str, Any]:
    sources = sorted(tally.sources.items(), key=lambda item: (-item[1], item[0]))
    return {
        "schema": encode_schema(corpus.schema),
        "text_column": columns.text,
        "id_column": columns.id,
        "source_column": columns.source,
        "num_rows": tally.num_rows,
        "num_null_texts": tally.num_null_texts,
        "bytes": tally.num_text_bytes,
        "input_bytes": sum(file["bytes"] or 0 for file in corpus.files),
        "num_files": len(corpus.files),
        "files": list(corpus.files[:MAX_LISTED]),
        "input_digest": digest_files(corpus.files),
        "num_sources": len(sources),
        "sources": dict(sources[:MAX_LISTED]),
        "encodings": dict(sorted(tally.encodings.items())),
        "skipped": dict(corpus.skipped),
    }
