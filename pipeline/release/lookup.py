"""Find the document that a person means: by the user's own source_id, or by doc_id."""

from __future__ import annotations

from collections.abc import Iterable

import polars as pl

from pipeline.errors import InputError

PREFIX = "doc_id:"
MAX_CHOICES = 10


def find_document(doc: int | str, names: Iterable[pl.DataFrame]) -> int:
    """Return the doc_id that is meant; `names` has `doc_id, source, source_id` of every document, in any number of parts.

    A number is a doc_id. Text is a source_id if there is one like it, else a doc_id, with or without `doc_id:` before it: so a document
    whose doc_id is somebody's source_id can be named too.

    Raises: InputError when no document is meant, or several, which are then listed.
    """
    wanted, matches, is_there, num_rows = _as_doc_id(doc), [], False, 0
    for part in names:
        num_rows += part.height
        if isinstance(doc, str):
            matches += part.filter(pl.col("source_id") == doc).select("doc_id", "source").rows()
        is_there = is_there or (wanted is not None and (part["doc_id"] == wanted).any())
    if len(matches) > 1:
        listed = ", ".join(f"{PREFIX}{doc_id} of {source!r}" for doc_id, source in sorted(matches)[:MAX_CHOICES])
        listed += f" and {len(matches) - MAX_CHOICES} more" if len(matches) > MAX_CHOICES else ""
        raise InputError(f"{len(matches)} documents have this source_id", where=str(doc), do=f"name one of {listed}")
    if matches:
        return int(matches[0][0])
    if wanted is not None and is_there:
        return wanted
    raise InputError(
        "no document has this id",
        where=str(doc),
        wanted=f"a source_id, or a doc_id among {num_rows} documents",
        do="look it up in decisions.parquet",
    )


def _as_doc_id(doc: int | str) -> int | None:
    if isinstance(doc, str):
        digits = doc.removeprefix(PREFIX)
        if not (digits.isascii() and digits.isdecimal()):
            return None
        doc = int(digits)
    return doc if 0 <= doc < 2**63 else None
