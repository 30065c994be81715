"""A corpus becomes documents."""

from __future__ import annotations

import datetime
import decimal
import gzip
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.csv as pv
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from pipeline import store
from pipeline.config import InputConfig
from pipeline.corpus.documents import input_digest, read_corpus, read_schema
from pipeline.corpus.listing import find_files
from pipeline.errors import InputError
from pipeline.rows import restore_user_rows, user_schema
from pipeline.tables import check_documents
from pipeline.text import content_hashes

ROWS = [{"id": f"d{i}", "text": text, "lang": "en"} for i, text in enumerate(["one  text", "ONE text", "", "other\r\ntext"])]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=4)
NAIVE = st.datetimes(datetime.datetime(1900, 1, 1), datetime.datetime(2200, 1, 1)).map(lambda at: at.replace(microsecond=0))
COLUMNS: dict[Any, st.SearchStrategy[Any]] = {
    pa.string(): TEXT,
    pa.large_string(): TEXT,
    pa.string_view(): TEXT,
    pa.binary(): st.binary(max_size=3),
    pa.binary(2): st.binary(min_size=2, max_size=2),
    pa.int8(): st.integers(-128, 127),
    pa.uint64(): st.integers(0, 2**64 - 1),
    pa.float32(): st.floats(width=32),
    pa.float64(): st.floats(),
    pa.bool_(): st.booleans(),
    pa.timestamp("s"): NAIVE,
    pa.timestamp("us", "Europe/Paris"): NAIVE,
    pa.date32(): st.dates(),
    pa.date64(): st.dates(),
    pa.time32("s"): st.times().map(lambda at: at.replace(microsecond=0)),
    pa.duration("s"): st.integers(-99, 99).map(lambda n: datetime.timedelta(seconds=n)),
    pa.decimal128(6, 2): st.integers(-9999, 9999).map(lambda n: decimal.Decimal(n) / 100),
    pa.decimal256(40, 3): st.integers(-9999, 9999).map(lambda n: decimal.Decimal(n) / 1000),
    pa.dictionary(pa.int8(), pa.string()): st.sampled_from("abc"),
    pa.null(): st.none(),
    pa.list_(pa.list_(pa.int16())): st.lists(st.none() | st.lists(st.integers(-9, 9), max_size=2), max_size=2),
    pa.large_list(pa.string()): st.lists(TEXT, max_size=2),
    pa.list_(pa.int8(), 2): st.lists(st.integers(-9, 9), min_size=2, max_size=2),
    pa.struct({"x": pa.int8(), "y": pa.struct({"z": pa.string()})}): st.fixed_dictionaries(
        {"x": st.none() | st.integers(-9, 9), "y": st.none() | st.fixed_dictionaries({"z": st.none() | TEXT})}
    ),
    pa.map_(pa.string(), pa.int64()): st.lists(st.tuples(TEXT, st.none() | st.integers(-9, 9)), max_size=2),
}
QUICK = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=30)


@st.composite
def tables(draw: st.DrawFn) -> Any:
    """Draw a table with a text column and up to six others of any type, under awkward names."""
    num_rows = draw(st.integers(1, 6))
    kinds = draw(st.lists(st.sampled_from(list(COLUMNS)), max_size=6))
    names = ["text", *draw(st.lists(TEXT | st.sampled_from(["doc_id", "user.text", "source", "id"]), min_size=6, max_size=6, unique=True))]
    columns = [pa.array(draw(st.lists(st.none() | TEXT, min_size=num_rows, max_size=num_rows)), pa.string())]
    columns += [pa.array(draw(st.lists(st.none() | COLUMNS[kind], min_size=num_rows, max_size=num_rows)), kind) for kind in kinds]
    fields = [pa.field(name, column.type, metadata={"of": "field"}) for name, column in zip(names, columns, strict=False)]
    order = draw(st.permutations(range(len(columns))))
    schema = pa.schema([fields[i] for i in order], metadata={"huggingface": "{}"})
    return pa.Table.from_arrays([columns[i] for i in order], schema=schema)


def write_arrow(table: Any, path: Path) -> None:
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


def bytes_of(artifact: store.Artifact) -> list[bytes]:
    return [Path(path).read_bytes() for path in artifact.paths()]


