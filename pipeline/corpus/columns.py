"""Which columns hold the text, the id and the source: configured, or guessed where there is nothing to choose."""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import pyarrow as pa

from pipeline.config import InputConfig
from pipeline.errors import InputError

TEXT_NAMES = ("text", "content", "body", "document", "raw_content", "passage", "article")
ID_NAMES = ("id", "doc_id", "document_id", "docid", "_id", "uuid", "guid", "key")
SOURCE_NAMES = ("source",)


@dataclass(frozen=True)
class Columns:
    """Name the text, id and source columns; None where documents are named by file and row, sources by file."""

    text: str
    id: str | None
    source: str | None


def guess_columns(schema: pa.Schema, config: InputConfig) -> Columns:
    """Return the configured columns, guessing those left open.

    The text is the one string column with a name such as text, content, body; else the only string column that is neither id nor
    source. An id is a column of strings or integers called id, doc_id, ... (the first of that list), the source one called source.

    Raises: InputError listing the candidates when the text column is not unambiguous, a configured one is missing or of another type.
    """
    id_column = _configured(schema, "id_column", config.id_column) or _first(schema, ID_NAMES, with_integers=True)
    source = _configured(schema, "source_column", config.source_column) or _first(schema, SOURCE_NAMES)
    text = _configured(schema, "text_column", config.text_column) or _guess_text(schema, {id_column, source})
    return Columns(text, id_column, source)


def _configured(schema: pa.Schema, setting: str, name: str | None) -> str | None:
    if name is None:
        return None
    if name not in schema.names:
        near = difflib.get_close_matches(name, schema.names, n=1)
        hint = f"did you mean {near[0]}" if near else f"available: {', '.join(schema.names)}"
        raise InputError(f"there is no column {name}", where=f"input.{setting}", got=hint, do=f"set input.{setting} to one of the columns")
    kind = schema.field(name).type
    if not (_is_string(kind) or (setting != "text_column" and pa.types.is_integer(kind))):
        wanted = "strings" if setting == "text_column" else "strings or integers"
        raise InputError(f"column {name} is not of {wanted}", where=f"input.{setting}", wanted=wanted, got=str(kind), do="name another")
    return name


def _first(schema: pa.Schema, names: tuple[str, ...], *, with_integers: bool = False) -> str | None:
    for wanted in names:
        for field in schema:
            if field.name.lower() == wanted and (_is_string(field.type) or (with_integers and pa.types.is_integer(field.type))):
                return str(field.name)
    return None


def _guess_text(schema: pa.Schema, taken: set[str | None]) -> str:
    strings = [field.name for field in schema if _is_string(field.type) and field.name not in taken]
    named = [name for name in strings if name.lower() in TEXT_NAMES]
    for candidates in (named, strings):
        if len(candidates) == 1:
            return str(candidates[0])
    do = "set input.text_column"
    if not strings:
        columns = ", ".join(f"{field.name} ({field.type})" for field in schema) or "none"
        raise InputError("no column holds text", wanted="a column of strings", got=f"columns {columns}", do=do)
    raise InputError("several columns could be the text", wanted="one", got=", ".join(named or strings), do=f"{do} to one of them")


def _is_string(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _is_string(kind.value_type)
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))
