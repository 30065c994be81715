"""The only door to disk for tables: parts written whole or not at all, and folders that count only once described.

Parts are Parquet, but for those of `documents`, which are Arrow files: written as the rows come, without encoding them, and mapped when
they are read, so that who wants a few of the texts reads these alone.

A table's folder is trusted when `_artifact.json` stands in it, which is written last, and every part still has the digest recorded
there. A kill at any moment therefore leaves either a whole artifact or a folder that the next run writes again. Local parts appear by
rename; object stores put objects whole, large ones in pieces as they are written.

On an object store a part is read back for its digest only when it has to be: `_versions.json` beside the description says with which
version (`places.version_of`) of each object its digest was known, and a part of that version and size is taken as it was. What is
trusted there is the store's word that a version changes with the bytes. Published releases are read whole wherever they are.
"""

from __future__ import annotations

import hashlib
import io
import json
import posixpath
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from blake3 import blake3

from pipeline.errors import IntegrityError
from pipeline.places import Unfinished, Upload, explained, is_local, locate, objects_below, sweep, version_of

DESCRIPTION, VERSIONS = "_artifact.json", "_versions.json"
RECORDS = ".arrow"
READ_BYTES = 1 << 20
AHEAD_BYTES = 8 << 20
ROW_GROUP_BYTES = 4 << 20
"""Of a table in memory: what a reader that goes row group by row group holds at a time."""
MAX_GROUP_ROWS = 64 * 1024
HASHES = frozenset({"content_hash", "row_hash", "cluster_id", "signature"})
"""Columns of random bytes: no codec and no dictionary makes them smaller."""
DISTINCT = HASHES | {"doc_id", "text"}
"""Columns whose values hardly repeat: a dictionary would be built only to be thrown away."""


@dataclass(frozen=True)
class Part:
    """Name one file of a table: path under the table's folder, rows, size in bytes, BLAKE3 digest of its bytes."""

    path: str
    num_rows: int
    num_bytes: int
    digest: str


@dataclass(frozen=True)
class Artifact:
    """Name one stored table: what travels between tasks instead of frames.

    `digest` covers table, parts and facts. `facts` are small JSON values that belong to the table (settings, counts), never text.
    """

    table: str
    folder: str
    parts: tuple[Part, ...]
    digest: str
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def num_rows(self) -> int:
        """Count the rows of all parts."""
        return sum(part.num_rows for part in self.parts)

    @property
    def num_bytes(self) -> int:
        """Count the bytes of all parts."""
        return sum(part.num_bytes for part in self.parts)

    def paths(self) -> list[str]:
        """Return each part's full path, in order; parts of a gathered table may lie beside its folder, and object stores know no `..`."""
        scheme, mark, plain = self.folder.rpartition("://")
        return [f"{scheme}{mark}{posixpath.normpath(f'{plain}/{part.path}')}" for part in self.parts]


def digest_of(*values: object) -> str:
    """Return a 128-bit hexadecimal BLAKE3 digest of JSON-representable values."""
    return blake3(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest(length=16)


@cache
def code_version(*modules: str) -> str:
    """Return a digest of the source files of modules or packages below this repository's `pipeline`, such as `dedup` or `corpus`.

    It names code for a reader. What other modules these import is not in it; whether a result may be used again says `versions.made_by`.
    """
    root = Path(__file__).parent
    hasher = hashlib.blake2b(digest_size=8)
    for module in ("tables", "hashing", *modules):
        path = root / module
        files = sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]
        for file in files:
            hasher.update(str(file.relative_to(root)).encode() + b"\0" + file.read_bytes() + b"\0")
    return hasher.hexdigest()


def write_bytes(path: str, data: bytes) -> Part:
    """Write a file whole or not at all and describe it (rows 0; `path` recorded is the file's name)."""
    with writing(path, is_lasting=True) as sink:
        sink.write(data)
    return Part(path.rsplit("/", 1)[-1], 0, sink.num_bytes, sink.digest())


