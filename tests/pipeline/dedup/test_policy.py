"""Keep policy: the order in which copies are worth keeping."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import store
from pipeline.config import DedupConfig
from pipeline.dedup.policy import order_members, rank_members, read_members
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


def test_a_missing_or_mixed_date_column_is_explained(make_documents: Make, tmp_path: Path) -> None:
    """The setting is named; no value is shown."""
    with pytest.raises(ConfigError, match=r"no such column.*dedup\.earliest_column.*\['day'\].*got date"):
        order(make_documents(["a", "b"], day=["2021", "2020"]), tmp_path / "missing", keep=("earliest",), earliest_column="date")
    with pytest.raises(ConfigError, match=r"mixes kinds of text.*dedup\.earliest_column.*day: of 2 values 1 dates"):
        order(make_documents(["a", "b"], day=["2021", "soon"]), tmp_path / "mixed", keep=("earliest",), earliest_column="day")


MEMBERS = st.lists(
    st.tuples(
        st.sampled_from(["web", "books", "code"]),
        st.none() | st.sampled_from([0.0, 1.0, -2.5]),
        st.integers(0, 3),
        st.none() | st.sampled_from([5, 7]),
        st.sampled_from([b"p", b"q"]),
        st.sampled_from([b"x", b"y"]),
    ),
    min_size=1,
    max_size=12,
)
RULES = st.permutations(["source_priority", "quality", "longest", "earliest"]).flatmap(
    lambda rules: st.integers(1, 4).map(lambda size: tuple(rules[:size]))
)


def _config(rules: tuple[str, ...]) -> DedupConfig:
    columns: dict[str, dict[str, Any]] = {
        "quality": {"quality_column": "q"},
        "earliest": {"earliest_column": "e"},
        "source_priority": {"source_priority": ("web", "code")},
    }
    given_ = {name: value for rule in rules for name, value in columns.get(rule, {}).items()}
    return DedupConfig(keep=rules, **given_)


def _members(rows: list[tuple[Any, ...]]) -> pl.DataFrame:
    schema = {"source": pl.String, "quality": pl.Float64, "num_bytes": pl.Int64, "earliest": pl.Int64}
    frame = pl.DataFrame(rows, schema=schema | {"content_hash": pl.Binary, "row_hash": pl.Binary}, orient="row")
    return frame.with_columns(doc_id=pl.int_range(pl.len()), cluster_id=pl.lit(b"c"))


def _plain_key(row: tuple[Any, ...], rules: tuple[str, ...]) -> tuple[Any, ...]:
    source, quality, num_bytes, earliest, content_hash, row_hash = row
    keys = {
        "source_priority": {"web": 0, "code": 1}.get(source, 2),
        "quality": (quality is None, -(quality or 0.0)),
        "longest": -num_bytes,
        "earliest": (earliest is None, earliest or 0),
    }
    return (*(keys[rule] for rule in rules), content_hash, row_hash)


@settings(max_examples=150, deadline=None)
@given(rows=MEMBERS, rules=RULES)
def test_the_order_is_total_and_the_rules_apply_in_turn(rows: list[tuple[Any, ...]], rules: tuple[str, ...]) -> None:
    """As Python sorts by the same keys, and so whatever the rows' order: only equal rows may change places."""
    there = order_members(_members(rows), _config(rules))["doc_id"].to_list()
    back = order_members(_members(rows[::-1]), _config(rules))["doc_id"].to_list()
    keys = [_plain_key(row, rules) for row in rows]
    assert [keys[doc_id] for doc_id in there] == [keys[::-1][doc_id] for doc_id in back] == sorted(keys)


@settings(max_examples=100, deadline=None)
@given(rows=MEMBERS, rules=RULES)
def test_ranks_follow_the_order_and_the_first_difference_parts(rows: list[tuple[Any, ...]], rules: tuple[str, ...]) -> None:
    """Places by single rules, compared from left to right, give the whole order; equal places mean equal rows."""
    ranked = rank_members(_members(rows), _config(rules))
    assert ranked.columns == ["doc_id", "rank", *rules, "content_hash", "row_hash"]
    assert ranked["doc_id"].to_list() == order_members(_members(rows), _config(rules))["doc_id"].to_list()
    assert ranked["rank"].to_list() == list(range(1, len(rows) + 1))
    places = ranked.drop("doc_id", "rank").rows()
    assert places == sorted(places)
    keys = [_plain_key(rows[doc_id], rules) for doc_id in ranked["doc_id"]]
    assert [a == b for a, b in pairwise(places)] == [a == b for a, b in pairwise(keys)]
