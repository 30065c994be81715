"""How much of a text other texts say too: what a model can learn without it, it need not learn from it.

Every n-gram of the corpus is counted by the clusters that hold it. Memory is bounded by counting a share of all possible n-grams, chosen
by their hash and so the same for every text: the share is halved until what is held fits.
"""

from __future__ import annotations

import re

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline.risk.fuzzy import hash_word
from pipeline.tables import Clusters

GRAM = 3
MIN_GRAMS = 3
MAX_HELD = 1 << 23
"""Pairs of n-gram and document held at a time, 16 bytes each."""

_PIECE = re.compile(r"\w+|[^\w\s]")
Grams = NDArray[np.uint64]


def piece_grams(text: str) -> Grams:
    """Return the distinct hashed 3-grams of a text's words and punctuation marks, ascending; case counts, as it does for a tokenizer."""
    pieces = _PIECE.findall(text)
    if len(pieces) < GRAM:
        return np.empty(0, np.uint64)
    hashed = np.fromiter(map(hash_word, pieces), np.uint64, len(pieces))
    mixed = hashed[: 1 - GRAM]
    for place in range(1, GRAM):
        mixed = mixed * np.uint64(0x9E3779B97F4A7C15) + hashed[place : len(hashed) - GRAM + 1 + place]
        mixed = mixed ^ (mixed >> np.uint64(29))
    return np.unique(mixed)


class GramTally:
    """Collect which document holds which of the sampled n-grams; what is held at the end does not depend on the documents' order."""

    def __init__(self, max_held: int = MAX_HELD) -> None:
        self._max_held, self._bits, self._num_held = max_held, 0, 0
        self._grams: list[Grams] = []
        self._doc_ids: list[NDArray[np.int64]] = []

    @property
    def share(self) -> float:
        """Return the share of n-grams that is counted."""
        return 0.5**self._bits

    def add(self, doc_id: int, grams: Grams) -> None:
        """Note a document's n-grams."""
        self._keep(grams[self._is_sampled(grams)], doc_id)
        while self._num_held > self._max_held:
            self._bits += 1
            grams, doc_ids = self._held()
            sampled = self._is_sampled(grams)
            self._grams, self._doc_ids, self._num_held = [grams[sampled]], [doc_ids[sampled]], int(sampled.sum())

    def frame(self) -> pl.DataFrame:
        """Return the pairs held: doc_id, gram."""
        grams, doc_ids = self._held()
        return pl.DataFrame({"doc_id": doc_ids, "gram": grams}, schema={"doc_id": pl.Int64, "gram": pl.UInt64})

    def _keep(self, grams: Grams, doc_id: int) -> None:
        self._grams.append(grams)
        self._doc_ids.append(np.full(len(grams), doc_id, np.int64))
        self._num_held += len(grams)

    def _held(self) -> tuple[Grams, NDArray[np.int64]]:
        return np.concatenate([*self._grams, np.empty(0, np.uint64)]), np.concatenate([*self._doc_ids, np.empty(0, np.int64)])

    def _is_sampled(self, grams: Grams) -> NDArray[np.bool_]:
        # the low bits of a product are its worst mixed; the high ones decide
        return np.asarray(grams >> np.uint64(64 - self._bits) == 0) if self._bits else np.ones(len(grams), dtype=bool)


def commonness(grams: pl.DataFrame, clusters: Clusters) -> pl.DataFrame:
    """Return cluster_id and the mean, over a cluster's distinct n-grams, of log2 of the number of clusters that hold each.

    `grams`: the frame of `GramTally`. Unit: doublings; 0 where no other cluster shares a word. Direction: higher, less to memorize, for
    text of few copies. Clusters with fewer than three sampled n-grams are left out. Source: the n-gram commonness of the design's section
    3; "n-gram rarity" in Prashanth 2025, section 3.
    """
    held = grams.join(pl.DataFrame(clusters).select("doc_id", "cluster_id"), on="doc_id").select("cluster_id", "gram").unique()
    counted = held.with_columns(num_clusters=pl.len().over("gram").cast(pl.Float64))
    means = counted.group_by("cluster_id").agg(
        pl.len().alias("count"),
        # sums of equal numbers in another order could differ in the last bit
        pl.col("num_clusters").sort().log(2).mean().alias("commonness"),
    )
    return means.filter(pl.col("count") >= MIN_GRAMS).select("cluster_id", "commonness").sort("cluster_id")
