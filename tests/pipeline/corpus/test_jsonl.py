"""JSONL: an object a line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.corpus import jsonl
from pipeline.corpus.files import InputFile
from pipeline.errors import InputError

VALUES = {
    "i": st.integers(-(2**63), 2**63 - 1),
    "f": st.floats(allow_nan=False),
    "s": st.text(st.characters(exclude_categories=["Cs"])),
    "b": st.booleans(),
    "l": st.lists(st.text("ab")),
    "o": st.fixed_dictionaries({"x": st.integers(-9, 9), "y": st.text("c")}),
}


def file(tmp_path: Path, data: bytes, name: str = "a.jsonl") -> InputFile:
    (tmp_path / name).write_bytes(data)
    return InputFile(str(tmp_path / name), name, "jsonl", "gzip" if name.endswith("gz") else None, len(data))


def rows(source: InputFile) -> Any:
    return pa.concat_tables(jsonl.read(source, jsonl.describe(source)[0]), promote_options="default").to_pylist()


@given(st.lists(st.fixed_dictionaries({}, optional=VALUES), min_size=1), st.booleans())
def test_objects_come_back(tmp_path_factory: pytest.TempPathFactory, objects: list[dict[str, Any]], is_ascii: bool) -> None:
    """What json wrote is what is read, a missing key being null, whatever the block size."""
    data = "\r\n\n".join(json.dumps(row, ensure_ascii=is_ascii) for row in objects).encode()
    source = file(tmp_path_factory.mktemp("jsonl"), data)
    schema = jsonl.describe(source)[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsonl, "BLOCK_BYTES", 7)
        assert set(jsonl.describe(source)[0]) == set(schema), "types do not depend on blocks"
        got = [row for table in jsonl.read(source, schema) for row in table.to_pylist()]
    assert [{k: v for k, v in row.items() if v is not None and k} for row in got] == objects


def test_types_are_inferred_over_the_whole_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A float on the last line makes the column float from the first; strings that look like dates stay strings."""
    monkeypatch.setattr(jsonl, "BLOCK_BYTES", 8)
    source = file(tmp_path, b'{"n":1,"d":"2020-01-01","u":1}\n{"n":null,"u":18446744073709551615}\n{"n":1.5,"late":[]}\n{"late":["x"]}\n')
    schema = pa.schema({"n": pa.float64(), "d": pa.string(), "u": pa.uint64(), "late": pa.list_(pa.string())})
    assert jsonl.describe(source)[0].equals(schema)
    assert [row.get("u") for table in jsonl.read(source, schema) for row in table.to_pylist()] == [1, 2**64 - 1, None, None]


def test_marks_nul_and_compression(tmp_path: Path) -> None:
    """A byte order mark is no part of the first line, NUL may stand in a string, .gz is unpacked."""
    data = b'\xef\xbb\xbf{"text":"a\\u0000b"}\r\n\r\n{"text":"c"}'
    assert rows(file(tmp_path, data)) == rows(file(tmp_path, gzip.compress(data), "a.jsonl.gz")) == [{"text": "a\0b"}, {"text": "c"}]


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (b'{"a":1}\n\n{"a":\n', r"the line is not JSON; in .*a.jsonl, line 3; wanted one JSON object a line; got Expecting value"),
        (b'{"a":1}\nnull\n', r"the line is not an object; in .*, line 2; .* got a NoneType"),
        (b'[{"a":1}]\n', r"the line is not an object; in .*, line 1; .* got a list; what to do: write one object a line"),
        (b"{'a':1}\n", r"the line is not JSON; in .*, line 1"),
        (b'{"a":1} {"a":2}\n', r"the line is not JSON; in .*, line 1; .* got Extra data"),
        (b'{"a":1}\n{"a":"\xff"}\n', r"the line is not UTF-8; in .*, line 2; wanted UTF-8; .* iconv"),
        (b'{"a":' + b"[" * 100_000 + b"\n", r"the line is not JSON; in .*, line 1"),
        (
            b'{"a":1}\n{"a":"secret"}\n',
            r"column a has values of several types; in .*, line 2; wanted one type in every line; got int, str;",
        ),
        (b'{"a":18446744073709551616}\n', r"column a has values of several types; .* got an integer beyond 64 bits"),
        (b'{"a":"\\ud800"}\n', r"column a holds a value of another type; in .*, line 1; wanted string; got an unpaired surrogate"),
        (b'{"a":1}\n{"b":{"k":"\\ud800"}}\n', r"column b holds half a character; in .*, line 2; .* got an unpaired surrogate"),
        (b'{"b":["x"]}\n{"b":["\\ud83d"]}\n', r"column b holds half a character; in .*, line 2; .* mend the escape"),
        (b'{"a":1}\n{"\\ud800":1}\n', r"a column's name holds half a character; in .*, line 2"),
        (b'{"a":1152921504606846977}\n{"a":0.5}\n', r"column a has values of several types; in .*, line 2; .* got float, int"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, lines: bytes, message: str) -> None:
    """The message names file and line, what was wanted and what came, and never quotes the text."""
    with pytest.raises(InputError, match=message) as caught:
        rows(file(tmp_path, lines))
    assert "secret" not in str(caught.value)


def test_types_that_differ_between_blocks_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A column that changes its type far into the file says from which line."""
    monkeypatch.setattr(jsonl, "BLOCK_BYTES", 8)
    with pytest.raises(InputError, match=r"column a has a type that does not fit .*; in .*, lines from 2; wanted int64; got string"):
        jsonl.describe(file(tmp_path, b'{"a":1}\n{"a":"x"}\n'))


def test_a_truncated_archive_is_named(tmp_path: Path) -> None:
    """A damaged .gz is an input fault, not a crash."""
    with pytest.raises(InputError, match=r"cannot be read to its end; in .*a.jsonl.gz; got Truncated"):
        rows(file(tmp_path, gzip.compress(b'{"text":"x"}\n' * 999)[:-9], "a.jsonl.gz"))


def test_integers_that_a_float_column_cannot_hold_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An integer is never rounded because a later line holds a float."""
    monkeypatch.setattr(jsonl, "BLOCK_BYTES", 8)
    with pytest.raises(InputError, match=r"column a holds a value of another type; in .*, line 1; wanted double; got a int"):
        rows(file(tmp_path, b'{"a":1152921504606846977}\n{"a":0.5}\n'))
