"""Follow the rows through the audit: in, what each step took, out; in total and by source."""

from __future__ import annotations

from typing import Any

import polars as pl

from pipeline.report.ledger import FATES, name
from pipeline.report.measures import share

MAX_SOURCES = 40
"""Sources that get a line of their own, largest first; the rest share one, so that columns still add up."""

STEPS = {
    "in": "Rows in",
    "empty": "Empty text",
    "exact": "Exact copies",
    "near": "Near copies",
    "sink": "Sink policy",
    "other": "Other reasons",
    "kept": "Rows out",
}


def flow(ledger: pl.DataFrame, basis: str) -> dict[str, Any]:
    """Return rows, bytes and tokens at every step, and the same by source; `basis` says how tokens are known."""
    sums = (
        ledger.group_by("source", "fate")
        .agg(rows=pl.len(), bytes=pl.col("num_bytes").sum(), tokens=pl.col("num_tokens").sum())
        .sort("source", "fate")
    )
    return {
        "steps": [_step(step, sums, basis) for step in STEPS],
        "tokens_basis": basis,
        "by_source": _by_source(sums),
        "num_sources": sums["source"].n_unique(),
    }


def _step(step: str, sums: pl.DataFrame, basis: str) -> dict[str, Any]:
    part = sums if step == "in" else sums.filter(pl.col("fate") == step)
    return {
        "step": step,
        "label": STEPS[step],
        "rows": int(part["rows"].sum()),
        "bytes": int(part["bytes"].sum()),
        "tokens": None if basis == "unknown" else round(part["tokens"].sum()),
        "share": share(int(part["rows"].sum()), int(sums["rows"].sum())),
    }


def _by_source(sums: pl.DataFrame) -> list[dict[str, Any]]:
    wide = sums.group_by("source").agg(
        pl.col("rows").sum().alias("in"),
        pl.col("bytes").sum().alias("bytes_in"),
        pl.col("bytes").filter(pl.col("fate") == "kept").sum().alias("bytes_out"),
        *(pl.col("rows").filter(pl.col("fate") == station).sum().alias(station) for station in FATES),
    )
    ordered = wide.sort(["in", "source"], descending=[True, False])
    rows = [_source_row(row) for row in ordered.head(MAX_SOURCES).iter_rows(named=True)]
    rest = ordered.slice(MAX_SOURCES)
    if rest.height:
        summed = rest.drop("source").sum().row(0, named=True)
        rows.append(_source_row({"source": f"({rest.height} smaller sources)", **summed}))
    return rows


def _source_row(row: dict[str, Any]) -> dict[str, Any]:
    counts = {key: int(value) for key, value in row.items() if key != "source"}
    copies = counts["exact"] + counts["near"]
    return {"source": name(row["source"]), **counts, "copies": copies, "share_kept": share(counts["kept"], counts["in"])}
