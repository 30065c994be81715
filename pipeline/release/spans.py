"""Choose which occurrences of repeated spans a release acts on: all but those in one document, and of these all but the first.

A span should be learnt at most once. Of all released documents that hold it, the first in the total order content_hash, row_hash keeps
it; everywhere else it acts, and so does in the first document any further occurrence of an equal span. Documents that are not released
hold nothing back: if the only other holder is dropped, the span stays where it is.

Documents are compared by `holders`, which names the set of documents that hold every window of a span: so what is decided holds for each
window, wherever it stands and however long the spans around it are. Where two spans of one document overlap and one acts, the whole of
it acts: what is left of the other stays, the text that acts is in an earlier document. So no text is lost, and after masking or trimming
no window of `min_span_words` words is left in two released documents, but for words that a cut brought together.

A document that is exempt, because a person ordered that it be kept as it is, holds its spans before all others and loses none.
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
    "holders": pl.UInt64,
    "num_documents": pl.Int64,
    "kept_doc_id": pl.Int64,  # where the first occurrence stays
    "is_first": pl.Boolean,
}
"""Columns of the spans in released documents."""


def place_spans(spans: RepeatedSpans, holders: pl.DataFrame) -> pl.DataFrame:
    """Return the spans of the holders, columns as in `PLACED`, by doc_id and start: where each one's first occurrence is.

    holders: `doc_id, content_hash, row_hash` of the documents that are released, each once, and `is_exempt` if one of them may be.
    """
    is_exempt = pl.col("is_exempt") if "is_exempt" in holders.columns else pl.lit(False)
    known = holders.select(*TOTAL_ORDER, is_exempt=is_exempt)
    held = spans.join(known, on="doc_id").sort(pl.col("is_exempt").not_(), *TOTAL_ORDER, "start")
    named = held.with_columns(kept_doc_id=pl.col("doc_id").first().over("holders"))
    is_first = ((pl.col("doc_id") == pl.col("kept_doc_id")) & pl.col("span_hash").is_first_distinct()) | pl.col("is_exempt")
    return named.with_columns(is_first=is_first).select(*PLACED).sort("doc_id", "start")


def treated_spans(placed: pl.DataFrame) -> pl.DataFrame:
    """Return `doc_id, start, end` of the text to mask or trim: all that acts, disjoint, not even touching, in order."""
    acting = placed.filter(pl.col("is_first").not_()).sort("doc_id", "start", "end")
    reached = pl.col("end").cum_max().shift(1, fill_value=-1).over("doc_id")
    joined = acting.with_columns(run=(pl.col("start") > reached).cum_sum())
    return joined.group_by("doc_id", "run", maintain_order=True).agg(pl.col("start").min(), pl.col("end").max()).drop("run")


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
