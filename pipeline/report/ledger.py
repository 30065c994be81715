"""Join what every stage said about a document into one row, and say where each row left the corpus."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from pipeline.report.excerpts import make_visible
from pipeline.report.measures import interval, tidy
from pipeline.tables import Clusters, Decisions, SinkScores

FATES = ("empty", "exact", "near", "sink", "other", "kept")
"""Where a row ended, in the order the flow tells it."""

_FATE_OF_REASON = {
    "empty": "empty",
    "exact_duplicate": "exact",
    "near_duplicate": "near",
    "sink_risk": "sink",
    "outside_support": "sink",
}
LABEL = 80
"""Characters of a name from the corpus (a source, an id) that the page shows."""

TIES = ("content_hash", "row_hash")
"""Columns that settle ties; rows equal in both are interchangeable, and only then may an id pick one of them."""


def join_ledger(ids: pl.DataFrame, clusters: Clusters, scores: SinkScores, decisions: Decisions, hold_review: bool) -> pl.DataFrame:
    """Return one row per document: identity, size, cluster, scores, decision and `fate`.

    Scores are null for documents that no score was made for.
    """
    columns = ["doc_id", "source", "source_id", "content_hash", "row_hash", "num_bytes", "num_tokens"]
    return (
        ids.select(columns)
        .join(clusters.select("doc_id", "cluster_id", "cluster_size"), on="doc_id", how="left")
        .join(scores.drop("cluster_id").rename({"reason": "why"}), on="doc_id", how="left")
        .join(decisions, on="doc_id", how="left")
        .with_columns(fate=fate(hold_review))
    )


def with_tokens(ids: pl.DataFrame, rate: float | None) -> tuple[pl.DataFrame, str]:
    """Return ids with `num_tokens` for every document, and how they are known: counted, estimated or unknown (all null).

    What is not counted is estimated from bytes, at the rate of those that are, else at `rate` (tokens per byte).
    """
    known = ids.filter(pl.col("num_tokens").is_not_null()) if "num_tokens" in ids.columns else ids.clear()
    if known.height == ids.height and ids.height:
        return ids.with_columns(pl.col("num_tokens").cast(pl.Float64)), "counted"
    if known.height and int(known["num_bytes"].sum()):
        rate = int(known["num_tokens"].sum()) / int(known["num_bytes"].sum())
    counted = pl.col("num_tokens").cast(pl.Float64) if "num_tokens" in ids.columns else pl.lit(None, dtype=pl.Float64)
    if rate is None:
        return ids.with_columns(num_tokens=counted), "unknown"
    return ids.with_columns(num_tokens=pl.coalesce(counted, pl.col("num_bytes") * rate)), "estimated"


def fate(hold_review: bool) -> pl.Expr:
    """Return where a row ended: `kept`, or the reason's station if its action takes it out of the filtered data."""
    leaves = pl.col("action") == "drop"
    if hold_review:
        leaves = leaves | (pl.col("action") == "review")
    station = pl.col("reason").replace_strict(_FATE_OF_REASON, default="other", return_dtype=pl.String)
    return pl.when(leaves).then(station).otherwise(pl.lit("kept"))


def reached_policy(ledger: pl.DataFrame) -> pl.DataFrame:
    """Return the rows that deduplication left for the sink policy to judge."""
    return ledger.filter(~pl.col("fate").is_in(["empty", "exact", "near"]))


def describe_rows(rows: pl.DataFrame) -> list[dict[str, Any]]:
    """Return documents as the JSON rows that tables on the page show; names from the corpus with nothing hidden in them."""
    return [_describe(row) for row in rows.iter_rows(named=True)]


def _describe(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "doc_id": row["doc_id"],
        "source": name(row["source"]),
        "source_id": name(row["source_id"]),
        "content_hash": row["content_hash"].hex(),
        "row_hash": row["row_hash"].hex(),
        "cluster_id": row["cluster_id"].hex() if row["cluster_id"] else None,
        "cluster_size": row["cluster_size"],
        "num_bytes": row["num_bytes"],
        "score": interval({"value": row["sink_score"], "low": row["sink_score_low"], "high": row["sink_score_high"]}),
        "gain": interval({"value": row["predicted_gain"], "low": row["predicted_gain_low"], "high": row["predicted_gain_high"]}),
        "sink_class": row["sink_class"],
        "is_supported": row["is_supported"],
        "why": make_visible(row["why"] or "", 300),
        "action": row["action"],
        "weight": tidy(row["weight"]),
        "reason": row["reason"],
        "kept_doc_id": row["kept_doc_id"],
        "evidence": make_visible(row["evidence"] or "", 500),
    }


def name(text: str | None) -> str:
    """Return a name from the corpus as the page shows it."""
    return make_visible(text or "", LABEL) or "(unnamed)"
