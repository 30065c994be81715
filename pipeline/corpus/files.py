"""One file of the user's: its name, how it is opened, the digest of its bytes, and what its first bytes say of it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

import pyarrow as pa

from pipeline.places import is_local, locate
from pipeline.store import digest_of, file_digest

FORMATS = {
    **dict.fromkeys((".parquet", ".pq"), "parquet"),
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), "jsonl"),
    **dict.fromkeys((".csv", ".tsv"), "csv"),
    **dict.fromkeys((".arrow", ".feather", ".ipc"), "arrow"),
    **dict.fromkeys(("", ".txt", ".text", ".md", ".rst"), "text"),
}
COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
SNIFFED_BYTES = 1 << 16
UTF_MARKS = (b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf")
_digests: dict[tuple[str, int, int, int, int], str] = {}
JSON_LINES = re.compile(rb"(\xef\xbb\xbf)?\s*\{[^\n]*(\}\s*\n\s*(\{|$)|$)")


@dataclass(frozen=True)
class InputFile:
    """Name one file: its path or URL, the name that documents carry (relative to the common root), how it is read, its size in bytes.

    `source` is that of a text file; what has columns says more of itself.
    """

    path: str
    name: str
    format: str
    compression: str | None
    num_bytes: int
    source: str | None = None


def digests(files: Iterable[InputFile]) -> list[dict[str, Any]]:
    """Return name, size and BLAKE3 digest of every file's bytes, and a text file's source, which is not told by its name.

    A process reads a local file once: what names a run, the flow and the reading ask one after another, and a file that was written to in
    between has another time of change, or another size, and is read again.
    """
    return [
        {"path": file.name, "bytes": file.num_bytes, "digest": _digest(file.path)} | ({"source": file.source} if file.source else {})
        for file in files
    ]


def _digest(path: str) -> str:
    filesystem, plain = locate(path)
    if not is_local(filesystem):
        return file_digest(path)
    state = Path(plain).stat()
    key = (plain, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)
    if key not in _digests:
        _digests[key] = file_digest(path)
    return _digests[key]


def digest_files(described: Iterable[Mapping[str, Any]]) -> str:
    """Return one digest of described files: of all that says which rows they become."""
    return digest_of([[file[key] for key in ("path", "digest", "source") if key in file] for file in described])


def open_bytes(file: InputFile) -> IO[bytes]:
    """Open a file for reading, decompressing on the way."""
    filesystem, plain = locate(file.path)
    raw = filesystem.open(plain, "rb")
    if file.compression is None:
        return raw
    return pa.CompressedInputStream(pa.PythonFile(raw, mode="r"), file.compression)


def size_of(path: str) -> int:
    """Return a file's size in bytes."""
    filesystem, plain = locate(path)
    return int(filesystem.size(plain))


def split_name(path: str) -> tuple[str | None, str | None]:
    """Return the format and the compression that a file's name says, None for neither."""
    compression = COMPRESSIONS.get(PurePosixPath(path.lower()).suffix)
    kind = FORMATS.get(suffix_of(path))
    if compression and kind in ("parquet", "arrow"):
        return None, compression  # they compress within: nobody packs them whole
    return kind, compression


def suffix_of(path: str) -> str:
    """Return a file's suffix in small letters, that of a compression left out."""
    name = PurePosixPath(path.lower())
    return PurePosixPath(name.stem).suffix if name.suffix in COMPRESSIONS else name.suffix


def is_binary(path: str, compression: str | None) -> bool:
    """Say whether a file without a telling name holds something else than text: a NUL near its start, and no UTF-16 mark."""
    start = _start(path, compression)
    return b"\0" in start and not start.startswith(UTF_MARKS)


def is_json_lines(path: str, compression: str | None) -> bool:
    """Say whether a file called .json begins with a whole object on its first line and, if there is a second, another there."""
    return JSON_LINES.match(_start(path, compression)) is not None


def _start(path: str, compression: str | None) -> bytes:
    with open_bytes(InputFile(path, path, "text", compression, 0)) as stream:
        try:
            return bytes(stream.read(SNIFFED_BYTES))
        except OSError:
            return b""  # a damaged archive is reported when it is read
