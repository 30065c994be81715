"""CSV: a header, and rows as wide."""

from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpus import delimited
from pipeline.corpus.files import InputFile
from pipeline.errors import InputError

FIELDS = st.text(st.characters(exclude_categories=["Cs"]))


def file(tmp_path: Path, data: bytes, name: str = "a.csv") -> InputFile:
    (tmp_path / name).write_bytes(data)
    return InputFile(str(tmp_path / name), name, "csv", "gzip" if name.endswith("gz") else None, len(data))


def rows(source: InputFile) -> Any:
    return pa.Table.from_batches(
        [b for table in delimited.read(source) for b in table.to_batches()], delimited.schema_of(source)
    ).to_pylist()


@given(st.lists(st.tuples(FIELDS, FIELDS)))
def test_fields_come_back(tmp_path_factory: pytest.TempPathFactory, wanted: list[tuple[str, str]]) -> None:
    """What csv wrote is what is read: quotes, line ends, NUL and all."""
    out = io.StringIO(newline="")
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows([("a", "b"), *wanted])
    got = rows(file(tmp_path_factory.mktemp("csv"), out.getvalue().encode()))
    assert [(row["a"], row["b"]) for row in got] == wanted


def test_everything_is_a_string(tmp_path: Path) -> None:
    """Leading zeros stay, an empty field is the empty string, blank lines and a byte order mark are passed over."""
    data = b'\xef\xbb\xbfid,text\r\n007,"a ""b""\r\nc"\r\n\r\nNA,\r\n'
    wanted = [{"id": "007", "text": 'a "b"\r\nc'}, {"id": "NA", "text": ""}]
    assert rows(file(tmp_path, data)) == rows(file(tmp_path, gzip.compress(data), "a.csv.gz")) == wanted


def test_tabs_and_long_fields(tmp_path: Path) -> None:
    """.tsv splits at tabs; a field may be as long as a novel."""
    long = "x" * 300_000
    assert rows(file(tmp_path, f"id\ttext\n1,5\t{long}\n".encode(), "a.tsv")) == [{"id": "1,5", "text": long}]
    assert rows(file(tmp_path, gzip.compress(b"id\ttext\n1\t2\n"), "A.TSV.gz")) == [{"id": "1", "text": "2"}]
    (tmp_path / "x.tsv.d").mkdir()
    assert rows(file(tmp_path / "x.tsv.d", b"id,text\n1,2\n")) == [{"id": "1", "text": "2"}], "a folder's name says nothing"


def test_batches_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch ends at its row or character bound."""
    monkeypatch.setattr(delimited, "BATCH_CHARACTERS", 10)
    monkeypatch.setattr(delimited, "BATCH_ROWS", 3)
    source = file(tmp_path, b"t\n" + b"xx\n" * 4 + b"x" * 20 + b"\nyy\n")
    assert [table.num_rows for table in delimited.read(source)] == [3, 2, 1]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"\n\n", r"the file has no header; in .*a.csv; wanted column names in the first line"),
        (b"a,b\n1,2\n\n1\n", r"the row does not match the header; in .*a.csv, row 2; wanted 2 fields; got 1"),
        (b'a,b\n1,"2\n3,4\n', r"the row is not CSV; in .*, row 1; wanted quotation marks in pairs; got unexpected end of data"),
        (b'a,b\n1,"2"x\n', r"the row is not CSV; in .*, row 1; .* expected after"),
        (b"a,b\n1,\xff\n", r"not UTF-8; in .*, row \d; wanted UTF-8"),
    ],
)
def test_bad_rows_are_named(tmp_path: Path, data: bytes, message: str) -> None:
    """The message names file and row, what was wanted and what came."""
    with pytest.raises(InputError, match=message):
        rows(file(tmp_path, data))


def test_a_truncated_archive_is_named(tmp_path: Path) -> None:
    """A damaged .gz is an input fault."""
    with pytest.raises(InputError, match=r"cannot be read to its end; in .*; got Truncated"):
        rows(file(tmp_path, gzip.compress(b"text\n" + b"abc\n" * 9999)[:-9], "a.csv.gz"))
