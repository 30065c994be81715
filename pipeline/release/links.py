"""Say how each kept document hangs in its cluster: as representative, as a verified copy of another kept one, or by a chain alone.

Within a cluster the kept members are ranked by the removed documents they stand for, then by hash. The first is the representative;
each other one is looked at for a verified tie (equal text, or a duplicate pair) to one ranked before it. A member without such a tie is
there only because a chain of pairs leads to it: `transitive_only`, or `unverified` where nobody handed over the pairs.
"""

from __future__ import annotations

import polars as pl

from pipeline.tables import DuplicatePairs

TOTAL_ORDER = ("content_hash", "row_hash", "doc_id")  # doc_id only parts equal rows, which are interchangeable


def with_links(rows: pl.DataFrame, duplicate_pairs: DuplicatePairs | None) -> pl.DataFrame:
    """Add `stands_for` (removed documents that name this one) and `link` to rows in TOTAL_ORDER.

    rows: `doc_id, content_hash, row_hash, cluster_id, cluster_size, is_kept, kept_doc_id`. Link is `none` for removed documents and for
    those alone in their cluster.
    """
    stands_for = rows.drop_nulls("kept_doc_id").group_by("kept_doc_id").agg(stands_for=pl.len().cast(pl.Int64))
    rows = rows.join(stands_for, left_on="doc_id", right_on="kept_doc_id", how="left").with_columns(pl.col("stands_for").fill_null(0))
    kept = (
        rows.filter(pl.col("is_kept") & (pl.col("cluster_size") > 1))
        .sort([pl.col("stands_for").neg(), *TOTAL_ORDER])
        .with_row_index("rank")
        .with_columns(is_first=pl.col("rank") == pl.col("rank").min().over("cluster_id"))
        .with_columns(first_of_text=pl.col("rank").min().over("content_hash"))
    )
    linked = kept.filter(pl.col("rank") > pl.col("first_of_text"))["doc_id"].to_list()
    if duplicate_pairs is not None:
        linked += _linked_by_pairs(rows, kept, duplicate_pairs)
    unlinked = "unverified" if duplicate_pairs is None else "transitive_only"
    links = kept.select(
        "doc_id",
        link=pl.when("is_first")
        .then(pl.lit("representative"))
        .when(pl.col("doc_id").is_in(linked))
        .then(pl.lit("verified_copy"))
        .otherwise(pl.lit(unlinked)),
    )
    return rows.join(links, on="doc_id", how="left").with_columns(pl.col("link").fill_null("none")).sort(TOTAL_ORDER)


def _linked_by_pairs(rows: pl.DataFrame, kept: pl.DataFrame, duplicate_pairs: DuplicatePairs) -> list[int]:
    """List kept documents with a verified pair to a kept one ranked before; pairs count between texts, since equal texts share them."""
    text_of = rows.select("doc_id", "content_hash")
    texts = duplicate_pairs.join(text_of, left_on="doc_id_a", right_on="doc_id").join(
        text_of, left_on="doc_id_b", right_on="doc_id", suffix="_b"
    )
    one_way = texts.select("content_hash", other="content_hash_b")
    both_ways = pl.concat([one_way, one_way.select(content_hash="other", other="content_hash")])
    first = kept.group_by("content_hash").agg(first_of_other=pl.col("rank").min()).rename({"content_hash": "other"})
    pairs = kept.select("doc_id", "rank", "content_hash").join(both_ways, on="content_hash").join(first, on="other")
    return pairs.filter(pl.col("first_of_other") < pl.col("rank"))["doc_id"].unique(maintain_order=True).to_list()
