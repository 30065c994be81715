"""Text files: a file is a document."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpus import plain
from pipeline.corpus.files import InputFile
from pipeline.errors import InputError


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_utf8_comes_back(text: str) -> None:
    """UTF-8 text is read as it is, line ends and NUL included; a leading mark is an encoding, not text."""
    assert plain.decode(text.encode())[0] == text.removeprefix("\ufeff")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_marked_encodings(encoding: str) -> None:
    """A byte order mark decides the encoding and disappears."""
    assert plain.decode("a\r\nß\0".encode(encoding)) == ("a\r\nß\0", encoding)


@given(st.binary())
def test_no_byte_is_lost(data: bytes) -> None:
    """Whatever the bytes, encoding the text again gives them back."""
    text, encoding = plain.decode(data)
    if encoding in ("utf-8", "latin-1"):
        assert text.encode(encoding) == data


def test_bytes_that_are_not_utf8_are_latin_1(tmp_path: Path) -> None:
    """Encodings are counted, and files come as rows of id and text, in bounded batches."""
    (tmp_path / "a").write_bytes(b"caf\xe9")
    (tmp_path / "b").write_bytes(b"")
    files = [InputFile(str(tmp_path / name), name, "text", None, 0) for name in "ab"]
    encodings: Counter[str] = Counter()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain, "BATCH_FILES", 1)
        tables = list(plain.read(files, encodings))
    assert [table.to_pylist() for table in tables] == [[{"id": "a", "text": "café"}], [{"id": "b", "text": ""}]]
    assert encodings == {"latin-1": 1, "utf-8": 1}


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    """A file that vanished is an input fault."""
    with pytest.raises(InputError, match=r"the file cannot be read; in .*gone"):
        list(plain.read([InputFile(str(tmp_path / "gone"), "gone", "text", None, 0)], Counter()))
