"""Which column is what."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from pipeline.config import InputConfig
from pipeline.corpus.columns import Columns, guess_columns
from pipeline.errors import InputError

STRING, DICTIONARY = pa.string(), pa.dictionary(pa.int8(), pa.string())


def guess(schema: dict[str, Any], **settings: str) -> Columns:
    return guess_columns(pa.schema(schema), InputConfig.model_validate({"paths": ("x",), **settings}))


@pytest.mark.parametrize(
    ("schema", "wanted"),
    [
        ({"text": STRING, "title": STRING, "id": pa.int64()}, Columns("text", "id", None)),
        ({"Content": pa.large_string(), "url": STRING}, Columns("Content", None, None)),
        ({"id": STRING, "source": STRING, "review": STRING}, Columns("review", "id", "source")),
        ({"review": STRING, "stars": pa.int8(), "id": pa.float64()}, Columns("review", None, None)),
        ({"text": pa.string_view(), "doc_id": STRING, "id": STRING}, Columns("text", "id", None)),
        ({"text": DICTIONARY, "content": pa.int8()}, Columns("text", None, None)),
    ],
)
def test_unambiguous_columns_are_guessed(schema: dict[str, Any], wanted: Columns) -> None:
    """One telling name, or one string column, is the text; id and source only by their names and types."""
    assert guess(schema) == wanted


def test_configured_columns_win() -> None:
    """What is configured is taken, and is no longer a candidate for anything else."""
    schema = {"text": STRING, "body": STRING, "id": STRING, "key": pa.uint8(), "domain": STRING}
    assert guess(schema, text_column="body", id_column="key", source_column="domain") == Columns("body", "key", "domain")


@pytest.mark.parametrize(
    ("schema", "settings", "message"),
    [
        (
            {"text": STRING, "body": STRING},
            {},
            r"several columns could be the text; wanted one; got text, body; what to do: set input.text_column to one",
        ),
        ({"a": STRING, "b": STRING}, {}, r"several columns could be the text; wanted one; got a, b"),
        (
            {"n": pa.int8()},
            {},
            r"no column holds text; wanted a column of strings; got columns n \(int8\); what to do: set input.text_column",
        ),
        ({}, {}, r"no column holds text; .* got columns none"),
        ({"txt": STRING}, {"text_column": "text"}, r"there is no column text; in input.text_column; got did you mean txt"),
        ({"a": STRING}, {"source_column": "zzz"}, r"there is no column zzz; in input.source_column; got available: a"),
        (
            {"text": pa.binary()},
            {"text_column": "text"},
            r"column text is not of strings; in input.text_column; wanted strings; got binary",
        ),
        ({"t": STRING, "x": pa.float64()}, {"id_column": "x"}, r"column x is not of strings or integers; in input.id_column"),
    ],
)
def test_what_cannot_be_guessed_is_explained(schema: dict[str, Any], settings: dict[str, str], message: str) -> None:
    """The message lists the candidates and the setting."""
    with pytest.raises(InputError, match=message):
        guess(schema, **settings)