class Sink(io.RawIOBase):
    """Count and digest what is written on its way to a file."""

    def __init__(self, path: str, file: Any) -> None:
        super().__init__()
        self._path, self._file, self._hasher, self.num_bytes = path, file, blake3(), 0

    def writable(self) -> bool:
        """Say yes: Arrow asks."""
        return True

    def write(self, data: Any) -> int:
        """Write all of the bytes."""
        self._hasher.update(data)
        with explained(self._path):
            self._file.write(data)
        self.num_bytes += memoryview(data).nbytes
        return memoryview(data).nbytes

    def tell(self) -> int:
        """Return how many bytes were written."""
        return self.num_bytes

    def digest(self) -> str:
        """Return the 128-bit BLAKE3 digest of what was written."""
        return self._hasher.hexdigest(length=16)


@contextmanager
def writing(path: str, *, is_lasting: bool = False) -> Iterator[Sink]:
    """Open a file that appears whole when the block ends and not at all if it fails; its size and digest are counted on the way.

    `is_lasting` waits for the disk. Parts need not: whoever finds one checks its digest.

    Raises: StorageError when the place is full, read-only or out of reach.
    """
    filesystem, plain = locate(path)
    file = Unfinished(Path(plain), is_lasting) if is_local(filesystem) else Upload(filesystem, plain)
    try:
        with explained(path):
            file.open()
        yield Sink(path, file)
        with explained(path):
            file.finish()
    except BaseException:
        file.discard()
        raise


def read_bytes(path: str) -> bytes:
    """Read a file whole.

    Raises: IntegrityError when it is not there.
    """
    filesystem, plain = locate(path)
    try:
        with explained(path, "read"):
            return bytes(filesystem.cat_file(plain))
    except FileNotFoundError:
        raise IntegrityError("a file of the run is missing", where=path, do="run the same command again to rebuild it") from None


