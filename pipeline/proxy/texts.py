"""Which documents are read whole: those that teach the tokenizer its vocabulary, and one of each distinct text for the reference pass."""

from __future__ import annotations

import polars as pl

from pipeline.tables import Profiles

MAX_BYTES = 16 * 2**20
"""Text a vocabulary of a few thousand tokens is trained on: more costs time and moves only the rarest merges."""


def choose_tokenizer_documents(profiles: Profiles, max_bytes: int = MAX_BYTES) -> list[int]:
    """Return the doc_ids of distinct texts in order of content hash, which is as good as a draw, until `max_bytes` are reached."""
    distinct = profiles.sort("content_hash", "row_hash", "doc_id").unique("content_hash", keep="first", maintain_order=True)
    before = pl.col("num_bytes").cum_sum() - pl.col("num_bytes")
    return distinct.filter((before < max_bytes) & ~pl.col("is_empty"))["doc_id"].to_list()


def choose_texts(profile: pl.DataFrame) -> pl.DataFrame:
    """Return doc_id, content_hash, cluster_id of one document per distinct normalised text: the one with the smallest row_hash."""
    first = profile.sort("content_hash", "row_hash", "doc_id").unique("content_hash", keep="first", maintain_order=True)
    return first.select("doc_id", "content_hash", "cluster_id")
