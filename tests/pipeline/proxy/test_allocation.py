"""Tests of `pipeline.proxy.allocation`."""

from __future__ import annotations

import hashlib

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.proxy.allocation import STRATUM, describe_clusters, describe_strata, fill_budget


def make_clusters(rows: list[tuple[int, int]]) -> pl.DataFrame:
    """Return clusters of (stratum, tokens)."""
    ids = [hashlib.blake2b(str(n).encode(), digest_size=16).digest() for n in range(len(rows))]
    return pl.DataFrame(
        {"cluster_id": ids, "size_bin": [s for s, _ in rows], "num_tokens": [t for _, t in rows]},
        schema={"cluster_id": pl.Binary, "size_bin": pl.Int32, "num_tokens": pl.Int64},
    ).with_columns(source=pl.lit("a"), length_bin=pl.lit(0))


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.integers(0, 4), st.integers(1, 400)), max_size=60),
    budget=st.integers(1, 8000),
    seed=st.integers(0, 3),
)
def test_the_budget_holds_and_order_does_not_matter(rows: list[tuple[int, int]], budget: int, seed: int) -> None:
    """A draw never exceeds the budget, and shuffled clusters give the same draw."""
    clusters = make_clusters(rows)
    drawn = fill_budget(clusters, budget, seed)
    assert drawn["num_tokens"].sum() <= budget
    assert drawn.equals(fill_budget(clusters.sample(fraction=1.0, shuffle=True, seed=seed), budget, seed))


def test_small_strata_are_taken_whole_and_large_ones_share_the_rest() -> None:
    """Of strata with 100, 1,000 and 100,000 tokens a budget of 5,000 takes about 100, 1,000 and 3,900."""
    clusters = make_clusters([(0, 10)] * 10 + [(1, 10)] * 100 + [(2, 10)] * 10_000)
    taken = dict(fill_budget(clusters, 5000, 0).group_by("size_bin").agg(pl.col("num_tokens").sum()).iter_rows())
    assert taken == {0: 100, 1: 1000, 2: 3900}


def test_repeated_text_gets_more_shares() -> None:
    """Of strata too large for the budget, the one with 2^3 copies gets four times the tokens of the one without copies."""
    clusters = make_clusters([(0, 10)] * 10_000 + [(3, 10)] * 10_000)
    taken = dict(fill_budget(clusters, 5000, 0).group_by("size_bin").agg(pl.col("num_tokens").sum()).iter_rows())
    assert taken == {0: 1000, 3: 4000}


def test_each_cluster_of_a_stratum_is_drawn_as_often_as_stated() -> None:
    """Over seeds the share of draws that hold a cluster is the stratum's inclusion probability."""
    clusters = make_clusters([(0, 10)] * 40)
    counts = pl.concat([fill_budget(clusters, 100, seed) for seed in range(200)])["cluster_id"].value_counts()["count"]
    assert describe_strata(clusters, fill_budget(clusters, 100, 0))[0]["inclusion_probability"] == 0.25
    assert len(counts) == 40
    assert counts.is_between(26, 79).all()


def test_a_cluster_that_would_swallow_the_budget_is_left_out() -> None:
    """Its copies would have to be thinned, so it does not come at all."""
    assert fill_budget(make_clusters([(0, 600), (1, 10)]), 1000, 0)["num_tokens"].to_list() == [10]


def test_a_cluster_is_described_by_size_source_and_reachable_length() -> None:
    """Lengths beyond the windows' reach count as that reach, copies add up."""
    ids = [b"a" * 16, b"a" * 16, b"b" * 16]
    profile = pl.DataFrame(
        {"cluster_id": ids, "cluster_size": [2, 2, 1], "source": ["y", "x", "x"], "num_bytes": [100, 100, 10**6]},
        schema_overrides={"cluster_id": pl.Binary},
    )
    described = describe_clusters(profile, bytes_per_token=4.0, tokens_per_document=256)
    assert described.select(*STRATUM, "num_tokens").rows() == [(1, "x", 6, 50), (0, "x", 10, 256)]


def test_rare_sources_share_a_stratum() -> None:
    """Only the 32 sources with most clusters have strata of their own."""
    ids = [hashlib.blake2b(str(n).encode(), digest_size=16).digest() for n in range(40)]
    profile = pl.DataFrame({"cluster_id": ids, "source": [f"s{n:02d}" for n in range(40)]}, schema_overrides={"cluster_id": pl.Binary})
    described = describe_clusters(profile.with_columns(cluster_size=pl.lit(1), num_bytes=pl.lit(64)), 4.0, 256)
    assert described["source"].n_unique() == 33


@pytest.mark.parametrize("budget", [1, 7])
def test_a_budget_below_every_cluster_draws_nothing(budget: int) -> None:
    """The draw is empty rather than over budget."""
    assert fill_budget(make_clusters([(0, 10)]), budget, 0).is_empty()
