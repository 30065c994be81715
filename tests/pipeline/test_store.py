"""Tables on disk: whole or not at all, and trusted by digest."""

from __future__ import annotations

import errno
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from blake3 import blake3

from pipeline import store
from pipeline.errors import IntegrityError, StorageError
from pipeline.places import locate

FRAME = pl.DataFrame({"a": [1, 2, 3], "b": ["x", None, "z"]})


@pytest.fixture(params=["local", "memory", "s3"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "local":
        yield str(tmp_path / "table")
    elif request.param == "s3":
        yield f"{request.getfixturevalue('s3')}/{tmp_path.name}/table"
    else:
        yield f"memory://{tmp_path.name}/table"
        fsspec.filesystem("memory").store.clear()


def published(folder: str) -> store.Artifact:
    names = store.part_names(2)
    parts = [store.write_part(folder, name, rows) for name, rows in zip(names, (FRAME, FRAME.head(1)), strict=True)]
    return store.publish("clusters", folder, parts, {"n": 1, "pair": (1, 2)})


def overwrite(path: str, data: bytes) -> None:
    filesystem, plain = locate(path)
    filesystem.pipe_file(plain, data)


def test_what_is_published_is_found(folder: str) -> None:
    """An artifact read back is equal, its frames too, whole, in parts and by columns."""
    artifact = published(folder)
    assert store.find(folder) == store.describe(folder) == artifact
    assert (artifact.num_rows, artifact.num_bytes) == (4, sum(part.num_bytes for part in artifact.parts))
    assert [part.path for part in artifact.parts] == ["part-00000.parquet", "part-00001.parquet"]
    assert store.read_frame(artifact).equals(pl.concat([FRAME, FRAME.head(1)]))
    assert [frame.height for frame in store.iter_frames(artifact, ["b"])] == [3, 1]
    assert store.read_frame(artifact, ["b"]).columns == ["b"]


def test_rows_are_chosen_over_all_parts(folder: str) -> None:
    """Only rows for which the expression holds are read, and a table without any keeps its columns."""
    artifact = published(folder)
    assert store.read_rows(artifact, pl.col("a") == 1).equals(pl.concat([FRAME.head(1)] * 2))
    assert store.read_rows(artifact, pl.col("a") == 9).schema == FRAME.schema


def test_nothing_counts_before_it_is_described(folder: str) -> None:
    """Parts without a description are no artifact."""
    store.write_part(folder, "part-00000", FRAME)
    assert store.find(folder) is None
    with pytest.raises(IntegrityError, match=r"a file of the run is missing; in .*_artifact.json; what to do: run the same command again"):
        store.describe(folder)


def test_changed_parts_do_not_count(folder: str) -> None:
    """One other byte, or a part gone, and the artifact is not found."""
    artifact = published(folder)
    path = artifact.paths()[1]
    data = store.read_bytes(path)
    overwrite(path, data[:-1] + bytes([data[-1] ^ 1]))
    assert store.find(folder) is None
    overwrite(path, data)
    assert store.find(folder) == artifact
    filesystem, plain = locate(path)
    filesystem.rm(plain)
    assert store.find(folder) is None
    with pytest.raises(IntegrityError, match=r"a part of the ledger is missing; in .*part-00001.parquet"):
        store.read_frame(artifact)


@pytest.mark.parametrize("damage", [b"", b"{}", b"[1]", b"{"])
def test_damaged_descriptions_do_not_count(folder: str, damage: bytes) -> None:
    """A description that cannot be read is explained by describe, and find sees no artifact."""
    published(folder)
    overwrite(f"{folder}/{store.DESCRIPTION}", damage)
    assert store.find(folder) is None
    with pytest.raises(IntegrityError, match="description is damaged"):
        store.describe(folder)


def test_changed_descriptions_do_not_count(folder: str) -> None:
    """Facts are part of what the digest covers."""
    published(folder)
    raw = json.loads(store.read_bytes(f"{folder}/{store.DESCRIPTION}"))
    raw["facts"]["n"] = 2
    overwrite(f"{folder}/{store.DESCRIPTION}", json.dumps(raw).encode())
    assert store.find(folder) is None
    with pytest.raises(IntegrityError, match="description was changed"):
        store.describe(folder)


def test_equal_rows_give_equal_bytes_wherever_they_stand(tmp_path: Path) -> None:
    """Two folders with the same rows and facts have the same digest: a ledger may be moved."""
    one, two = published(str(tmp_path / "one")), published(str(tmp_path / "two"))
    assert (one.digest, one.parts) == (two.digest, two.parts)
    other = store.publish_frame("clusters", str(tmp_path / "three"), FRAME)
    assert other.digest != one.digest
    assert store.read_frame(other).equals(FRAME)


def test_arrow_types_survive(folder: str) -> None:
    """Arrow tables come back with their own types and metadata, dots in names included."""
    schema = pa.schema([pa.field("user.d", pa.dictionary(pa.int32(), pa.string())), pa.field("b", pa.binary(2))], metadata={"k": "v"})
    table = pa.Table.from_arrays([pa.array(["x", "y"]).dictionary_encode(), pa.array([b"ab", None], pa.binary(2))], schema=schema)
    artifact = store.publish_frame("documents", folder, table)
    (again,) = store.iter_arrow(artifact)
    assert again.equals(table)
    assert again.schema.equals(schema, check_metadata=True)
    assert next(store.iter_arrow(artifact, ["user.d"])).column_names == ["user.d"]


@pytest.mark.parametrize("codec", ["none", "lz4"])
def test_columns_of_an_arrow_file(folder: str, codec: str) -> None:
    """Some columns are those of the whole; of a file that is mapped and has no codec, not a byte is copied for them."""
    table = pa.table({"doc_id": pa.array(range(4096), pa.int64()), "text": ["a text, and more of it"] * 4096})
    part = store.write_records(folder, "part-00000", [table.slice(0, 4000), table.slice(4000)], codec)
    path = f"{folder}/{part.path}"
    before = pa.total_allocated_bytes()
    read = store.read_arrow(path, ["text"])
    copied = pa.total_allocated_bytes() - before
    assert read.equals(table.select(["text"]))
    if "://" not in folder:
        assert (copied == 0) == (codec == "none")
    is_chosen = np.arange(4096) % 1024 == 7
    assert [row for rows in store.iter_chosen(path, ["doc_id"], is_chosen) for row in rows["doc_id"].to_pylist()] == [7, 1031, 2055, 3079]


def test_scratch_is_read_back_by_ranges(folder: str) -> None:
    """Arrays lie one after another as their values, small and large, and any range of them is found again."""
    path, many = f"{folder}/scratch/values.bin", np.arange(store.READ_BYTES // 4, dtype=np.uint64)
    store.write_scratch(path, many[:5], many[:0], many[5:])
    assert [store.scratch_bytes(each) for each in (path, f"{folder}/none.bin")] == [many.nbytes, -1]
    assert np.array_equal(store.read_scratch(path, np.uint64), many)
    for start, end in ((0, 0), (3, 9), (7, len(many)), (len(many) - 1, len(many))):
        assert np.array_equal(store.read_scratch(path, np.uint64, start, end), many[start:end])


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk fails, neither the file nor its passing name stays, and an older file is untouched."""
    store.write_bytes(str(tmp_path / "f"), b"old")

    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr("pipeline.places.os.fsync", fail)
    with pytest.raises(StorageError, match="no space left"):
        store.write_bytes(str(tmp_path / "f"), b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("f", b"old")]


def test_digests(folder: str) -> None:
    """File digests are BLAKE3 of the bytes; value digests do not depend on key order."""
    part = store.write_bytes(f"{folder}/f", b"abc")
    assert part == store.Part("f", 0, 3, blake3(b"abc").hexdigest(length=16))
    assert store.file_digest(f"{folder}/f") == part.digest
    assert store.digest_of({"a": 1, "b": [2]}) == store.digest_of({"b": [2], "a": 1}) != store.digest_of({"a": 1, "b": [3]})


def test_code_versions_differ_by_module() -> None:
    """A stage's key sees the source of its own package, and is stable within a run."""
    assert store.code_version("corpus") == store.code_version("corpus") != store.code_version("config")
    assert store.code_version("corpus", "text") != store.code_version("corpus")


def test_folders_can_be_gathered_and_removed(folder: str) -> None:
    """Tables below a folder are described as one without copying, and go with it."""
    pieces = [store.publish_frame("signatures", f"{folder}/{name}", FRAME) for name in ("p0", "p1")]
    whole = store.gather("signatures", folder, pieces)
    assert store.find(folder) == whole
    assert store.read_frame(whole).height == 6
    store.remove(folder)
    store.remove(folder)
    assert store.find(folder) is None


def test_artifacts_hold_json_only(folder: str) -> None:
    """Facts are stored as they will be read: a tuple becomes a list at once."""
    facts: dict[str, Any] = dict(published(folder).facts)
    assert facts == {"n": 1, "pair": [1, 2]}


def test_a_stream_of_tables_is_one_file(folder: str) -> None:
    """Rows stand in the order they came, empty tables add none, and the digest is that of the bytes."""
    pieces = [pa.table({"n": pa.array(numbers, pa.int32())}) for numbers in ([1, 2], [], [3])]
    part = store.write_stream(folder, "all", iter(pieces))
    assert (part.path, part.num_rows) == ("all.parquet", 3)
    assert store.read_arrow(f"{folder}/{part.path}").equals(pa.concat_tables(pieces))
    assert store.file_digest(f"{folder}/{part.path}") == part.digest


def _write_half(path: str, data: bytes) -> None:
    with store.writing(path) as sink:
        sink.write(data)
        raise RuntimeError("stopped")


def test_large_objects_go_up_in_pieces_and_a_failed_one_leaves_nothing(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than a piece is a multipart upload with the same digest; if the block fails, nothing is there, neither whole nor in part."""
    monkeypatch.setattr("pipeline.places.UPLOAD_BYTES", 5 << 20)
    data, folder = bytes(range(256)) * (50 << 10), f"{s3}/large"
    with store.writing(f"{folder}/whole") as sink:
        for start in range(0, len(data), 1 << 20):
            sink.write(data[start : start + (1 << 20)])
    assert store.read_bytes(f"{folder}/whole") == data
    assert store.file_digest(f"{folder}/whole") == sink.digest() == blake3(data).hexdigest(length=16)
    with pytest.raises(RuntimeError, match="stopped"):
        _write_half(f"{folder}/half", data)
    filesystem, plain = locate(folder)
    assert [path.rsplit("/", 1)[-1] for path in filesystem.find(plain)] == ["whole"]
    assert not filesystem.call_s3("list_multipart_uploads", Bucket=plain.split("/")[0]).get("Uploads")


def test_a_known_version_is_not_read_again_and_another_is(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Finding a table on an object store reads no part; parts that were copied, so that versions differ, are read once."""
    artifact = published(f"{s3}/versions/table")
    filesystem, plain = locate(artifact.folder)
    read: list[str] = []
    digest = store.file_digest

    def recording(path: str) -> str:
        read.append(path)
        return digest(path)

    monkeypatch.setattr(store, "file_digest", recording)
    assert store.find(artifact.folder) == artifact
    assert read == []
    filesystem.rm(f"{plain}/{store.VERSIONS}")
    assert store.find(artifact.folder) == store.find(artifact.folder) == artifact
    assert read == artifact.paths()
    overwrite(artifact.paths()[0], store.read_bytes(artifact.paths()[0])[:-1] + b"!")
    assert store.find(artifact.folder) is None


def test_what_a_store_refuses_is_told_without_its_endpoint_or_keys(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bucket that is not there says what to do; an unknown protocol names the extra; keys stand nowhere."""
    with pytest.raises(StorageError, match=r"cannot be written; in s3://nobodys/x; got FileNotFoundError: .*bucket.*AWS_\*") as caught:
        store.write_bytes("s3://nobodys/x", b"1")
    assert "s3cret" not in str(caught.value)
    with pytest.raises(StorageError, match=r"no way to this place; in nowhere://x; .*sinkaudit\[s3\]"):
        store.write_bytes("nowhere://x", b"1")