@settings(QUICK, max_examples=100)
@given(table=tables(), rows_per_part=st.integers(1, 7))
def test_users_rows_come_back_untouched(tmp_path_factory: pytest.TempPathFactory, table: Any, rows_per_part: int) -> None:
    """Restoring documents gives the input: columns, order, types, metadata, nulls and NaN."""
    assume(table.column_names.count("text") == 1)
    folder = tmp_path_factory.mktemp("round")
    write_arrow(table, folder / "a.arrow")
    config = InputConfig(paths=(str(folder / "a.arrow"),), text_column="text", rows_per_part=rows_per_part)
    artifact = read_corpus(config, str(folder / "out"))
    schema = user_schema(artifact)
    assert schema.equals(table.schema, check_metadata=True)
    restored = pa.concat_tables(restore_user_rows(check_documents(part), schema, "text") for part in store.iter_arrow(artifact))
    assert restored.schema.equals(table.schema, check_metadata=True)
    assert repr(restored.to_pylist()) == repr(table.to_pylist()), "by repr: NaN differs from itself"


def zstd(data: bytes) -> bytes:
    return bytes(pa.Codec("zstd").compress(data, asbytes=True))


def write(folder: Path, kind: str) -> Path:
    """Write ROWS in one format."""
    table = pa.Table.from_pylist(ROWS)
    path = folder / f"rows.{kind}"
    lines = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
    if kind == "parquet":
        pq.write_table(table, path)
    elif kind == "arrow":
        write_arrow(table, path)
    elif kind == "feather":
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)
    else:
        out = io.BytesIO()
        pv.write_csv(table, out)
        data = out.getvalue() if kind.startswith("csv") else lines
        packed = zstd if kind.endswith("zst") else gzip.compress if kind.endswith("gz") else bytes
        path.write_bytes(packed(data))
    return path


@pytest.mark.parametrize("kind", ["parquet", "arrow", "feather", "jsonl", "jsonl.gz", "jsonl.zst", "csv", "csv.gz"])
def test_every_format_gives_the_same_documents(tmp_path: Path, read: Any, kind: str) -> None:
    """Texts, ids, hashes and the user's columns are the same from every format, local or remote."""
    path = write(tmp_path, kind)
    fsspec.filesystem("memory").pipe(f"/documents/{path.name}", path.read_bytes())
    wanted = read(write(tmp_path, "parquet"))[1]
    for where in (path, f"memory://documents/{path.name}"):
        artifact, documents = read(where)
        assert documents.column("doc_id").to_pylist() == [0, 1, 2, 3]
        assert documents.column("source").to_pylist() == [path.name] * 4
        for name in ("source_id", "text", "content_hash", "row_hash", "user.id", "user.lang"):
            assert documents.column(name).to_pylist() == wanted.column(name).to_pylist()
        assert artifact.facts["num_rows"] == 4
    assert wanted.column("content_hash").to_pylist() == content_hashes(wanted.column("text")).to_pylist()
    assert wanted.column("content_hash")[0] == wanted.column("content_hash")[1], "equal but for case and white space"


