"""The capacity tax finds bits that were put in, and takes none from noise."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipeline.config import RiskConfig
from pipeline.risk.capacity import BITS_PER_PARAMETER, capacity_tax, cluster_bits
from pipeline.risk.evidence import Evidence
from pipeline.risk.labels import label_clusters
from pipeline.tables import PROXY_SIGNALS


def with_gain(evidence: Evidence, gain: float, noise: float = 0.0) -> Evidence:
    """Replace the label halves' losses: 4 nats per token, less the gain where they trained on the text, give or take noise."""
    owners = pl.DataFrame(evidence.samples).select("sample_id", "cluster_id")
    rows = pl.DataFrame(evidence.signals).join(owners, on="sample_id").join(pl.DataFrame(evidence.splits), on=["cluster_id", "proxy"])
    random = noise * np.random.default_rng(0).normal(size=rows.height)
    loss = 4.0 - gain * pl.col("in_training").cast(pl.Float64) + pl.Series(random)
    changed = rows.with_columns(loss=loss.cast(pl.Float32)).select(list(PROXY_SIGNALS.columns))
    return replace(evidence, signals=PROXY_SIGNALS.check(changed))


def test_bits_are_the_gain_over_all_predicted_tokens(world: Any) -> None:
    """Two nats a token of a window of 40, whose first is never predicted, are 2 x 39 / ln 2 bits."""
    bits = cluster_bits(with_gain(world.evidence, 2.0), 0)
    assert bits.height > 100
    np.testing.assert_allclose(bits["bits"].to_numpy(), 2 * 39 / math.log(2), rtol=1e-5)
    np.testing.assert_allclose(bits["text_bits"].to_numpy(), 4 * 39 / math.log(2), rtol=1e-5)


def test_noise_is_not_memorization(world: Any) -> None:
    """Models that differ by chance alone hold nothing, though the larger of two noisy losses is always positive."""
    noisy = cluster_bits(with_gain(world.evidence, 0.0, noise=0.5), 0)["bits"].to_numpy()
    naive = 0.5 * 39 / math.log(2)
    assert abs(noisy.mean()) < 0.25 * naive
    assert abs(noisy.mean()) < 3 * noisy.std() / math.sqrt(len(noisy))


def test_shares_and_the_planned_size(world: Any) -> None:
    """Sinks' share of equal bits is their share of the clusters, capacity counts the parameters given, and text bounds the bits."""
    evidence = with_gain(world.evidence, 2.0)
    ids = cluster_bits(evidence, 0)["cluster_id"]
    found = capacity_tax(evidence, ids.head(50), {0: 100_000}, 1e7, 0.95, np.random.default_rng(0))
    first, second = found["sizes"]
    common = found["num_clusters"]
    assert first["sink_share"]["value"] == pytest.approx(found["num_sinks"] / common)
    assert first["sink_share"]["low"] < first["sink_share"]["value"] < first["sink_share"]["high"]
    assert first["capacity_bits"] == pytest.approx(BITS_PER_PARAMETER * 100_000)
    assert (second["total_parameters"], second["capacity_bits"]) == (None, pytest.approx(BITS_PER_PARAMETER * 150_000))
    assert found["planned"]["all_bits"]["value"] == pytest.approx(first["all_bits"]["value"], rel=1e-6)
    assert found["planned"]["all_bits"]["value"] <= found["planned"]["all_bits_at_most"]


def test_more_is_stored_by_the_larger_model(world: Any) -> None:
    """In the made-up world the larger size stores more, sinks more than their share of clusters, and the planned size more still."""
    labels, _ = label_clusters(world.evidence, RiskConfig())
    sinks = labels.filter((pl.col("size") == 1) & pl.col("memorized"))["cluster_id"]
    found = capacity_tax(world.evidence, sinks, {}, 1e7, 0.95, np.random.default_rng(0))
    small, large = found["sizes"]
    assert small["all_bits"]["high"] < large["all_bits"]["value"] < found["planned"]["all_bits"]["value"]
    assert large["sink_share"]["low"] > found["num_sinks"] / found["num_clusters"]


def test_too_few_clusters_say_so(make_world: Any) -> None:
    """Under fifty clusters nothing is stated."""
    found = capacity_tax(make_world(30).evidence, pl.Series([], dtype=pl.Binary), {}, 1e7, 0.95, np.random.default_rng(0))
    assert not found["enough_data"]
    assert found["sizes"] == []
