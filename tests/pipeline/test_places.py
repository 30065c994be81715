"""A local file holds what was written, in whatever pieces it came and whatever the system refuses."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.places import BLOCK_BYTES, Unfinished

SIZES = st.one_of(st.integers(0, 300), st.sampled_from([4096, BLOCK_BYTES - 1, BLOCK_BYTES, BLOCK_BYTES + 1, 3 * BLOCK_BYTES + 17]))
DIRECT = getattr(os, "O_DIRECT", 0)


def _write(path: Path, pieces: list[bytes], *, is_lasting: bool = False) -> None:
    file = Unfinished(path, is_lasting)
    file.open()
    for piece in pieces:
        file.write(piece)
    assert not path.exists()
    file.finish()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sizes=st.lists(SIZES, max_size=6), is_lasting=st.booleans())
def test_a_file_holds_its_pieces_end_to_end(tmp_path: Path, sizes: list[int], is_lasting: bool) -> None:
    """Pieces below, at and above a block's size, and none at all."""
    pieces = [bytes([number]) * size for number, size in enumerate(sizes)]
    (tmp_path / "file").unlink(missing_ok=True)
    _write(tmp_path / "file", pieces, is_lasting=is_lasting)
    assert (tmp_path / "file").read_bytes() == b"".join(pieces)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


class _Recorded:
    """Pass a raw file on, note the size of each write and whether it was direct, and take or refuse what it is told to."""

    def __init__(self, file: Any, most: int | None, refused: bool) -> None:
        self._file, self._most, self._is_refused, self.writes = file, most, refused, list[tuple[int, bool]]()

    def fileno(self) -> int:
        return int(self._file.fileno())

    def close(self) -> None:
        self._file.close()

    def write(self, data: memoryview) -> int:
        is_direct = bool(fcntl.fcntl(self.fileno(), fcntl.F_GETFL) & DIRECT)
        if is_direct and self._is_refused:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        taken = int(self._file.write(data[: self._most]))
        self.writes.append((taken, is_direct))
        return taken


@pytest.mark.parametrize(("most", "refused"), [(None, False), (None, True), (BLOCK_BYTES - 4096, False)])
def test_whole_blocks_are_written_directly_where_that_is_possible(tmp_path: Path, most: int | None, refused: bool) -> None:
    """The rest is not, nor what a filesystem refuses to write so, nor what is left of a block that a full disk took a part of."""
    data = os.urandom(2 * BLOCK_BYTES + 100)
    file: Any = Unfinished(tmp_path / "file", False)
    file.open()
    recorded = file._file = _Recorded(file._file, most, refused)
    file.write(data)
    file.finish()
    assert (tmp_path / "file").read_bytes() == data
    direct = [size for size, is_direct in recorded.writes if is_direct]
    rest = [size for size, is_direct in recorded.writes if not is_direct]
    can_direct = bool(DIRECT) and not refused
    assert direct == ([min(most or BLOCK_BYTES, BLOCK_BYTES)] * 2 if can_direct else [])
    assert sum(rest) == len(data) - sum(direct)


def test_a_filesystem_that_knows_no_direct_writing_is_written_as_any(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The flag is refused, not the bytes; any other refusal is told."""
    number = errno.EINVAL

    def refusing(descriptor: int, command: int, value: int = 0) -> int:
        if command == fcntl.F_SETFL and value & DIRECT:
            raise OSError(number, os.strerror(number))
        return real(descriptor, command, value)

    real = fcntl.fcntl
    data = os.urandom(BLOCK_BYTES + 1)
    monkeypatch.setattr(fcntl, "fcntl", refusing)
    _write(tmp_path / "file", [data])
    assert (tmp_path / "file").read_bytes() == data
    number = errno.EIO
    if DIRECT:
        file = Unfinished(tmp_path / "other", False)
        file.open()
        with pytest.raises(OSError, match=os.strerror(errno.EIO)):
            file.write(data)
        file.discard()
        assert [path.name for path in tmp_path.iterdir()] == ["file"]
