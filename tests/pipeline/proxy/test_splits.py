"""Tests of `pipeline.proxy.splits`."""

from __future__ import annotations

from collections import Counter

import numpy as np
import polars as pl
import pytest

from pipeline.config import ProxyConfig
from pipeline.proxy.splits import plan_proxies, split_clusters
from pipeline.tables import SAMPLES, Samples
from tests.pipeline.proxy.conftest import SEED, Corpus


def make_samples(num_clusters: int = 400) -> Samples:
    """Return clusters of one to 16 documents of 20 to 60 tokens."""
    rng = np.random.default_rng(0)
    rows = []
    for _ in range(num_clusters):
        cluster_id, tokens = rng.bytes(16), int(rng.integers(20, 60))
        rows += [(cluster_id, tokens)] * int(2 ** rng.integers(0, 5))
    frame = pl.DataFrame(rows, schema={"cluster_id": pl.Binary, "num_tokens": pl.Int32}, orient="row").with_row_index("sample_id")
    frame = frame.with_columns(doc_id=pl.col("sample_id"), window_id=pl.col("sample_id"), start=pl.lit(0), end=pl.col("num_tokens"))
    frame = frame.with_columns(tokens=pl.lit([1], dtype=pl.List(pl.Int32)))
    return SAMPLES.check(frame.with_columns(pl.col(name).cast(dtype) for name, dtype in SAMPLES.columns.items() if name != "tokens"))


def test_the_plan_holds_a_full_run_a_size_and_complementary_halves(tiny_config: ProxyConfig) -> None:
    """Half of the smallest size's halves are for features, all others for labels; names and seeds are unique."""
    specs = plan_proxies(tiny_config, SEED)
    counted = Counter((spec.role, spec.size) for spec in specs)
    assert counted == {("full", 0): 1, ("full", 1): 1, ("full", 2): 1, ("feature_half", 0): 4, ("label_half", 0): 4, ("label_half", 1): 4}
    assert len({spec.name for spec in specs}) == len({spec.seed for spec in specs}) == len(specs)
    assert [spec.size for spec in specs] == sorted((spec.size for spec in specs), reverse=True)


def share_of_mass(clusters: pl.DataFrame, proxy: str) -> float:
    """Return the share of tokens in a proxy's training."""
    masses = clusters["mass"].to_numpy()
    return float(masses[clusters[proxy].to_numpy()].sum() / masses.sum())


@pytest.fixture(scope="module")
def wide(tiny_config: ProxyConfig) -> pl.DataFrame:
    """Return one row per cluster: mass, copies and in_training per proxy."""
    samples = make_samples()
    splits = split_clusters(samples, plan_proxies(tiny_config, SEED), tiny_config, SEED)
    masses = samples.group_by("cluster_id").agg(pl.col("num_tokens").sum().alias("mass"), pl.len().alias("copies"))
    return splits.pivot(on="proxy", index="cluster_id", values="in_training").join(masses, on="cluster_id")


def test_held_out_clusters_are_in_no_training_and_the_rest_in_every_full_run(wide: pl.DataFrame, tiny_config: ProxyConfig) -> None:
    """The held-out share is as configured and reaches every size."""
    proxies = [spec.name for spec in plan_proxies(tiny_config, SEED)]
    held_out = wide.filter(~pl.any_horizontal(proxies))
    assert abs(len(held_out) - tiny_config.held_out_share * len(wide)) <= 1
    assert held_out["copies"].n_unique() == 5
    assert wide.filter(pl.any_horizontal(proxies)).select("full-0", "full-1", "full-2").to_numpy().all()


def test_each_cluster_is_in_exactly_one_side_of_every_pair_and_sides_weigh_the_same(wide: pl.DataFrame, tiny_config: ProxyConfig) -> None:
    """Sides are complementary, equal in tokens overall and nearly so within every number of copies."""
    inside = wide.filter("full-0")
    for spec in plan_proxies(tiny_config, SEED):
        if spec.role == "full" or spec.side == 1:
            continue
        other = f"{spec.name[:-1]}b"
        assert inside.select((pl.col(spec.name) ^ pl.col(other)).all()).item()
        assert abs(share_of_mass(inside, spec.name) - 0.5) < 0.01
        for _, stratum in inside.group_by("copies"):
            assert abs(share_of_mass(stratum, spec.name) - 0.5) < 0.05


def test_splits_are_independent_of_one_another(wide: pl.DataFrame, tiny_config: ProxyConfig) -> None:
    """No two pairs agree on more clusters than chance allows, whatever their role and size."""
    inside = wide.filter("full-0")
    firsts = [spec.name for spec in plan_proxies(tiny_config, SEED) if spec.role != "full" and spec.side == 0]
    agreement = np.corrcoef(inside.select(firsts).to_numpy().T.astype(float))
    assert np.abs(agreement - np.eye(len(firsts))).max() < 0.2


def test_two_clusters_are_parted_about_half_the_time(tiny_config: ProxyConfig) -> None:
    """Balancing pairs neighbours anew in every split, so no two clusters are always kept apart, though heavy ones often are."""
    samples = make_samples(30)
    together = np.zeros((30, 30))
    for seed in range(60):
        splits = split_clusters(samples, plan_proxies(tiny_config, seed), tiny_config, seed)
        sides = splits.filter(pl.col("proxy") == "label-0-0a").sort("cluster_id")["in_training"].to_numpy()
        together += sides[:, None] == sides[None, :]
    apart = together[~np.eye(30, dtype=bool)]
    assert apart.min() > 0
    assert 25 < np.median(apart) < 35


def test_the_order_of_samples_does_not_matter(corpus: Corpus) -> None:
    """Shuffled samples give the same splits, and another seed gives others."""
    shuffled = SAMPLES.check(corpus.drawn.samples.sample(fraction=1.0, shuffle=True, seed=3))
    assert split_clusters(shuffled, corpus.specs[::-1], corpus.config, SEED).equals(corpus.splits)
    assert not split_clusters(shuffled, corpus.specs, corpus.config, SEED + 1).equals(corpus.splits)
