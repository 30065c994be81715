"""Write rows as Parquet shards whose bytes depend on the rows alone, whatever pieces the rows arrived in.

A row group closes after `GROUP_ROWS` rows or `GROUP_BYTES` of text, counted row by row, so memory holds one group and one arriving
piece, and another partition of the same documents gives the same file.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline.store import Part, writing

GROUP_ROWS = 16_384
GROUP_BYTES = 64 * 2**20
SPLIT = "train"


def shard_path(number: int, count: int) -> str:
    """Return the conventional path of shard `number` (from 0) of `count`, under the dataset's folder."""
    return f"data/{SPLIT}-{number:05d}-of-{count:05d}.parquet"


def write_shards(
    folder: str, schema: pa.Schema, pieces: Iterable[tuple[pa.Table, np.ndarray]], num_rows: int, rows_per_shard: int
) -> tuple[Part, ...]:
    """Write pieces (rows, and the text bytes of each row) as shards of `rows_per_shard` rows; no rows, no shard.

    `num_rows` is the total, known beforehand because it is part of every shard's name.
    """
    count = -(-num_rows // rows_per_shard)
    groups = _groups(pieces, rows_per_shard)
    return tuple(
        _write_shard(folder, shard_path(number, count), schema, groups, min(rows_per_shard, num_rows - number * rows_per_shard))
        for number in range(count)
    )


def _write_shard(folder: str, path: str, schema: pa.Schema, groups: Iterator[pa.Table], num_rows: int) -> Part:
    written = 0
    with (
        writing(f"{folder}/{path}", is_lasting=True) as sink,
        pq.ParquetWriter(sink, schema, compression="zstd", write_page_index=True) as writer,
    ):
        while written < num_rows:
            group = next(groups)
            writer.write_table(group, row_group_size=group.num_rows)
            written += group.num_rows
    assert written == num_rows
    return Part(path, num_rows, sink.num_bytes, sink.digest())


def _groups(pieces: Iterable[tuple[pa.Table, np.ndarray]], rows_per_shard: int) -> Iterator[pa.Table]:
    """Regroup pieces; a group never crosses the end of a shard."""
    waiting: list[pa.Table] = []
    rows = size = in_shard = 0
    for table, text_bytes in pieces:
        start = 0
        while start < table.num_rows:
            room = min(GROUP_ROWS - rows, rows_per_shard - in_shard)
            sums = size + np.cumsum(text_bytes[start : start + room])
            taken = min(int(np.searchsorted(sums, GROUP_BYTES)) + 1, len(sums))  # the row that reaches the bound still belongs
            waiting.append(table.slice(start, taken))
            start, rows, in_shard, size = start + taken, rows + taken, in_shard + taken, int(sums[taken - 1])
            if rows == GROUP_ROWS or in_shard == rows_per_shard or size >= GROUP_BYTES:
                yield _whole(waiting)
                waiting, rows, size = [], 0, 0
                in_shard %= rows_per_shard
    if waiting:
        yield _whole(waiting)


def _whole(pieces: list[pa.Table]) -> pa.Table:
    """Join pieces into single chunks whose dictionaries hold only values that occur."""
    table = pa.concat_tables(pieces)
    columns = [_without_unused_values(column) for column in table.columns]
    return pa.Table.from_arrays(columns, schema=table.schema)


def _without_unused_values(column: pa.ChunkedArray) -> pa.Array:
    """Rebuild dictionaries, whose unused values would otherwise carry text of removed rows into the file; their order stays."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        whole = column.combine_chunks()
        used = pc.unique(whole.indices.drop_null()).sort()
        indices = pc.index_in(whole.indices, used).cast(kind.index_type)
        return pa.DictionaryArray.from_arrays(indices, whole.dictionary.take(used), ordered=kind.ordered)
    if _holds_dictionary(kind):
        return pa.array(column.to_pylist(), kind)
    return column.combine_chunks()


def _holds_dictionary(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return True
    return any(_holds_dictionary(kind.field(number).type) for number in range(kind.num_fields))
