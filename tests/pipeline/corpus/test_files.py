"""How one file is opened and digested."""

from __future__ import annotations

import gzip
from pathlib import Path

import fsspec
import pyarrow as pa
import pytest
from blake3 import blake3

from pipeline import store
from pipeline.corpus import files
from pipeline.corpus.files import InputFile, digest_files, digests, open_bytes, split_name


def zstd(data: bytes) -> bytes:
    return pa.Codec("zstd").compress(data, asbytes=True)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("x/a.parquet", ("parquet", None)),
        ("a.JSONL.GZ", ("jsonl", "gzip")),
        ("a.csv.zst", ("csv", "zstd")),
        ("copyright", ("text", None)),
        ("README.gz", ("text", "gzip")),
        ("a.parquet.gz", (None, "gzip")),
        ("a.tar.gz", (None, "gzip")),
        ("a.png", (None, None)),
    ],
)
def test_a_name_says_format_and_compression(name: str, wanted: tuple[str | None, str | None]) -> None:
    """The last suffix may be a compression, the one before it is the format."""
    assert split_name(name) == wanted


@pytest.mark.parametrize(("pack", "compression"), [(gzip.compress, "gzip"), (zstd, "zstd"), (bytes, None)])
def test_files_open_decompressed(tmp_path: Path, pack: object, compression: str | None) -> None:
    """Members that follow one another in one archive are read as one file, locally and remotely."""
    data = b"".join(pack(piece) for piece in (b"ab\n", b"cd"))  # type: ignore[operator]
    (tmp_path / "f").write_bytes(data)
    fsspec.filesystem("memory").pipe("/files/f", data)
    for path in (str(tmp_path / "f"), "memory:///files/f"):
        with open_bytes(InputFile(path, "f", "text", compression, len(data))) as stream:
            assert stream.read() == b"ab\ncd"


def test_a_file_is_read_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asked again nothing is read; a byte changed in place, the size and the name kept, is seen."""
    path, reads = tmp_path / "f", list[str]()
    path.write_bytes(b"ab")
    file = InputFile(str(path), "f", "text", None, 2)

    def counted(asked: str) -> str:
        reads.append(asked)
        return store.file_digest(asked)

    monkeypatch.setattr(files, "file_digest", counted)
    first = digests([file])
    assert digests([file]) == first
    assert len(reads) == 1
    with path.open("r+b") as opened:
        opened.write(b"c")
    assert digests([file])[0]["digest"] == blake3(b"cb").hexdigest(length=16)
    assert len(reads) == 2


def test_digests_are_of_bytes_and_names(tmp_path: Path) -> None:
    """A file's digest is BLAKE3 of its bytes; a listing's changes with any name or byte."""
    (tmp_path / "f").write_bytes(b"x")
    described = digests([InputFile(str(tmp_path / "f"), "f", "text", None, 1)])
    assert described == [{"path": "f", "bytes": 1, "digest": blake3(b"x").hexdigest(length=16)}]
    assert digest_files(described) != digest_files([{**described[0], "path": "g"}])