def write_part(folder: str, name: str, rows: pl.DataFrame | pa.Table, compression: str = "zstd") -> Part:
    """Write rows as one Parquet file under a table's folder, whole or not at all; a table of little but hashes is not compressed."""
    table = rows.to_arrow() if isinstance(rows, pl.DataFrame) else rows
    with writing(f"{folder}/{name}.parquet") as sink:
        pq.write_table(
            table,
            sink,
            compression="none" if _is_mostly_hashes(table) else compression,
            use_dictionary=[column for column in table.column_names if column not in DISTINCT],
            write_statistics=False,
            row_group_size=max(1, min(MAX_GROUP_ROWS, ROW_GROUP_BYTES * table.num_rows // max(1, table.nbytes))),
        )
    return Part(f"{name}.parquet", table.num_rows, sink.num_bytes, sink.digest())


def write_stream(folder: str, name: str, tables: Iterable[pa.Table]) -> Part:
    """Write tables of one schema, of which there is at least one, as one Parquet file, one of them in memory at a time."""
    rows = iter(tables)
    first, num_rows = next(rows), 0
    with writing(f"{folder}/{name}.parquet") as sink, pq.ParquetWriter(sink, first.schema, compression="zstd") as writer:
        for table in chain([first], rows):
            num_rows += table.num_rows
            if table.num_rows:
                writer.write_table(table)
    return Part(f"{name}.parquet", num_rows, sink.num_bytes, sink.digest())


def write_records(folder: str, name: str, tables: Iterable[pa.Table], codec: str = "none") -> Part:
    """Write tables of one schema, of which there is at least one, as one Arrow file, one of them in memory at a time.

    Each becomes a batch of its own, so the same rows in other tables are other bytes.
    """
    rows = iter(tables)
    first, num_rows = next(rows), 0
    options = pa.ipc.IpcWriteOptions(compression=None if codec == "none" else codec)
    with writing(f"{folder}/{name}{RECORDS}") as sink, pa.ipc.new_file(sink, first.schema, options=options) as writer:
        for table in chain([first], rows):
            num_rows += table.num_rows
            # rows in several pieces would become as many batches
            writer.write_table(table.combine_chunks())
    return Part(f"{name}{RECORDS}", num_rows, sink.num_bytes, sink.digest())


def publish(table: str, folder: str, parts: Sequence[Part], facts: Mapping[str, Any] | None = None) -> Artifact:
    """Make a table's folder count: write its description, last."""
    facts = json.loads(json.dumps(dict(facts or {})))  # as they will be read again: tuples are lists
    artifact = Artifact(table, folder, tuple(parts), _digest(table, parts, facts), facts)
    described = asdict(artifact)
    del described["folder"]  # a ledger may be moved
    if not is_local(locate(folder)[0]):
        _write_versions(artifact, _versions_of(artifact))
    write_bytes(f"{folder}/{DESCRIPTION}", json.dumps(described, indent=1, sort_keys=True).encode())
    sweep(folder)
    return artifact


def publish_frame(table: str, folder: str, frame: pl.DataFrame | pa.Table, facts: Mapping[str, Any] | None = None) -> Artifact:
    """Store a table that fits in memory as one part."""
    return publish(table, folder, [write_part(folder, "part-00000", frame)], facts)


def gather(table: str, folder: str, pieces: Sequence[Artifact], facts: Mapping[str, Any] | None = None) -> Artifact:
    """Describe artifacts that lie below `folder` as one table; nothing is copied."""
    parts = []
    for piece in pieces:
        assert piece.folder.startswith(f"{folder}/"), "pieces lie below the folder that gathers them"
        below = piece.folder.removeprefix(f"{folder}/")
        parts += [Part(f"{below}/{part.path}", part.num_rows, part.num_bytes, part.digest) for part in piece.parts]
    return publish(table, folder, parts, facts)


def remove(folder: str) -> None:
    """Remove a folder and all below it, if it is there."""
    filesystem, plain = locate(folder)
    with explained(folder, "removed"):
        if filesystem.exists(plain):
            filesystem.rm(plain, recursive=True)


def find(folder: str) -> Artifact | None:
    """Return the artifact in a folder if it is described and every byte of it is still as recorded, else None."""
    try:
        artifact = describe(folder)
    except IntegrityError:
        return None
    is_whole = _is_whole_here if is_local(locate(folder)[0]) else _is_whole_there
    return artifact if is_whole(artifact) else None


def describe(folder: str) -> Artifact:
    """Read a folder's description without checking its parts.

    Raises: IntegrityError when there is none, or it is not the one that was written.
    """
    path = f"{folder}/{DESCRIPTION}"
    data = read_bytes(path)
    try:
        raw = json.loads(data)
        artifact = Artifact(raw["table"], folder, tuple(Part(**part) for part in raw["parts"]), raw["digest"], raw["facts"])
    except (ValueError, KeyError, TypeError):
        raise IntegrityError("a table's description is damaged", where=path, do="run the same command again to rebuild it") from None
    if artifact.digest != _digest(artifact.table, artifact.parts, artifact.facts):
        raise IntegrityError("a table's description was changed", where=path, do="run the same command again to rebuild it")
    return artifact


def read_frame(artifact: Artifact, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """Read a whole table, or some of its columns, into memory."""
    return pl.concat([to_frame(part) for part in iter_arrow(artifact, columns)])


def read_rows(artifact: Artifact, is_wanted: pl.Expr) -> pl.DataFrame:
    """Read the rows of a table for which an expression holds, one row group in memory at a time."""
    found = []
    for path in artifact.paths():
        with _opened(path) as file:
            found.append(to_frame(file.schema.empty_table()))
            groups = (to_frame(file.read_group(group, None)) for group in range(len(file.group_rows)))
            found += [group.filter(is_wanted) for group in groups]
    return pl.concat(found)


def iter_frames(artifact: Artifact, columns: Sequence[str] | None = None) -> Iterator[pl.DataFrame]:
    """Yield a table part by part."""
    return (to_frame(part) for part in iter_arrow(artifact, columns))


def iter_arrow(artifact: Artifact, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
    """Yield a table part by part as Arrow, types untouched."""
    for path in artifact.paths():
        yield read_arrow(path, columns)


def read_arrow(path: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read one part as Arrow."""
    with _opened(path, columns) as file:
        unknown = set(columns or ()) - {*file.schema.names}
        if unknown:
            raise pa.ArrowInvalid(f"{path} has no column {', '.join(sorted(unknown))}")
        return file.read(columns)


def count_rows(path: str) -> int:
    """Return the number of rows of one part."""
    with _opened(path, ["doc_id"]) as file:
        return sum(file.group_rows)


def iter_chosen(path: str, columns: Sequence[str], is_chosen: npt.NDArray[np.bool_]) -> Iterator[pa.Table]:
    """Yield the chosen rows of one part, a row group at a time; a group without any is not read."""
    with _opened(path, columns) as file:
        start = 0
        for group, num_rows in enumerate(file.group_rows):
            wanted = is_chosen[start : start + num_rows]
            start += num_rows
            if wanted.any():
                rows = file.read_group(group, columns)
                yield rows if wanted.all() else rows.filter(pa.array(wanted))


def write_scratch(path: str, *arrays: npt.NDArray[Any]) -> None:
    """Write the values of arrays, one after another and nothing else, which the same stage reads back and then removes.

    No digest, and no waiting for the disk.
    """
    filesystem, plain = locate(path)
    with explained(path):
        if is_local(filesystem):
            filesystem.makedirs(plain.rsplit("/", 1)[0], exist_ok=True)
        with filesystem.open(plain, "wb") as file:
            for array in arrays:
                file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def read_scratch(path: str, dtype: npt.DTypeLike, start: int = 0, end: int | None = None) -> npt.NDArray[Any]:
    """Return the values `start` .. `end` of a file that `write_scratch` wrote; of a local one, only what is looked at is read."""
    filesystem, plain = locate(path)
    kind = np.dtype(dtype)
    if start == end:
        return np.empty(0, kind)
    if not is_local(filesystem):
        stop = None if end is None else end * kind.itemsize
        return np.frombuffer(filesystem.cat_file(plain, start=start * kind.itemsize, end=stop), kind)
    count = (filesystem.size(plain) // kind.itemsize if end is None else end) - start
    if count * kind.itemsize <= READ_BYTES:
        return np.fromfile(plain, kind, count, offset=start * kind.itemsize)
    # a view of the map without numpy's own class for one, which is slow to slice
    return np.asarray(np.memmap(plain, kind, "r", start * kind.itemsize, (count,)))


def scratch_bytes(path: str) -> int:
    """Return the bytes of a file that `write_scratch` wrote, or began to write; -1 if there is none."""
    filesystem, plain = locate(path)
    return int(filesystem.size(plain)) if filesystem.exists(plain) else -1


def file_digest(path: str) -> str:
    """Return the 128-bit BLAKE3 digest of a file's bytes, read in blocks."""
    filesystem, plain = locate(path)
    with explained(path, "read"):
        version = None if is_local(filesystem) else version_of(filesystem.info(plain))
        known = _digests.get((path, version)) if version is not None else None
        if known is not None:
            return known
        hasher = blake3()
        with filesystem.open(plain, "rb") as file:
            while block := file.read(READ_BYTES):
                hasher.update(block)
    digest = hasher.hexdigest(length=16)
    if version is not None:
        _digests[path, version] = digest
    return digest


_digests: dict[tuple[str, str], str] = {}
"""Of versions of objects that this process has read: an input is listed, digested and read, and should come over the network once less."""


def part_names(count: int) -> Iterable[str]:
    """Return `count` part names that sort in order."""
    return (f"part-{number:05d}" for number in range(count))


def _digest(table: str, parts: Sequence[Part], facts: Mapping[str, Any]) -> str:
    return digest_of(table, [[part.path, part.num_rows, part.digest] for part in parts], facts)


def _is_whole_here(artifact: Artifact) -> bool:
    for path, part in zip(artifact.paths(), artifact.parts, strict=True):
        file = Path(locate(path)[1])
        if not file.exists() or file.stat().st_size != part.num_bytes or file_digest(path) != part.digest:
            return False
    return True


def _is_whole_there(artifact: Artifact) -> bool:
    """Compare sizes and versions, and digests of those parts whose version is not the one that was recorded."""
    there, known = _versions_of(artifact), _read_versions(artifact.folder)
    unknown = []
    for path, part in zip(artifact.paths(), artifact.parts, strict=True):
        size, version = there[part.path]
        if size != part.num_bytes:
            return False
        if version is None or known.get(part.path) != [version, part.digest]:
            unknown.append((path, part))
    if any(file_digest(path) != part.digest for path, part in unknown):
        return False
    if unknown:
        _write_versions(artifact, there)
    return True


def _versions_of(artifact: Artifact) -> dict[str, tuple[int, str | None]]:
    """Return size and version of each part by its recorded path, -1 and None of one that is not there, from one listing."""
    is_beside = any(part.path.startswith("../") for part in artifact.parts)
    root = artifact.folder.rpartition("/")[0] if is_beside else artifact.folder
    there = objects_below(root)
    paths = (path.removeprefix(f"{root}/") for path in artifact.paths())
    return {part.path: there.get(path, (-1, None)) for path, part in zip(paths, artifact.parts, strict=True)}


def _write_versions(artifact: Artifact, there: Mapping[str, tuple[int, str | None]]) -> None:
    versions = {part.path: [there[part.path][1], part.digest] for part in artifact.parts if there[part.path][1] is not None}
    if versions:
        write_bytes(f"{artifact.folder}/{VERSIONS}", json.dumps(versions, indent=1, sort_keys=True).encode())


def _read_versions(folder: str) -> dict[str, Any]:
    try:
        known = json.loads(read_bytes(f"{folder}/{VERSIONS}"))
    except (IntegrityError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


class _Parquet:
    """Read a Parquet file by row groups."""

    def __init__(self, file: Any) -> None:
        self._file, self.schema = file, file.schema_arrow
        self.group_rows = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]

    def read(self, columns: Sequence[str] | None) -> pa.Table:
        return self._file.read(columns=columns)

    def read_group(self, group: int, columns: Sequence[str] | None) -> pa.Table:
        return self._file.read_row_group(group, columns=columns)


class _Records:
    """Read an Arrow file by its batches; where it is mapped, nothing is read before it is looked at."""

    def __init__(self, source: Any, columns: Sequence[str] | None) -> None:
        whole = pa.ipc.open_file(source)
        self.schema, self._reader = whole.schema, whole
        # Arrow copies the columns that it is asked for by name; of a map without a codec all are there for nothing
        if columns is not None and {*columns} <= {*whole.schema.names} and not _is_mapped(whole, source):
            wanted = sorted(whole.schema.get_field_index(name) for name in columns)
            self._reader = pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(included_fields=wanted))
        self._batches = [self._reader.get_batch(number) for number in range(self._reader.num_record_batches)]
        self.group_rows = [batch.num_rows for batch in self._batches]

    def read(self, columns: Sequence[str] | None) -> pa.Table:
        table = pa.Table.from_batches(self._batches, self._reader.schema)
        return table if columns is None else table.select(columns)

    def read_group(self, group: int, columns: Sequence[str] | None) -> pa.Table:
        table = pa.Table.from_batches([self._batches[group]])
        return table if columns is None else table.select(columns)


def _is_mapped(reader: Any, source: Any) -> bool:
    """Say whether the values of an Arrow file's batches lie in the mapped file itself."""
    if not isinstance(source, pa.MemoryMappedFile) or not reader.num_record_batches:
        return False
    first = reader.get_batch(0)
    source.seek(0)
    whole = source.read_buffer()
    buffers = [buffer for column in first.columns for buffer in column.buffers() if buffer is not None and buffer.size]
    return all(whole.address <= buffer.address < whole.address + whole.size for buffer in buffers)


@contextmanager
def _opened(path: str, columns: Sequence[str] | None = None) -> Iterator[_Parquet | _Records]:
    filesystem, plain = locate(path)
    is_records = path.endswith(RECORDS)
    try:
        with explained(path, "read"):
            if is_local(filesystem):
                if is_records:
                    yield _Records(pa.memory_map(plain), columns)
                    return
                # buffered ahead, a part would be in memory twice, and fresh memory costs more than reading
                with pq.ParquetFile(plain, memory_map=True, pre_buffer=False) as file:
                    yield _Parquet(file)
            else:
                # over a network it is the other way round: what is wanted of a row group comes in as few requests as possible
                # batches are many small reads one after another, row groups a few large ones
                ahead = {"cache_type": "readahead", "block_size": AHEAD_BYTES} if is_records else {"cache_type": "none"}
                with filesystem.open(plain, "rb", **ahead) as remote:
                    if is_records:
                        yield _Records(pa.PythonFile(remote, mode="r"), columns)
                        return
                    with pq.ParquetFile(remote, pre_buffer=True) as file:
                        yield _Parquet(file)
    except FileNotFoundError:
        raise IntegrityError("a part of the ledger is missing", where=path, do="run the same command again to rebuild it") from None


def _is_mostly_hashes(table: pa.Table) -> bool:
    return sum(table.column(name).nbytes for name in HASHES & {*table.column_names}) * 2 > table.nbytes


def to_frame(table: pa.Table) -> pl.DataFrame:
    """Return a table as a frame, nothing copied that need not be."""
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame
