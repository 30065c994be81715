"""Choose which occurrences of repeated spans a release acts on: all but the first of each.

A span should be learnt at most once. Of all released occurrences of one `span_hash`, in the total order content_hash, row_hash, start,
the first stays whole, under `mask` and under `trim` alike; every other one acts, also a further one in the document of the first.
Documents that are not released hold nothing back: if the only other holder is dropped, the span stays where it is.

What is decided is decided per `span_hash`. Maximal spans of different documents may overlap only partly: a span whose text is part of a
longer one elsewhere is another span, with a first occurrence of its own, so its text can stay once in each. Where two spans of one
document overlap and one of them stays, the other acts on what is left of it.
"""

from __future__ import annotations

import polars as pl

from pipeline.errors import TableError
from pipeline.release.links import TOTAL_ORDER
from pipeline.tables import RepeatedSpans

PLACED = {
    "doc_id": pl.Int64,
    "start": pl.Int64,
    "end": pl.Int64,
    "span_hash": pl.Binary,
    "num_documents": pl.Int64,
    "kept_doc_id": pl.Int64,  # where the first occurrence stays
    "is_first": pl.Boolean,
}
"""Columns of the spans in released documents."""


def place_spans(spans: RepeatedSpans, holders: pl.DataFrame) -> pl.DataFrame:
    """Return the spans of the holders, columns as in `PLACED`, by doc_id and start: where each one's first occurrence is.

    holders: `doc_id, content_hash, row_hash` of the documents that are released, each once.
    """
    held = spans.join(holders.select(TOTAL_ORDER), on="doc_id").sort(*TOTAL_ORDER, "start")
    named = held.with_columns(kept_doc_id=pl.col("doc_id").first().over("span_hash"), is_first=pl.col("span_hash").is_first_distinct())
    return named.select(*PLACED).sort("doc_id", "start")


def treated_spans(placed: pl.DataFrame) -> pl.DataFrame:
    """Return `doc_id, start, end` of the text to mask or trim: what acts less what stays, disjoint, not even touching, in order."""
    weight = pl.when("is_first").then(pl.lit(0)).otherwise(pl.lit(1))
    bounds = [
        placed.select("doc_id", at=place, acting=sign * weight, staying=sign * (1 - weight)) for place, sign in (("start", 1), ("end", -1))
    ]
    swept = pl.concat(bounds).group_by("doc_id", "at").sum().sort("doc_id", "at")
    depth = swept.with_columns(pl.col("acting", "staying").cum_sum().over("doc_id"))
    state = depth.select("doc_id", "at", is_treated=(pl.col("acting") > 0) & (pl.col("staying") == 0))
    turns = state.filter(pl.col("is_treated") != pl.col("is_treated").shift(1, fill_value=False).over("doc_id"))
    # treated and untreated turns alternate, and no document ends treated
    ends = turns.with_columns(end=pl.col("at").shift(-1))
    return ends.filter("is_treated").select("doc_id", "end", start="at").select("doc_id", "start", "end")


def with_spans(rows: pl.DataFrame, spans: RepeatedSpans | None, is_released: pl.Expr) -> pl.DataFrame:
    """Add what of each document's text acts: `span_count`, `span_bytes`, `span_share` of its bytes, `span_max_documents`; 0 if nothing.

    rows: `doc_id, content_hash, row_hash, num_bytes` and what `is_released` reads. No spans at all: nothing acts.

    Raises: TableError when spans belong to unknown documents or lie outside a text.
    """
    if spans is None:
        spans_none = {"span_count": 0, "span_bytes": 0, "span_share": 0.0, "span_max_documents": 0}
        return rows.with_columns(**{name: pl.lit(zero) for name, zero in spans_none.items()})
    _refuse_foreign_spans(rows, spans)
    placed = place_spans(spans, rows.filter(is_released))
    treated = treated_spans(placed).group_by("doc_id").agg(span_bytes=(pl.col("end") - pl.col("start")).sum())
    acting = placed.filter(pl.col("is_first").not_()).group_by("doc_id")
    counted = acting.agg(span_count=pl.len().cast(pl.Int64), span_max_documents=pl.col("num_documents").max())
    joined = rows.join(counted.join(treated, on="doc_id"), on="doc_id", how="left", maintain_order="left")
    return joined.with_columns(
        pl.col("span_count", "span_bytes", "span_max_documents").fill_null(0),
        span_share=(pl.col("span_bytes") / pl.col("num_bytes")).fill_null(0.0),
    )


def _refuse_foreign_spans(rows: pl.DataFrame, spans: RepeatedSpans) -> None:
    sized = spans.join(rows.select("doc_id", "num_bytes"), on="doc_id", how="left")
    is_inside = (pl.col("start") >= 0) & (pl.col("start") < pl.col("end")) & (pl.col("end") <= pl.col("num_bytes"))
    outside = sized.filter(is_inside.fill_null(False).not_())
    if outside.height:
        first = outside.row(0, named=True)
        raise TableError(
            f"{outside.height} repeated span(s) lie outside their document's text",
            where=f"table repeated_spans, doc_id {first['doc_id']}",
            wanted=f"0 <= start < end <= {first['num_bytes']}" if first["num_bytes"] is not None else "a document of this run",
            got=f"{first['start']} to {first['end']}",
        )
