"""Where files are: local folders and object stores behind one door, and what goes wrong there told to the person who can mend it.

Credentials, endpoints and regions are the environment's or fsspec's own configuration (for S3: AWS_* variables, profiles,
`~/.config/fsspec`), never ours: they stand in no configuration, manifest, log or report.

Listings are never cached: other processes write to the same places. An object's *version* is its store's tag of its bytes (S3: ETag),
which changes whenever they do; stores that give none are read instead.
"""

from __future__ import annotations

import errno
import fcntl
import io
import mmap
import os
import re
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec

from pipeline.errors import StorageError

BLOCK_BYTES = 1 << 20
"""Of a local file in memory while it is written."""
UPLOAD_BYTES = 16 << 20
"""Of an object in memory while it is written, for each of a few pieces on their way: larger ones go up in pieces of this size."""
VERSION_KEYS = ("ETag", "etag", "md5Hash", "generation")
FULL, CLOSED = (errno.ENOSPC, errno.EDQUOT), (errno.EROFS, errno.EACCES, errno.EPERM)
FULL_HINT = "make space there; the same command goes on where it stopped, and nothing half-written counts"
CLOSED_HINT = "make it writable, or choose another place under runtime; the same command goes on where it stopped"
REMOTE_HINT = "check the URL, the network and your access (for S3 the AWS_* variables or a profile); the same command goes on"
SECRET = re.compile(r"://[^/?#]*@|[?&](x-amz-(signature|credential|security-token)|signature|sig|token|key|secret)=", re.IGNORECASE)
CLIENTS = ("botocore", "aiobotocore", "s3fs", "aiohttp", "gcsfs", "adlfs", "azure", "google")
"""Libraries whose own exceptions mean that a store could not be reached or refused."""


def locate(path: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """Return the filesystem of a path or URL, and the path on it.

    Raises: StorageError when the URL's protocol is unknown or its package is not installed.
    """
    try:
        options = {} if "://" not in path or path.startswith(("file://", "local://")) else {"use_listings_cache": False}
        filesystem, plain = fsspec.core.url_to_fs(path, **options)
    except (ImportError, ValueError) as error:
        do = "check the URL; for s3:// install sinkaudit[s3]"
        raise StorageError("there is no way to this place", where=path, got=str(error), do=do) from error
    return filesystem, plain


def is_local(filesystem: fsspec.AbstractFileSystem) -> bool:
    """Say whether paths on it are those of this machine."""
    return "file" in filesystem.protocol or "local" in filesystem.protocol


def holds_secret(url: str) -> bool:
    """Say whether a URL holds a password or a signature."""
    return SECRET.search(url) is not None


@contextmanager
def explained(path: str, doing: str = "written") -> Iterator[None]:
    """Tell what goes wrong with a place in the block: full, read-only, refused or out of reach.

    Raises: StorageError; FileNotFoundError passes where something is read, for its own door knows what is missing.
    """
    try:
        yield
    except FileNotFoundError as error:
        if doing == "read":
            raise
        raise _told(path, doing, error) from error
    except Exception as error:
        if isinstance(error, OSError) or type(error).__module__.split(".")[0] in CLIENTS:
            raise _told(path, doing, error) from error
        raise


def _told(path: str, doing: str, error: Exception) -> StorageError:
    number = getattr(error, "errno", None)
    if number in FULL:
        return StorageError("there is no space left", where=path, got=os.strerror(number or 0), do=FULL_HINT)
    is_remote = "://" in path
    if number in CLOSED and not is_remote:
        return StorageError(f"the place cannot be {doing}", where=path, got=os.strerror(number or 0), do=CLOSED_HINT)
    return StorageError(f"the place cannot be {doing}", where=path, got=_line(error), do=REMOTE_HINT if is_remote else CLOSED_HINT)


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


class Unfinished:
    """Write a local file under a passing name, which becomes its own with `finish`.

    Whole blocks go past the page cache where the system can do that. A corpus is written once, and soon only its candidates are read again:
    caching it can cost the processor more than hashing it, and pushes out what others want to keep.
    """

    def __init__(self, target: Path, is_lasting: bool) -> None:
        self._target, self._is_lasting = target, is_lasting
        self._passing = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.tmp")
        self._file: Any = None
        # a map, because it begins with a page, which direct writing asks for
        self._block, self._held = mmap.mmap(-1, BLOCK_BYTES), 0

    def open(self) -> None:
        """Make room for it."""
        self._target.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self._passing, "wb", buffering=0)  # noqa: SIM115  closed by finish or discard

    def write(self, data: Any) -> None:
        """Take all of the bytes; what fills a block goes to the disk."""
        rest = memoryview(data).cast("B")
        while len(rest):
            taken = rest[: BLOCK_BYTES - self._held]
            self._block[self._held : self._held + len(taken)] = taken
            self._held, rest = self._held + len(taken), rest[len(taken) :]
            if self._held == BLOCK_BYTES:
                self._empty(is_direct=True)

    def finish(self) -> None:
        """Let the file appear."""
        self._empty(is_direct=False)
        if self._is_lasting:
            os.fsync(self._file.fileno())
        self._file.close()
        self._passing.replace(self._target)

    def discard(self) -> None:
        """Let nothing of it stay."""
        if self._file is not None:
            self._file.close()
            self._passing.unlink(missing_ok=True)

    def _empty(self, *, is_direct: bool) -> None:
        with memoryview(self._block) as block:
            rest = block[: self._held]
            if is_direct and _write_directly(self._file.fileno(), True):
                try:
                    rest = rest[self._file.write(rest) :]
                except OSError as error:
                    if error.errno != errno.EINVAL:  # the filesystem knows the flag and not the deed
                        raise
            if len(rest):
                _write_directly(self._file.fileno(), False)
            while len(rest):  # a disk that is almost full takes some of them first
                rest = rest[self._file.write(rest) :]
        self._held = 0


