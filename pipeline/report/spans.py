"""Say which passages documents repeat word for word although they differ as wholes, how much text that is, and what was done about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from pipeline.config import DedupConfig
from pipeline.report.ledger import TIES, name, reached_policy
from pipeline.report.measures import share
from pipeline.tables import RepeatedSpans

MAX_SPANS = 20
"""Distinct spans in the table, so that one kind of boilerplate in many versions doesn't fill the page."""
WEIGHED = 20
"""Times as many spans are weighed for it: neighbouring pieces of one passage overlap, and only the most frequent of those is listed."""

COUNTS = ("rows_masked", "bytes_masked", "rows_trimmed", "bytes_trimmed", "rows_emptied")


def repeated_spans(
    spans: RepeatedSpans | None, ledger: pl.DataFrame, config: DedupConfig, treated: Mapping[str, Any] | None, num_shown: int
) -> dict[str, Any] | None:
    """Return what repeats, the spans in most documents and what the policy did; None if nobody looked.

    treated: what the release counted; None if it did not say. Shares are of the documents, and the bytes, that deduplication left. Text
    is counted once, however many spans hold it. Of the top spans the first `num_shown` name a document for their excerpt.
    """
    if spans is None:
        return None
    judged = reached_policy(ledger)
    num_bytes = _covered(spans)
    return {
        "min_words": config.min_span_words,
        "min_documents": config.min_span_documents,
        "policy": str(treated["policy"]) if treated else None,
        "num_spans": spans.height,
        "num_distinct": spans["span_hash"].n_unique(),
        "num_alone": spans.filter(pl.col("span_hash").is_unique()).height,
        "num_documents": spans["doc_id"].n_unique(),
        "share_of_documents": share(spans["doc_id"].n_unique(), judged.height),
        "num_bytes": num_bytes,
        "share_of_text": share(num_bytes, int(judged["num_bytes"].sum())),
        "treated": {key: int(treated[key]) if treated else None for key in COUNTS},
        "top": _top(spans, ledger, num_shown),
    }


def _covered(spans: RepeatedSpans) -> int:
    reached = pl.col("end").cum_max().shift(1, fill_value=0).over("doc_id")
    new = pl.col("end") - pl.max_horizontal("start", reached)
    return int(spans.sort("doc_id", "start").select(new.clip(lower_bound=0).sum()).item())


def _top(spans: RepeatedSpans, ledger: pl.DataFrame, num_shown: int) -> list[dict[str, Any]]:
    """List distinct spans by documents, then length; the document named is the first of those that hold it, by content hash."""
    ranked = (
        spans.group_by("span_hash")
        .agg(
            pl.col("num_documents", "num_occurrences", "num_words").max(),
            num_holders=pl.col("doc_id").n_unique(),
            num_places=pl.len(),
            num_bytes=(pl.col("end") - pl.col("start")).max(),
        )
        .sort(["num_documents", "num_holders", "num_bytes", "span_hash"], descending=[True, True, True, False])
        .head(MAX_SPANS * WEIGHED)
    )
    holders = spans.join(ranked.select("span_hash"), on="span_hash", how="semi").select("span_hash", "doc_id", "start", "end")
    named = holders.join(ledger.select("doc_id", "source", "source_id", *TIES), on="doc_id")
    first = named.sort(*TIES, "doc_id", "start").unique("span_hash", keep="first", maintain_order=True)
    placed = ranked.join(first, on="span_hash", how="left", maintain_order="left")
    counts = ("num_documents", "num_holders", "num_occurrences", "num_places", "num_words", "num_bytes", "doc_id", "start", "end")
    return [
        {
            "span_hash": row["span_hash"].hex(),
            **{key: int(row[key]) for key in counts},
            "source": name(row["source"]),
            "source_id": name(row["source_id"]),
            "content_hash": row["content_hash"].hex(),
            "is_shown": rank < num_shown,
        }
        for rank, row in enumerate(_apart(placed)[:MAX_SPANS])
    ]


def _apart(placed: pl.DataFrame) -> list[dict[str, Any]]:
    """Leave out spans that share text, in the document they are shown from, with one before them."""
    listed: list[dict[str, Any]] = []
    taken: dict[int, list[tuple[int, int]]] = {}
    for row in placed.iter_rows(named=True):
        others = taken.setdefault(row["doc_id"], [])
        if all(row["end"] <= start or end <= row["start"] for start, end in others):
            others.append((row["start"], row["end"]))
            listed.append(row)
    return listed
