"""An overrides file says exactly what it means, about exactly this run, or is refused with a reason."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.release.overrides import ORDERS, OverridesFile, check_overrides, harmless, line_up, parse_overrides
from pipeline.tables import OVERRULED

RUN = "demo-0123456789"
IDS = pl.DataFrame({"doc_id": [0, 7], "content_hash": [b"a" * 16, b"b" * 16], "row_hash": [b"c" * 16, b"d" * 16]})


def _row(doc_id: Any = 7, **changes: Any) -> dict[str, Any]:
    row = {"doc_id": doc_id, "content_hash": (b"b" * 16).hex(), "row_hash": (b"d" * 16).hex(), "action": "keep", "note": "licence checked"}
    return {**row, **changes}


def _raw(*rows: dict[str, Any], **changes: Any) -> dict[str, Any]:
    head = {"format": "sinkaudit-overrides", "version": 1, "run": RUN, "reviewer": "R. Viewer"}
    return {**head, "overrides": list(rows or (_row(),)), **changes}


def _parse(raw: dict[str, Any]) -> OverridesFile:
    return parse_overrides(json.dumps(raw).encode(), "o.json")


def test_what_the_page_exports_is_read() -> None:
    """Reviewer, action and note come through, and the file fits its run."""
    file = _parse(_raw())
    check_overrides(file, RUN, IDS, "o.json")
    assert (file.reviewer, file.overrides[0].action, file.overrides[0].note) == ("R. Viewer", "keep", "licence checked")
    assert file.described() == {"digest": file.digest, "reviewer": "R. Viewer", "num_overrides": 1}


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (_raw(reviewer=""), "reviewer: String should have at least 1 character"),
        (_raw(reviewer="\n\t "), "reviewer: String should have at least 1 character"),
        (_raw(reviewer="x" * 121), "reviewer: String should have at most 120"),
        (_raw(_row(action="downweight")), r"overrides\.0\.action: Input should be 'keep', 'drop' or 'review' \(got 'downweight'\)"),
        (_raw(_row(note="n" * 1_001)), r"overrides\.0\.note: String should have at most 1000"),
        (_raw(_row(note=None)), r"overrides\.0\.note: Input should be a valid string"),
        (_raw(_row(doc_id="7")), r"overrides\.0\.doc_id: Input should be a valid integer"),
        (_raw(_row(doc_id=-1)), r"overrides\.0\.doc_id: Input should be greater than or equal to 0"),
        (_raw(_row(row_hash="D" * 32)), r"overrides\.0\.row_hash: String should match pattern"),
        (_raw(_row(weight=3)), r"overrides\.0\.weight: Extra inputs are not permitted"),
        (_raw(version=2), r"version: Input should be 1 \(got 2\)"),
        (_raw(format="sinkaudit"), "format: Input should be 'sinkaudit-overrides'"),
        (_raw(run="../../etc"), "run: String should match pattern"),
        (_raw(overrides=[]), "overrides: List should have at least 1 item"),
        (_raw(_row(), _row()), r"1 document\(s\) are named twice; in o\.json, doc_id 7"),
        (_raw(*(_row(number, action="?") for number in range(9))), r"9 fault\(s\).*and 4 more"),
    ],
)
def test_a_file_that_is_not_one_is_refused(raw: dict[str, Any], told: str) -> None:
    """Each fault is named with its place; an empty reviewer, an unknown action and a document named twice among them."""
    with pytest.raises(InputError, match=told) as error:
        _parse(raw)
    assert "licence" not in str(error.value)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b"null", b'{"run": "a", "run": "b"}'])
def test_what_is_no_json_is_refused(data: bytes) -> None:
    """Broken, deep or ambiguous JSON is an error of the user's, not of ours."""
    with pytest.raises(InputError, match=r"in o\.json"):
        parse_overrides(data, "o.json")


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (_raw(run="demo-other"), f"another run; in o.json; wanted overrides of {RUN}; got demo-other.*sinkaudit apply demo-other"),
        (_raw(_row(8)), r"1 override\(s\) name a document that the run does not have; in o\.json, doc_id 8"),
        (_raw(_row(content_hash="00" * 16)), rf"doc_id 7; wanted content_hash {(b'b' * 16).hex()}; got {'00' * 16}"),
        (_raw(_row(row_hash="00" * 16)), f"doc_id 7; wanted row_hash {(b'd' * 16).hex()}"),
    ],
)
def test_a_file_of_another_run_or_row_is_refused(raw: dict[str, Any], told: str) -> None:
    """An id alone is not trusted: run and both hashes have to be those of the row."""
    with pytest.raises(InputError, match=told):
        check_overrides(_parse(raw), RUN, IDS, "o.json")


@given(st.text(max_size=50))
def test_notes_hide_nothing(text: str) -> None:
    """What is left prints on one line as it is stored, and a harmless text stays what it is."""
    once = harmless(text)
    assert isinstance(once, str)
    assert once.isprintable()
    assert harmless(once) == once
    once.encode()


def test_direction_marks_and_escapes_are_spelled_out() -> None:
    """A reviewer's name cannot be turned round or carry terminal codes; letters of any script stay."""
    file = _parse(_raw(_row(note="a\r\nb \ud800"), reviewer="Ann\u202eeB \x1b[31m 王 é"))
    assert file.reviewer == "Ann⟨U+202E⟩eB ⟨U+001B⟩[31m 王 é"
    assert file.overrides[0].note == "a b ⟨U+D800⟩"


def test_the_digest_is_of_what_is_ordered() -> None:
    """Layout and the order of rows leave it; another note does not."""
    one, two = _row(0), _row(7)
    assert _parse(_raw(one, two)).digest == _parse(_raw(two, one)).digest
    assert _parse(_raw(one, two)).digest != _parse(_raw(one, {**two, "note": ""})).digest


def test_orders_are_numbered_after_those_of_the_parent() -> None:
    """What a parent run carries comes first, its followers left out; each new file is one number."""
    inherited = OVERRULED.check(
        pl.DataFrame(
            [(7, 0, "keep", "unique", "drop", "A", "", True, None), (8, 0, "drop", "near_duplicate", "drop", "A", "", True, 7)],
            schema=dict(OVERRULED.columns),
            orient="row",
        )
    )
    orders = line_up([_parse(_raw()), _parse(_raw(_row(0), _row(7, action="review"), reviewer="B"))], inherited)
    assert dict(orders.schema) == ORDERS
    assert [row[:4] for row in orders.rows()] == [
        (0, 2, "keep", "B"),
        (7, 0, "drop", "A"),
        (7, 1, "keep", "R. Viewer"),
        (7, 2, "review", "B"),
    ]