def _write_directly(descriptor: int, is_direct: bool) -> bool:
    """Let writes to an open file go past the page cache, or no longer; return whether the system does as told."""
    if not hasattr(os, "O_DIRECT"):
        return not is_direct
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    wanted = flags | os.O_DIRECT if is_direct else flags & ~os.O_DIRECT
    if wanted == flags:
        return True
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, wanted)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return False
    return True


def sweep(folder: str) -> None:
    """Remove what killed writers left in a local folder under passing names; nobody else may be writing there."""
    filesystem, plain = locate(folder)
    for left in Path(plain).glob(".*.tmp") if is_local(filesystem) else ():
        left.unlink(missing_ok=True)


class Upload:
    """Take an object's bytes, a piece of them in memory at a time, and let it appear whole with `finish`, or never with `discard`.

    What a kill leaves of a large one are pieces that no listing shows; a rule of the bucket that ends incomplete uploads removes them.
    """

    def __init__(self, filesystem: fsspec.AbstractFileSystem, path: str) -> None:
        self._filesystem, self._path = filesystem, path
        self._first = io.BytesIO()
        self._file: Any = None

    def open(self) -> None:
        """Do nothing: there are no folders."""

    def write(self, data: Any) -> None:
        """Take more bytes; they are sent as soon as there is a piece of them."""
        if self._file is None and self._first.tell() + memoryview(data).nbytes <= UPLOAD_BYTES:
            self._first.write(data)
            return
        if self._file is None:
            self._file = self._filesystem.open(self._path, "wb", autocommit=False, block_size=UPLOAD_BYTES)
            self._file.write(self._first.getbuffer())
            self._first = io.BytesIO()
        self._file.write(bytes(data))

    def finish(self) -> None:
        """Let the object appear."""
        if self._file is None:
            self._filesystem.pipe_file(self._path, self._first.getvalue())
            return
        self._file.close()
        self._file.commit()

    def discard(self) -> None:
        """Let nothing of it appear."""
        if self._file is not None:
            self._file.discard()
            self._file.closed = True  # else it would be sent when it is collected


def version_of(info: Mapping[str, Any]) -> str | None:
    """Return what a store says of an object's bytes and changes with them; None where it says nothing."""
    return next((str(info[key]) for key in VERSION_KEYS if info.get(key)), None)


def objects_below(folder: str) -> dict[str, tuple[int, str | None]]:
    """Return size and version of every object below a folder, by its path from there, in one listing."""
    filesystem, plain = locate(folder)
    root = plain.rstrip("/") + "/"
    with explained(folder, "read"):
        found = filesystem.find(plain, detail=True)
    return {path.removeprefix(root): (int(info["size"]), version_of(info)) for path, info in found.items()}
