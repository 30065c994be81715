"""Labels from the proxies' own in/out halves."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipeline.config import RiskConfig
from pipeline.risk.labels import label_clusters, label_reliability, model_outcomes, null_quantile
from pipeline.tables import PROXY_SIGNALS

CONFIG = RiskConfig()


def test_gain_is_the_difference_of_means_over_models(world: Any) -> None:
    """A cluster's gain is mean suffix log-probability per token with it less without, computed plainly."""
    labels, _ = label_clusters(world.evidence, CONFIG)
    row = labels.filter(pl.col("size") == 0).row(5, named=True)
    splits = world.evidence.splits.filter(pl.col("cluster_id") == row["cluster_id"])
    inside = dict(splits.select("proxy", "in_training").iter_rows())
    window = world.evidence.samples.filter(pl.col("cluster_id") == row["cluster_id"])["window_id"].min()
    said = world.evidence.extractions.filter((pl.col("sample_id") == window) & pl.col("proxy").str.starts_with("label-0"))
    sides: dict[bool, list[float]] = {True: [], False: []}
    for proxy, log_prob in said.select("proxy", "suffix_log_prob").iter_rows():
        sides[inside[proxy]].append(log_prob / 16)
    assert row["gain"] == pytest.approx(np.mean(sides[True]) - np.mean(sides[False]), abs=1e-6)
    assert row["gain"] == pytest.approx((row["gain_first"] + row["gain_second"]) / 2, abs=1e-6)
    assert row["unit"] == "suffix"


def test_no_label_without_training_on_one_side(world: Any) -> None:
    """Held-out clusters get no label: there is no model that saw them."""
    labels, _ = label_clusters(world.evidence, CONFIG)
    assert labels.join(world.evidence.held_out(), on="cluster_id", how="semi").is_empty()


def test_memorized_needs_both_recital_and_a_gain_above_the_null(world: Any) -> None:
    """Every memorized cluster is recited by half of its in-models and gains more than out-models differ by chance."""
    labels, nulls = label_clusters(world.evidence, CONFIG)
    for size, null in nulls.items():
        of_size = labels.filter(pl.col("size") == size)
        wanted = (pl.col("extracted_in") >= 0.5) & (pl.col("gain") > null)
        assert of_size["memorized"].to_list() == of_size.select(wanted).to_series().to_list()
        assert 0 < int(of_size["memorized"].sum()) < of_size.height / 2


def test_discoverable_suffixes_count_as_recited(world: Any) -> None:
    """A suffix whose probability reaches 1 - (1-p)^(1/n) counts although greedy decoding errs."""
    outcomes = model_outcomes(world.evidence, 0, CONFIG)
    threshold = math.log(1 - 0.5 ** (1 / 100)) / 16
    plain = outcomes.filter(pl.col("log_prob") >= threshold)
    assert plain["is_recited"].all()


def test_text_too_short_for_a_suffix_has_a_gain_but_no_verdict(make_world: Callable[..., Any]) -> None:
    """Without extractions the gain is of whole windows and memorized is unknown."""
    labels, _ = label_clusters(make_world(60, has_suffix=False).evidence, CONFIG)
    assert labels["unit"].unique().to_list() == ["window"]
    assert labels["memorized"].null_count() == labels.height > 0


def test_null_matches_the_variance_of_a_gain() -> None:
    """With pure noise the chance of a gain above the null quantile is what it says."""
    rng = np.random.default_rng(0)
    rows = [(str(at).encode(), f"m{model}", model < 2, float(rng.normal())) for at in range(4_000) for model in range(4)]
    outcomes = pl.DataFrame(rows, schema=["cluster_id", "proxy", "in_training", "log_prob"], orient="row")
    null = null_quantile(outcomes, 0.99)
    gains = outcomes.group_by("cluster_id").agg(
        pl.col("log_prob").filter(pl.col("in_training")).mean() - pl.col("log_prob").filter(~pl.col("in_training")).mean()
    )
    assert float(np.mean(gains["log_prob"].to_numpy() > null)) == pytest.approx(0.01, abs=0.005)


def test_nothing_is_memorized_when_no_null_can_be_measured() -> None:
    """One out-model a cluster leaves the null unknown, hence infinite."""
    outcomes = pl.DataFrame(
        [(b"a", "m", False, -1.0), (b"a", "n", True, 0.0)], schema=["cluster_id", "proxy", "in_training", "log_prob"], orient="row"
    )
    assert null_quantile(outcomes, 0.99) == math.inf


def test_windows_shared_by_two_clusters_do_not_label_either(world: Any) -> None:
    """A window that another cluster has too says nothing about which of them was seen."""
    evidence = world.evidence
    first, second = evidence.samples["cluster_id"].unique().sort().to_list()[:2]
    donor = evidence.samples.filter(pl.col("cluster_id") == first)["window_id"].min()
    moved = evidence.samples.with_columns(window_id=pl.when(pl.col("cluster_id") == second).then(donor).otherwise("window_id"))
    labels, _ = label_clusters(world.with_evidence(samples=moved).evidence, CONFIG)
    assert not set(labels["cluster_id"]) & {first, second}


def test_reliability_recovers_the_share_of_true_variance() -> None:
    """Halves with noise as strong as the signal step up from about one half to two thirds."""
    rng = np.random.default_rng(1)
    truth = rng.normal(size=4_000)
    labels = pl.DataFrame({"gain_first": truth + rng.normal(size=4_000), "gain_second": truth + rng.normal(size=4_000)})
    found = label_reliability(labels, 50, 0.95, rng)
    assert found["value"] == pytest.approx(2 / 3, abs=0.04)
    assert found["low"] < found["value"] < found["high"]


def test_labels_do_not_look_at_feature_proxies(world: Any) -> None:
    """Changing what feature halves and full proxies say leaves every label as it was."""
    evidence = world.evidence
    labels, _ = label_clusters(evidence, CONFIG)
    bent = evidence.signals.with_columns(
        loss=pl.when(pl.col("proxy").str.starts_with("label")).then("loss").otherwise(9.0).cast(pl.Float32)
    )
    again, _ = label_clusters(world.with_evidence(signals=PROXY_SIGNALS.check(bent)).evidence, CONFIG)
    assert labels.equals(again)
