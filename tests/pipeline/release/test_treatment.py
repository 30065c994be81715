from __future__ import annotations

from collections import Counter

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import TableError
from pipeline.release.treatment import cut_spans, treat_texts

SPAN = pl.List(pl.Struct({"start": pl.Int64, "end": pl.Int64}))


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("one [cut] two", "one two"),
        ("one\n\n[cut]\n\ntwo", "one\n\ntwo"),
        ("one [cut]\n\ntwo", "one\n\ntwo"),
        ("one[cut]two", "one two"),
        ("前[cut]後", "前 後"),
        ("[cut]\n\none", "one"),
        ("  [cut] one", "  one"),
        ("one\n[cut]", "one"),
        ("one\n[cut]\n", "one\n"),
        ("one [cut] \n [cut] two", "one \n two"),
        ("[cut] [cut]\none ", "one "),
        ("[cut]", ""),
        (" [cut]\n", "\n"),
        ("as it is \n", "as it is \n"),
    ],
)
def test_what_is_left_is_joined_cleanly(text: str, left: str) -> None:
    """The white space of one side stays, a blank where there was none, a text's own beginning and end."""
    assert cut_spans(*_marked(text)) == left


def _marked(text: str) -> tuple[bytes, list[tuple[int, int]]]:
    bounds, at = [], 0
    while (start := text.find("[cut]", at)) >= 0:
        bounds.append((len(text[:start].encode()), len(text[: start + 5].encode())))
        at = start + 5
    return text.encode(), bounds


@given(st.lists(st.tuples(st.text(max_size=6), st.text(min_size=1, max_size=6)), max_size=6), st.text(max_size=6))
def test_cutting_loses_the_spans_and_nothing_else(pieces: list[tuple[str, str]], tail: str) -> None:
    """The words that stay are the words of what stood between the spans, none fused, none broken."""
    data, bounds = b"", []
    for between, span in pieces:
        start = len(data) + len(between.encode())
        data += (between + span).encode()
        bounds.append((start, len(data)))
    wanted = [word for text in (*(between for between, _ in pieces), tail) for word in text.split()]
    assert cut_spans(data + tail.encode(), bounds).split() == wanted


@pytest.mark.parametrize(("start", "end"), [(1, 3), (0, 1), (0, 5), (2, 2), (-1, 2)])
@pytest.mark.parametrize("policy", ["mask", "trim"])
def test_spans_that_cut_characters_are_refused(start: int, end: int, policy: str) -> None:
    """A bound inside a character or behind the text is an error that names the document, and shows no text."""
    kept = pa.table({"doc_id": [7], "text": pa.array(["éé"], pa.large_string())})
    spans = pl.Series([[{"start": start, "end": end}]], dtype=SPAN)
    with pytest.raises(TableError, match=r"whole characters.*doc_id 7.*4 bytes") as caught:
        treat_texts(kept, spans, policy, Counter())
    assert "é" not in str(caught.value)


def test_only_texts_with_spans_are_touched() -> None:
    """Null and untouched texts come back as they were; counts are of rows and bytes."""
    kept = pa.table({"doc_id": [0, 1, 2], "text": pa.array([None, "one two", "two"], pa.large_string())})
    spans = pl.Series([[], [{"start": 4, "end": 7}], [{"start": 0, "end": 3}]], dtype=SPAN)
    totals: Counter[str] = Counter()
    assert treat_texts(kept, spans, "trim", totals)["text"].to_pylist() == [None, "one", ""]
    assert totals == {"rows_trimmed": 2, "bytes_trimmed": 7, "rows_emptied": 1}
    totals = Counter()
    assert treat_texts(kept, spans, "mask", totals).equals(kept)
    assert totals == {"rows_masked": 2, "bytes_masked": 6}
