"""Parquet and Arrow files, read in batches small enough to hold whatever the size of the file or of its row groups."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import accumulate
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.corpus.files import InputFile
from pipeline.corpus.shards import Stretch
from pipeline.errors import InputError
from pipeline.places import is_local, locate

BATCH_BYTES = 8 << 20
MAX_BATCH_ROWS = 4096
ARROW_FILE_MAGIC = b"ARROW1"


def describe(file: InputFile, is_counted: bool) -> tuple[pa.Schema, list[Stretch]]:
    """Return the file's own schema, and its row groups; an Arrow file is one stretch, whose rows are counted if asked for."""
    with _explained(file), _open(file) as stream:
        if file.format == "arrow":
            reader = _arrow_reader(stream)
            num_rows = sum(batch.num_rows for batch in _batches(reader)) if is_counted else None
            return reader.schema, [Stretch((file,), file.num_bytes, num_rows)]
        parquet = pq.ParquetFile(stream, pre_buffer=False)
        groups = [parquet.metadata.row_group(group) for group in range(parquet.metadata.num_row_groups)]
        before = accumulate((group.num_rows for group in groups), initial=0)
        return parquet.schema_arrow, [
            Stretch((file,), group.total_byte_size, group.num_rows, number, number + 1, rows)
            for number, (group, rows) in enumerate(zip(groups, before, strict=False))
        ]


def read(file: InputFile, start: int = 0, stop: int | None = None) -> Iterator[pa.Table]:
    """Yield a file's rows in the file's own types; of Parquet those of some row groups.

    Raises: InputError when the bytes are damaged, or a string is not UTF-8.
    """
    with _explained(file), _open(file) as stream:
        for table in _parquet(stream, start, stop) if file.format == "parquet" else _arrow(stream):
            table.validate(full=True)  # Arrow trusts its writers; a string that is not UTF-8 would break a later stage
            yield table


class _explained:  # noqa: N801  a context manager is named like a function
    def __init__(self, file: InputFile) -> None:
        self.file = file

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if isinstance(error, pa.ArrowException | OSError):
            raise InputError(
                f"the file cannot be read as {self.file.format}",
                where=self.file.path,
                got=str(error)[:200],
                do="copy or write the file again, or set input.format",
            ) from error


def _open(file: InputFile) -> pa.NativeFile:
    filesystem, plain = locate(file.path)
    if is_local(filesystem):
        # an Arrow file's batches then stay on disk until they are used; of Parquet all that was read would stay in memory till the end
        return pa.memory_map(plain) if file.format == "arrow" else pa.OSFile(plain)
    return pa.PythonFile(filesystem.open(plain, "rb"), mode="r")


def _parquet(stream: pa.NativeFile, start: int, stop: int | None) -> Iterator[pa.Table]:
    file = pq.ParquetFile(stream, pre_buffer=False)  # buffered ahead, the whole file would be in memory
    chosen = range(file.metadata.num_row_groups)[start:stop]
    groups = [file.metadata.row_group(group) for group in chosen]
    step = _batch_rows(sum(group.total_byte_size for group in groups), sum(group.num_rows for group in groups))
    for batch in file.iter_batches(batch_size=step, row_groups=list(chosen)):
        yield pa.Table.from_batches([batch], schema=file.schema_arrow)


def _arrow(stream: pa.NativeFile) -> Iterator[pa.Table]:
    reader = _arrow_reader(stream)
    for batch in _batches(reader):
        step = _batch_rows(batch.nbytes, batch.num_rows)
        for start in range(0, batch.num_rows, step):
            yield pa.Table.from_batches([batch.slice(start, step)], schema=reader.schema)


def _batches(reader: Any) -> Iterator[Any]:
    is_file = isinstance(reader, pa.RecordBatchFileReader)
    yield from (reader.get_batch(number) for number in range(reader.num_record_batches)) if is_file else reader


def _arrow_reader(stream: pa.NativeFile) -> pa.RecordBatchFileReader | pa.RecordBatchStreamReader:
    is_file = stream.read(len(ARROW_FILE_MAGIC)) == ARROW_FILE_MAGIC
    stream.seek(0)
    return pa.ipc.open_file(stream) if is_file else pa.ipc.open_stream(stream)


def _batch_rows(num_bytes: int, num_rows: int) -> int:
    return max(1, min(MAX_BATCH_ROWS, BATCH_BYTES * num_rows // max(num_bytes, 1)))
