"""Naming a document: by the user's id, by ours, and what is said when that names none or several."""

from __future__ import annotations

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.release.lookup import find_document

IDS = st.lists(st.sampled_from(["a", "b", "0", "1", "2", "doc_id:1", "-1", "²"]), max_size=8)


def _parts(source_ids: list[str], rows_per_part: int = 3) -> list[pl.DataFrame]:
    rows = [(doc_id, "web", source_id) for doc_id, source_id in enumerate(source_ids)]
    frame = pl.DataFrame(rows, schema={"doc_id": pl.Int64, "source": pl.String, "source_id": pl.String}, orient="row")
    return [frame[start : start + rows_per_part] for start in range(0, max(1, len(rows)), rows_per_part)]


@settings(max_examples=60, deadline=None)
@given(source_ids=IDS, data=st.data())
def test_every_document_can_be_named(source_ids: list[str], data: st.DataObject) -> None:
    """By its source_id if that is its own alone, by its number always, and as text whenever the text is nobody's source_id."""
    for doc_id, source_id in enumerate(source_ids):
        parts = _parts(source_ids, data.draw(st.integers(1, 4)))
        assert find_document(doc_id, parts) == doc_id
        if source_ids.count(source_id) == 1:
            assert find_document(source_id, parts) == doc_id
        for name in (str(doc_id), f"doc_id:{doc_id}"):
            if name not in source_ids:
                assert find_document(name, parts) == doc_id


def test_an_ambiguous_id_lists_the_choices() -> None:
    """Ten of them with their sources, in a form that works, and how many more there are."""
    with pytest.raises(InputError, match=r"12 documents have this source_id; in a; .*name one of doc_id:0 of 'web', .* and 2 more"):
        find_document("a", _parts(["a"] * 12))


@pytest.mark.parametrize("doc", ["x", "3", "doc_id:3", "-1", -1, 3, 2**70, str(2**70), "²", ""])
def test_an_unknown_id_is_refused(doc: int | str) -> None:
    """The message says what would do and where to look."""
    with pytest.raises(InputError, match=r"no document has this id; .*among 3 documents.*decisions\.parquet"):
        find_document(doc, _parts(["a", "b", "c"]))