def test_text_folders(tmp_path: Path, read: Any) -> None:
    """Each file is a document, named by its path; first folders are sources; the facts count encodings and what was left out."""
    for name, data in {"b/x.txt": b"bx", "b/y.txt": b"caf\xe9", "a/copyright": b"", "z.md": b"z", "p.png": b"x"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(data)
    (tmp_path / "gone.txt").symlink_to("nowhere")
    artifact, documents = read(tmp_path)
    assert documents.column("source_id").to_pylist() == ["a/copyright", "b/x.txt", "b/y.txt", "z.md"]
    assert documents.column("source").to_pylist() == ["a", "b", "b", tmp_path.name]
    assert documents.column("text").to_pylist() == ["", "bx", "café", "z"]
    assert artifact.facts["encodings"] == {"latin-1": 1, "utf-8": 3}
    assert artifact.facts["skipped"] == {"broken_link": 1, "other_format": 1}
    (tmp_path / "b/y.txt").unlink()
    assert set(read(tmp_path)[1].column("source").to_pylist()) == {tmp_path.name}, "folders of one document each are no sources"


def test_a_text_files_source_is_told_whatever_else_is_read(tmp_path: Path) -> None:
    """Read alone it has the source that it has among its neighbours; and a folder of another name is another input."""
    for name in ("x/news/a.txt", "x/news/b.txt", "y/c.txt", "z/c.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text("one")
    (tmp_path / "x/d.txt").write_text("two")
    config = InputConfig(paths=(str(tmp_path / "x"),))
    assert [file.source for file in find_files(config)] == ["x", "news", "news"]
    (alone,) = find_files(config.model_copy(update={"files": ("news/b.txt",)}))
    assert alone.source == "news"
    y, z = (InputConfig(paths=(str(tmp_path / name),)) for name in "yz")
    assert [file.source for file in (*find_files(y), *find_files(z))] == ["y", "z"]
    assert input_digest(y) != input_digest(z)


def test_facts(tmp_path: Path, read: Any) -> None:
    """The artifact tells what was read, and its digest of the input is the public one."""
    (tmp_path / "a.jsonl").write_text('{"text": "ab", "source": "s"}\n{"text": null, "source": null}\n{"text": "é", "source": "s"}\n')
    artifact, documents = read(tmp_path)
    facts = artifact.facts
    assert documents.column("text").to_pylist() == ["ab", None, "é"]
    assert documents.column("source_id").to_pylist() == ["a.jsonl:1", "a.jsonl:2", "a.jsonl:3"]
    assert facts["sources"] == {"s": 2, "a.jsonl": 1}
    assert (facts["text_column"], facts["id_column"], facts["source_column"]) == ("text", None, "source")
    assert (facts["num_rows"], facts["num_null_texts"], facts["bytes"], facts["num_files"], facts["num_sources"]) == (3, 1, 4, 1, 2)
    size = (tmp_path / "a.jsonl").stat().st_size
    assert facts["files"] == [{"path": "a.jsonl", "bytes": size, "digest": store.file_digest(str(tmp_path / "a.jsonl"))}]
    assert facts["input_bytes"] == size
    assert facts["input_digest"] == input_digest(InputConfig(paths=(str(tmp_path),)))
    assert store.find(artifact.folder) == artifact
    assert read_schema(InputConfig(paths=(str(tmp_path),))).names == ["text", "source"]


def test_files_with_other_columns_are_one_corpus(tmp_path: Path, read: Any) -> None:
    """Columns that a file lacks are null there, narrow integers widen, CSV and JSONL mix with Parquet."""
    pq.write_table(pa.table({"text": ["p"], "n": pa.array([1], pa.int32()), "t": pa.nulls(1)}), tmp_path / "a.parquet")
    (tmp_path / "b.jsonl").write_text('{"n": 5000000000, "text": "j", "t": "x"}\n')
    (tmp_path / "c.csv").write_text("text\nc\n")
    _, documents = read(tmp_path)
    assert documents.column("text").to_pylist() == ["p", "j", "c"]
    assert documents.column("user.n").to_pylist() == [1, 5000000000, None]
    assert documents.column("user.t").to_pylist() == [None, "x", None]


@QUICK
@given(st.permutations(["a.jsonl", "b.jsonl", "sub/c.jsonl", "sub", "b.jsonl"]), st.integers(1, 5), st.integers(1024, 2000))
def test_listing_order_never_shows(tmp_path_factory: pytest.TempPathFactory, order: list[str], rows: int, size: int) -> None:
    """The same files in any order, and twice, give the same artifact, byte for byte."""
    folder = tmp_path_factory.mktemp("order")
    (folder / "sub").mkdir()
    for number, name in enumerate(["a.jsonl", "b.jsonl", "sub/c.jsonl"]):
        (folder / name).write_text("".join(json.dumps({"text": f"{name} {i} " * 40, "n": number}) + "\n" for i in range(number + 2)))
    bounds: dict[str, Any] = {"rows_per_part": rows, "bytes_per_part": size}
    one = read_corpus(InputConfig(paths=tuple(str(folder / name) for name in order), **bounds), str(folder / "one"))
    two = read_corpus(InputConfig(paths=(str(folder / "*.jsonl"), str(folder / "sub")), **bounds), str(folder / "two"))
    assert (one.digest, one.parts, one.facts) == (two.digest, two.parts, two.facts)
    assert bytes_of(one) == bytes_of(two)
    assert all(part.num_rows <= rows for part in one.parts)


@QUICK
@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["x", "y", None]), st.none() | st.integers(0, 2)), min_size=1))
def test_rows_moved_between_files_keep_their_hashes(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, str | None, int | None]]
) -> None:
    """However rows are spread over files, the multiset of row hashes is one and the same."""
    rows = [*rows, (0, "x", None)]  # a column of nulls alone has no type, and so no text
    folder = tmp_path_factory.mktemp("moved")
    for number in {place for place, _, _ in rows}:
        some = [{"text": text, "n": n} for place, text, n in rows if place == number]
        (folder / f"{number}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in some))
    (folder / "all").mkdir()
    (folder / "all/all.jsonl").write_text("".join(json.dumps({"n": n, "text": text}) + "\n" for _, text, n in rows))
    hashes = []
    for where, name in (("*.jsonl", "one"), ("all", "two")):
        artifact = read_corpus(InputConfig(paths=(str(folder / where),), text_column="text"), str(folder / name))
        hashes.append(Counter(value for part in store.iter_arrow(artifact) for value in part.column("row_hash").to_pylist()))
    assert hashes[0] == hashes[1]


def test_parts_respect_their_bounds(tmp_path: Path, read: Any) -> None:
    """A part ends at its rows or bytes, and doc_ids run on across parts."""
    pq.write_table(pa.table({"text": ["x" * 600] * 10}), tmp_path / "a.parquet")
    artifact, documents = read(tmp_path, bytes_per_part=1024)
    assert [part.num_rows for part in artifact.parts] == [2] * 5
    assert [part.num_rows for part in read(tmp_path, rows_per_part=4)[0].parts] == [4, 4, 2]
    assert documents.column("doc_id").to_pylist() == list(range(10))


@pytest.mark.parametrize(
    ("files", "options", "message"),
    [
        ({"a.jsonl": b"\n\n"}, {}, r"no column holds text|the file holds no rows"),
        ({"a.csv": b"text\n"}, {}, r"the input holds no rows; in .*; what to do: check"),
        ({"a.jsonl": b'{"text":"x"}\n', "b.jsonl": b"\n"}, {}, r"the file has no column text|the file holds no rows; in .*b.jsonl"),
        (
            {"a.jsonl": b'{"text":"x"}\n', "b.jsonl": b'{"body2":"x"}\n'},
            {"text_column": "text"},
            r"the file has no column text; in .*b.jsonl; .* got columns body2",
        ),
        ({"a.jsonl": b'{"text":1}\n'}, {"text_column": "text"}, r"column text is not of strings; .* got int64"),
        (
            {"a.jsonl": b'{"text":"x","n":1}\n', "b.jsonl": b'{"text":"x","n":"y"}\n'},
            {},
            r"column n has a type .*; in .*b.jsonl; wanted int64; got string",
        ),
        ({"a.jsonl": b'{"text":"x","meta":{}}\n'}, {}, r"columns cannot be kept in Parquet; got meta \(struct<>\)"),
    ],
)
def test_what_cannot_be_trusted_is_explained(
    tmp_path: Path, read: Any, files: dict[str, bytes], options: dict[str, str], message: str
) -> None:
    """Nothing is published when the input is at fault, and the message says where."""
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=message):
        read(tmp_path, **options)


