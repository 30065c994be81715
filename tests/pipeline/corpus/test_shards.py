"""A corpus is cut at the same places whoever reads it, and read from there as from its beginning."""

from __future__ import annotations

import gzip
import json
import pickle
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import InputConfig
from pipeline.corpus import jsonl
from pipeline.corpus.batches import open_files
from pipeline.corpus.documents import read_corpus
from pipeline.corpus.files import InputFile
from pipeline.corpus.shards import PARTS_PER_SHARD, Stretch, first_rows, plan_shards
from pipeline.errors import InputError
from pipeline.store import Artifact

T = TypeVar("T")
R = TypeVar("R")
ROWS = [{"text": f"row {number} " + "word " * (number % 7), "n": number} for number in range(60)]


def travelling(function: Callable[[T], R], items: Iterable[T], /) -> Iterator[R]:
    """Map as workers elsewhere do: function, items and results are pickled, last item first."""
    calls = [pickle.dumps((function, item)) for item in items]
    results = []
    for call in reversed(calls):
        sent, item = pickle.loads(call)
        results.append(pickle.loads(pickle.dumps(sent(item))))
    return reversed(results)


def mixed(folder: Path) -> Path:
    """Write the rows in every format, most of a file in several row groups, batches or blocks."""
    folder.mkdir()
    table = pa.Table.from_pylist(ROWS)
    lines = [json.dumps(row).encode() + b"\n" * (1 + row["n"] % 2) for row in ROWS]  # type: ignore[operator]
    pq.write_table(table, folder / "a.parquet", row_group_size=9)
    (folder / "b.jsonl").write_bytes(jsonl.BYTE_ORDER_MARK + b"".join(lines))
    (folder / "c.jsonl.gz").write_bytes(gzip.compress(b"".join(lines[:20]), mtime=0))
    (folder / "d.csv").write_text("text,n\n" + "".join(f'"{row["text"]}\nnext line",7\n' for row in ROWS))
    with pa.OSFile(str(folder / "e.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=11)
    (folder / "f.jsonl").write_bytes(b"".join(lines[50:]).rstrip(b"\n"))
    return folder


def read(folder: Path, out: Path, **how: Any) -> tuple[Artifact, dict[str, bytes]]:
    config = InputConfig(paths=(str(folder),), text_column="text", bytes_per_part=1024, rows_per_part=8)
    artifact = read_corpus(config, str(out), **how)
    return artifact, {path.name: path.read_bytes() for path in out.iterdir()}


def test_shards_read_apart_are_those_read_as_one_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every byte of the documents, their names, ids and facts are the same, from all formats, by any number of threads."""
    monkeypatch.setattr(jsonl, "BLOCK_BYTES", 300)
    folder = mixed(tmp_path / "mixed")
    # the parser takes "n" of CSV for a string: a corpus of its own
    csv, data = tmp_path / "csv", folder
    csv.mkdir()
    (folder / "d.csv").rename(csv / "d.csv")
    (csv / "e.csv").write_text("text,n\nlast,8\n")
    for corpus, fewest in ((data, 6), (csv, 2)):
        stream, wanted = read(corpus, tmp_path / f"{corpus.name}-stream", workers=3)
        apart, found = read(corpus, tmp_path / f"{corpus.name}-apart", mapper=travelling)
        assert found == wanted
        assert (apart.digest, apart.parts, apart.facts) == (stream.digest, stream.parts, stream.facts)
        shards = {part.path.split("-")[1] for part in stream.parts}
        assert len(shards) >= fewest


def test_a_stretch_names_rows_and_lines_as_the_whole_file_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault deep in a file is told with its line in the file, and rows are numbered from the file's first."""
    monkeypatch.setattr(jsonl, "BLOCK_BYTES", 64)
    (tmp_path / "a.jsonl").write_text("\n\n" + "".join(json.dumps({"text": f"row {number}" * 9}) + "\n" for number in range(60)))
    shards = open_files(InputConfig(paths=(str(tmp_path),), bytes_per_part=1024)).shards
    assert len(shards) > 1
    [(stretch,)] = shards[1:2]
    first = json.loads((tmp_path / "a.jsonl").read_bytes()[stretch.start : stretch.stop].splitlines()[0])
    assert first["text"] == f"row {stretch.rows_before}" * 9
    assert stretch.first_line == stretch.rows_before + 3
    (tmp_path / "a.jsonl").write_bytes((tmp_path / "a.jsonl").read_bytes()[:-4] + b"\xff\xff\n")
    with pytest.raises(InputError, match=r"a.jsonl, line 62"):
        list(jsonl.read(stretch.files[0], pa.schema({"text": pa.string()}), stretch.start, None, stretch.first_line))


FILES = [InputFile(name, name, "parquet", None, 1) for name in "abc"]
SIZES = st.lists(st.tuples(st.sampled_from(FILES), st.integers(0, 3000), st.integers(0, 9)), max_size=30)


@given(SIZES, st.integers(1, 2000))
def test_shards_hold_every_stretch_once_and_few_bytes(sizes: list[tuple[InputFile, int, int]], bytes_per_part: int) -> None:
    """Stretches stay in order and none is lost; a shard is larger than its bound only where one stretch is."""
    sizes.sort(key=lambda each: each[0].path)
    stretches = [Stretch((file,), size, rows, number, number + 1) for number, (file, size, rows) in enumerate(sizes)]
    shards = plan_shards(stretches, bytes_per_part)
    covered = [(stretch.files[0].path, at) for shard in shards for stretch in shard for at in range(stretch.start, stretch.stop or 0)]
    assert covered == [(stretch.files[0].path, stretch.start) for stretch in stretches]
    for shard in shards:
        largest = max(stretches[at].num_bytes for stretch in shard for at in range(stretch.start, stretch.stop or 0))
        assert sum(stretch.num_bytes for stretch in shard) <= max(PARTS_PER_SHARD * bytes_per_part, largest)
    starts = list(first_rows(shards, 5))
    assert starts[:1] == [5] * bool(shards)
    assert sum(stretch.num_rows or 0 for shard in shards[:-1] for stretch in shard) == (starts[-1] - 5 if starts else 0)


def test_a_file_that_grows_while_it_is_read_is_refused(tmp_path: Path) -> None:
    """Ids were given out by what was counted, so another count is an error and nothing is published."""
    path = tmp_path / "in" / "a.csv"
    path.parent.mkdir()
    path.write_text("text\n" + "one\n" * 600)
    (path.parent / "b.csv").write_text("text\ntwo\n")

    def growing(function: Callable[[T], R], items: Iterable[T], /) -> Iterator[R]:
        for item in items:
            yield function(item)
        path.write_text("text\n" + "one\n" * 601)

    with pytest.raises(InputError, match=r"a file changed while it was read; .*a.csv.*; wanted 600 rows, as counted before; got 601"):
        read_corpus(InputConfig(paths=(str(path.parent),), bytes_per_part=1024), str(tmp_path / "out"), mapper=growing)
    assert not (tmp_path / "out" / "_artifact.json").exists()
