"""Parquet and Arrow files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.corpus import columnar
from pipeline.corpus.files import InputFile
from pipeline.errors import InputError

TABLE = pa.table({"text": [f"t{i}" * 50 for i in range(100)], "n": pa.array(range(100), pa.int16())}).replace_schema_metadata({"k": "v"})


def write_parquet(table: Any, path: Path) -> None:
    pq.write_table(table, path, row_group_size=30)


def write_stream(table: Any, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=40)


def write_file(table: Any, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=40)


WRITERS = [(write_parquet, "parquet"), (write_stream, "arrow"), (write_file, "arrow")]


@pytest.mark.parametrize(("write", "kind"), WRITERS)
def test_rows_and_schema_come_back_in_bounded_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Any, Path], None], kind: str
) -> None:
    """Types and metadata are the file's own, batches no larger than the bound, locally and remotely."""
    monkeypatch.setattr(columnar, "BATCH_BYTES", 2000)
    write(TABLE, tmp_path / "f")
    fsspec.filesystem("memory").pipe("/columnar/f", (tmp_path / "f").read_bytes())
    for path in (str(tmp_path / "f"), "memory:///columnar/f"):
        source = InputFile(path, "f", kind, None, 1)
        assert columnar.describe(source, False)[0].equals(TABLE.schema, check_metadata=True)
        tables = list(columnar.read(source))
        assert pa.concat_tables(tables).equals(TABLE)
        assert max(table.num_rows for table in tables) < 30


@pytest.mark.parametrize(("write", "kind"), WRITERS)
def test_damaged_files_are_named(tmp_path: Path, write: Callable[[Any, Path], None], kind: str) -> None:
    """Bytes that are no such file say which file and which format."""
    write(TABLE, tmp_path / "f")
    whole = (tmp_path / "f").read_bytes()
    for data in (b"not a table at all", whole[: len(whole) // 2]):
        (tmp_path / "g").write_bytes(data)
        source = InputFile(str(tmp_path / "g"), "g", kind, None, 1)
        with pytest.raises(InputError, match=rf"the file cannot be read as {kind}; in .*g; got .*what to do: copy or write the file again"):
            list(columnar.read(source))


def test_strings_that_are_not_utf8_are_refused(tmp_path: Path) -> None:
    """A Parquet string column with other bytes in it is found at the door."""
    bad = pa.array([b"\xff"], pa.binary()).view(pa.string())
    write_parquet(pa.table({"text": bad}), tmp_path / "f")
    with pytest.raises(InputError, match=r"cannot be read as parquet; .* Invalid UTF8"):
        list(columnar.read(InputFile(str(tmp_path / "f"), "f", "parquet", None, 1)))
