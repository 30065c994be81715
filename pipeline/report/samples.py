"""Pick the rows that a person should look at, each once, and say why each was picked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from pipeline.report.ledger import TIES, describe_rows, name, reached_policy
from pipeline.report.measures import tidy
from pipeline.tables import ReferenceDocuments, Removals

SHARES = {"review": 0.1, "sink": 0.35, "undecided": 0.25, "near_copy": 0.1, "cluster": 0.15, "span": 0.05}
"""Why a row is shown, in the order of the page, and the part of all rows shown that each ground may fill before others are asked."""

MAX_NAMED = 3
"""Sources of a cluster that are named; the rest are counted."""


LAST = (*TIES, "doc_id")


def samples(
    ledger: pl.DataFrame,
    removals: Removals,
    repeated: Mapping[str, Any] | None,
    reference_documents: ReferenceDocuments | None,
    threshold: float,
    max_rows: int,
) -> list[dict[str, Any]]:
    """Return at most `max_rows` rows: `flags` (the grounds of `SHARES` that hold), the copy kept instead, and the row's cluster.

    review: the predictor abstained. sink: the highest scores, one row a cluster. undecided: the score's interval holds the threshold,
    nearest first. near_copy: removed for a kept row, least alike first. cluster: a row of each of the largest clusters, a kept one if
    there is any. span: the first document of the most frequent repeated spans. Room that one ground leaves goes to undecided rows.
    """
    near = removals.filter(pl.col("reason") == "near_duplicate").select("doc_id", "jaccard")
    ranked = _ranked(ledger, near, repeated, threshold, max_rows)
    grounds = _chosen(ranked, max_rows)
    rows = pl.DataFrame({"doc_id": list(grounds)}, schema={"doc_id": pl.Int64}).join(ledger, on="doc_id", maintain_order="left")
    rows = rows.join(near, on="doc_id", how="left", maintain_order="left")
    kept, clusters = _kept(rows, ledger, reference_documents), _clusters(rows, ledger)
    return [
        {
            **described,
            "flags": [flag for flag in SHARES if flag in grounds[described["doc_id"]]],
            "jaccard": tidy(jaccard),
            "kept": kept.get(described["kept_doc_id"]),
            **clusters[described["cluster_id"]],
        }
        for described, jaccard in zip(describe_rows(rows), rows["jaccard"], strict=True)
    ]


def is_undecided(threshold: float) -> pl.Expr:
    """Return whether the interval of a row's score holds the threshold."""
    return (pl.col("sink_score_low") < threshold) & (pl.col("sink_score_high") >= threshold)


def _ranked(
    ledger: pl.DataFrame, near: pl.DataFrame, repeated: Mapping[str, Any] | None, threshold: float, max_rows: int
) -> dict[str, list[int]]:
    """Return for each ground the documents it holds for, those first that need a look most."""
    judged = reached_policy(ledger).filter(pl.col("sink_score").is_not_null())
    score = -pl.col("sink_score")
    best = _least(judged.group_by("cluster_id").agg(pl.col("sink_score").max()), score, max_rows)
    highest = judged.join(best.select("cluster_id"), on="cluster_id", how="semi")
    size = _least(ledger.filter(pl.col("cluster_size") > 1).unique("cluster_id"), -pl.col("cluster_size"), max_rows)
    largest = ledger.join(size.select("cluster_id"), on="cluster_id", how="semi").sort(pl.col("fate") != "kept", *LAST)
    distance = (pl.col("sink_score") - threshold).abs().round(6)
    found = {
        "review": _least(judged.filter(pl.col("action") == "review"), score, max_rows).sort(score, *LAST),
        "sink": highest.sort(score, *LAST).unique("cluster_id", keep="first", maintain_order=True),
        "undecided": _least(judged.filter(is_undecided(threshold)), distance, max_rows).sort(distance, *LAST),
        "near_copy": ledger.filter(pl.col("fate") == "near").join(near, on="doc_id").sort("jaccard", *LAST),
        "cluster": largest.unique("cluster_id", keep="first", maintain_order=True).sort(-pl.col("cluster_size"), "cluster_id"),
    }
    spans = [] if repeated is None else [span["doc_id"] for span in repeated["top"]]
    return {ground: frame["doc_id"].head(max_rows).to_list() for ground, frame in found.items()} | {"span": list(dict.fromkeys(spans))}


def _least(rows: pl.DataFrame, key: pl.Expr, limit: int) -> pl.DataFrame:
    """Return the rows whose key is among the `limit` least, ties included: what is left can be sorted at leisure."""
    cut = rows.select(key.alias("key"))["key"].bottom_k(limit).max()
    return rows.filter(key <= cut) if cut is not None else rows


def _chosen(ranked: Mapping[str, list[int]], max_rows: int) -> dict[int, set[str]]:
    """Return the documents shown, in order, each with every ground that it was ranked for within that ground's part."""
    parts = {ground: docs[: int(max_rows * SHARES[ground])] for ground, docs in ranked.items()}
    picked = list(dict.fromkeys(doc for ground in SHARES for doc in parts[ground]))
    for ground in ("undecided", "sink"):
        more = [doc for doc in ranked[ground] if doc not in set(picked)][: max_rows - len(picked)]
        parts[ground] = parts[ground] + more
        picked += more
    held = parts | {ground: ranked[ground] for ground in ("review", "undecided")}
    grounds = {doc: {ground for ground in SHARES if doc in set(held[ground])} for doc in picked}
    return dict(sorted(grounds.items(), key=lambda item: _place(item[0], item[1], ranked)))


def _place(doc: int, grounds: set[str], ranked: Mapping[str, list[int]]) -> tuple[int, int]:
    first = next(ground for ground in SHARES if ground in grounds)
    return list(SHARES).index(first), ranked[first].index(doc)


def _kept(rows: pl.DataFrame, ledger: pl.DataFrame, reference_documents: ReferenceDocuments | None) -> dict[int, dict[str, Any]]:
    """Return the copies that stay in place of the rows, which may be documents of a reference."""
    wanted = rows.select(doc_id="kept_doc_id").drop_nulls().unique()
    columns = ["doc_id", "source", "source_id", "content_hash"]
    found = ledger.join(wanted, on="doc_id", how="semi").select(*columns, "row_hash")
    if reference_documents is not None:
        others = reference_documents.join(wanted, on="doc_id", how="semi").select(*columns, row_hash=pl.lit(None, pl.Binary))
        found = pl.concat([found, others], how="vertical_relaxed")
    return {
        row["doc_id"]: {
            "doc_id": row["doc_id"],
            "source": name(row["source"]),
            "source_id": name(row["source_id"]),
            "content_hash": row["content_hash"].hex(),
            "row_hash": row["row_hash"].hex() if row["row_hash"] else None,
        }
        for row in found.iter_rows(named=True)
    }


def _clusters(rows: pl.DataFrame, ledger: pl.DataFrame) -> dict[str | None, dict[str, Any]]:
    """Return of each cluster shown how many rows went as copies, and which sources it spans."""
    members = ledger.join(rows.select("cluster_id").unique(), on="cluster_id", how="semi")
    counted = members.group_by("cluster_id").agg(
        num_removed=pl.col("fate").is_in(["exact", "near"]).sum(),
        sources=pl.col("source").unique().sort().head(MAX_NAMED),
        num_sources=pl.col("source").n_unique(),
    )
    return {
        row["cluster_id"].hex(): {
            "num_removed": row["num_removed"],
            "sources": [name(source) for source in row["sources"]],
            "num_sources": row["num_sources"],
        }
        for row in counted.iter_rows(named=True)
    }