def test_nothing_is_published_on_failure(tmp_path: Path) -> None:
    """A fault on the last line leaves a folder that does not count."""
    (tmp_path / "a.jsonl").write_text('{"text":"x"}\n{"text":\n')
    with pytest.raises(InputError):
        read_corpus(InputConfig(paths=(str(tmp_path / "a.jsonl"),)), str(tmp_path / "out"))
    assert store.find(str(tmp_path / "out")) is None


def test_long_lists_stay_out_of_the_facts(tmp_path: Path, read: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Facts list a bounded number of files and sources; the counts and the digest are of all."""
    monkeypatch.setattr("pipeline.corpus.documents.MAX_LISTED", 2)
    for number in range(5):
        (tmp_path / f"{number}.csv").write_text("text\nx\n")
    facts = read(tmp_path)[0].facts
    assert (facts["num_files"], len(facts["files"]), facts["num_sources"], len(facts["sources"])) == (5, 2, 5, 2)
    assert facts["input_digest"] == input_digest(InputConfig(paths=(str(tmp_path),)))


def test_integer_ids_and_dictionary_sources(tmp_path: Path, read: Any) -> None:
    """Ids may be integers and sources dictionaries; a null in either falls back to the file's name."""
    source = pa.array(["s", None, "t"]).dictionary_encode()
    pq.write_table(pa.table({"text": ["a", "b", "c"], "id": pa.array([7, None, 9], pa.uint32()), "source": source}), tmp_path / "x.parquet")
    _, documents = read(tmp_path)
    assert documents.column("source_id").to_pylist() == ["7", "x.parquet:2", "9"]
    assert documents.column("source").to_pylist() == ["s", "x.parquet", "t"]


def test_dictionary_columns_of_several_batches(tmp_path: Path, read: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Row groups with dictionaries of their own make one part whose values are right."""
    monkeypatch.setattr("pipeline.corpus.columnar.MAX_BATCH_ROWS", 3)
    kinds = pa.array(np.array(list("aabbccdd"))).dictionary_encode()
    table = pa.table({"text": ["t"] * 8, "k": kinds})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=2)
    artifact, documents = read(tmp_path)
    assert restore_user_rows(documents, user_schema(artifact), "text").column("k").to_pylist() == list("aabbccdd")


@pytest.mark.parametrize("kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())])
def test_texts_of_every_string_type(tmp_path: Path, read: Any, kind: Any) -> None:
    """Whatever the text column's own type, documents hold it as one and give it back as the other."""
    table = pa.table({"text": pa.array(["a", None, "b", "a"]).cast(kind)})
    write_arrow(table, tmp_path / "x.arrow")
    artifact, documents = read(tmp_path)
    assert documents.column("text").to_pylist() == ["a", None, "b", "a"]
    restored = restore_user_rows(documents, user_schema(artifact), "text")
    assert restored.schema.equals(table.schema)
    assert restored.to_pylist() == table.to_pylist()
