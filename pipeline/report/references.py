"""Say what was compared with beyond the corpus itself, and how many rows went for a copy there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from pipeline.report.ledger import name
from pipeline.tables import ReferenceDocuments, Removals


def references(
    corpora: Sequence[Mapping[str, Any]], documents: ReferenceDocuments | None, removals: Removals, ledger: pl.DataFrame
) -> list[dict[str, Any]]:
    """Return each reference in the order given, with the `rows` removed for a document of it: `exact` and `near`.

    corpora: `name, kind` (files or run), `digest`, `num_documents`. A row that copies several references counts under the one that it
    was removed for. ledger: `doc_id, fate`; a row that is empty anyway copies nothing.
    """
    counted: dict[tuple[str, str], int] = {}
    if documents is not None:
        went = removals.join(ledger.filter(pl.col("fate").is_in(["exact", "near"])).select("doc_id", "fate"), on="doc_id")
        found = went.join(documents.select("reference", kept_doc_id="doc_id"), on="kept_doc_id")
        counted = {(reference, fate): rows for reference, fate, rows in found.group_by("reference", "fate").len().iter_rows()}
    return [
        {
            "name": name(corpus["name"]),
            "kind": corpus["kind"],
            "digest": corpus["digest"],
            "num_documents": corpus["num_documents"],
            "rows": sum(counted.get((corpus["digest"], fate), 0) for fate in ("exact", "near")),
            **{fate: counted.get((corpus["digest"], fate), 0) for fate in ("exact", "near")},
        }
        for corpus in corpora
    ]
