"""Say of a run that was decided again from the tables of another: from which, by whose orders, and what became of each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from pipeline.report.excerpts import make_visible
from pipeline.report.ledger import name
from pipeline.tables import ACTIONS, Overruled

MAX_SHOWN = 200
NOTE = 300
"""Characters of a reviewer's note that the page shows; the table overruled.parquet has it whole."""

OUTCOMES = ("overruled", "confirmed", "superseded", "followed")
"""What an order came to: it changed the decision, said what was decided anyway, gave way to a later one, or took a copy along."""


@dataclass(frozen=True)
class Applied:
    """Hold what a decided-again run came from.

    files: `digest, reviewer, num_overrides` of each overrides file, in the order in which they hold. num_kept_copies: rows that stay
    although a person dropped a row of the same text.
    """

    parent: str
    files: Sequence[Mapping[str, Any]]
    overruled: Overruled
    num_kept_copies: int


def applied(inputs: Applied | None, ids: pl.DataFrame) -> dict[str, Any] | None:
    """Return parent, files, counts by action and outcome, and the first orders in full; None for a run of its own.

    ids: `doc_id, source, source_id, content_hash`.
    """
    if inputs is None:
        return None
    rows = inputs.overruled.with_columns(outcome=_outcome())
    tally = rows.group_by("outcome").len()
    counts = rows.filter(pl.col("outcome") == "overruled").group_by("former_action", "action").agg(rows=pl.len())
    return {
        "parent": inputs.parent,
        "files": [
            {"digest": str(file["digest"]), "reviewer": name(file["reviewer"]), "num_overrides": int(file["num_overrides"])}
            for file in inputs.files
        ],
        "counts": sorted(counts.to_dicts(), key=lambda row: (ACTIONS.index(row["former_action"]), ACTIONS.index(row["action"]))),
        "outcomes": {outcome: int(tally.filter(pl.col("outcome") == outcome)["len"].sum()) for outcome in OUTCOMES},
        "num_kept_copies": inputs.num_kept_copies,
        "rows": _shown(rows, ids),
    }


def on_applied(found: Mapping[str, Any] | None) -> list[str]:
    """Return in a sentence what persons overruled; nothing of a run of its own."""
    if found is None:
        return []
    told = f"Decided again from the tables of run {found['parent']}; nothing before the decisions was computed anew."
    if not found["files"]:
        return [told]
    changed = {action: sum(row["rows"] for row in found["counts"] if row["action"] == action) for action in ("keep", "review", "drop")}
    listed = ", ".join(f"{action} {rows:,}" for action, rows in changed.items() if rows) or "none"
    outcomes = found["outcomes"]
    more = f", confirmed {outcomes['confirmed']:,}" * bool(outcomes["confirmed"])
    more += f"; {outcomes['followed']:,} removed copies stay out with rows that were dropped" * bool(outcomes["followed"])
    return [f"{told} Persons overruled decisions: {listed}{more}."]


def _outcome() -> pl.Expr:
    return (
        pl.when(pl.col("followed_doc_id").is_not_null())
        .then(pl.lit("followed"))
        .when(pl.col("is_in_force").not_())
        .then(pl.lit("superseded"))
        .when(pl.col("action") == pl.col("former_action"))
        .then(pl.lit("confirmed"))
        .otherwise(pl.lit("overruled"))
    )


def _shown(rows: pl.DataFrame, ids: pl.DataFrame) -> list[dict[str, Any]]:
    """Return orders as the page lists them: what changed first, then by hash."""
    named = rows.join(ids.select("doc_id", "source", "source_id", "content_hash"), on="doc_id", how="left")
    place = pl.col("outcome").replace_strict({outcome: index for index, outcome in enumerate(OUTCOMES)}, return_dtype=pl.Int64)
    shown = named.sort(place, "content_hash", "source", "source_id", "doc_id", "number").head(MAX_SHOWN)
    return [
        {
            **{key: row[key] for key in ("doc_id", "former_action", "former_reason", "action", "outcome")},
            "source": name(row["source"]),
            "source_id": name(row["source_id"]),
            "content_hash": row["content_hash"].hex(),
            "reviewer": name(row["reviewer"]),
            "note": make_visible(row["note"], NOTE),
        }
        for row in shown.iter_rows(named=True)
    ]
