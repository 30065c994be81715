"""Tests of `pipeline.proxy.target_samples`: the targets' text holds the proxies'."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import polars as pl
import pytest

from pipeline.config import ValidationConfig
from pipeline.proxy.target_samples import draw_target_samples, target_config


@pytest.mark.parametrize("max_tokens", [None, 9000, 1000])
def test_every_window_of_a_proxy_is_a_window_of_the_target(corpus: Any, max_tokens: int | None) -> None:
    """Without a limit all clusters are there whole; with one, the proxies' clusters and what else there is room for."""
    config = target_config(corpus.config, ValidationConfig(), 8)
    texts = dict(corpus.documents.select("doc_id", "text").iter_rows())

    def read(doc_ids: list[int]) -> Iterable[tuple[int, str]]:
        return ((doc_id, texts[doc_id]) for doc_id in doc_ids)

    inside = corpus.drawn.samples["cluster_id"].unique()
    drawn = draw_target_samples(corpus.documents.drop("text"), inside, read, corpus.tokenizer, config, max_tokens, 3).samples
    place = ["doc_id", "start", "tokens"]
    assert pl.DataFrame(corpus.drawn.samples).join(drawn.select(place), on=place, how="anti").is_empty()
    clusters = set(drawn["cluster_id"])
    assert clusters == set(corpus.documents["cluster_id"]) if max_tokens is None else clusters >= set(inside)
    if max_tokens == 1000:
        assert clusters == set(inside)
    copies = drawn.group_by("cluster_id").agg(pl.col("doc_id").n_unique())
    sizes = corpus.documents.group_by("cluster_id").len()
    assert copies.join(sizes, on="cluster_id").filter(pl.col("doc_id") != pl.col("len")).is_empty()
    assert config.ladder == (8,)
