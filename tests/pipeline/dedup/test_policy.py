"""Keep policy: the order in which copies are worth keeping."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pipeline import store
from pipeline.config import DedupConfig
from pipeline.dedup.policy import order_members, read_members
from pipeline.errors import ConfigError
from pipeline.tables import CLUSTERS, Documents

Make = Callable[..., Documents]


def order(documents: Documents, folder: Path, **settings: Any) -> list[int]:
    config = DedupConfig(**settings)
    size = documents.num_rows
    clusters = CLUSTERS.check(
        pl.DataFrame({"doc_id": range(size), "cluster_id": pl.Series([b"c" * 16] * size, dtype=pl.Binary), "cluster_size": [size] * size})
    )
    artifact = store.publish_frame("documents", str(folder), documents)
    return order_members(read_members(artifact, clusters, config), config)["doc_id"].to_list()


def test_each_rule_puts_its_best_first(make_documents: Make, tmp_path: Path) -> None:
    """Sources as listed and then the rest, longest, shortest, highest quality and earliest; null is last."""
    documents = make_documents(
        ["aa", "aaaa", "a", "aaa"], sources=["x", "y", "z", "y"], score=[2.0, None, 9.0, float("nan")], day=["2021", "2020", None, "2019"]
    )
    assert order(documents, tmp_path, keep=("longest",)) == [1, 3, 0, 2]
    assert order(documents, tmp_path, keep=("shortest",)) == [2, 0, 3, 1]
    assert order(documents, tmp_path, keep=("quality", "longest"), quality_column="score") == [2, 0, 1, 3]
    assert order(documents, tmp_path, keep=("earliest",), earliest_column="day") == [3, 1, 0, 2]
    assert order(documents, tmp_path, keep=("source_priority", "longest"), source_priority=("z", "y")) == [2, 1, 3, 0]


def test_rules_without_their_setting_are_passed_over_and_ties_go_to_hashes(make_documents: Make, tmp_path: Path) -> None:
    """The default policy on equal lengths falls back on content hash, then row hash: never on the id."""
    texts = ["bbb", "aaa", "ccc", "aaa"]
    documents = make_documents(texts, sources=["s", "t", "s", "u"])
    keys = list(zip(documents["content_hash"].to_pylist(), documents["row_hash"].to_pylist(), range(4), strict=True))
    assert order(documents, tmp_path) == [doc_id for *_, doc_id in sorted(keys)]


def test_a_missing_or_wordy_column_is_explained(make_documents: Make, tmp_path: Path) -> None:
    """The message names the setting, what came, and what the corpus has."""
    documents = make_documents(["a", "b"], grade=["good", "bad"])
    with pytest.raises(ConfigError, match=r"no such column.*dedup\.quality_column.*\['grade'\].*got score"):
        order(documents, tmp_path, quality_column="score")
    with pytest.raises(ConfigError, match=r"does not hold numbers.*grade: String"):
        order(documents, tmp_path, quality_column="grade")
