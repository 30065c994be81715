"""What the report draws of memorization itself."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from pipeline.config import RiskConfig
from pipeline.risk.curves import duplication_curve, scale_slope, trajectories
from pipeline.risk.labels import at_largest_size, label_clusters


@pytest.fixture(scope="module")
def labels(world: Any) -> pl.DataFrame:
    return label_clusters(world.evidence, RiskConfig())[0]


def test_memorization_rises_with_copies(world: Any, labels: pl.DataFrame) -> None:
    """The planted effect of copies shows, and each share lies in its interval."""
    curve = duplication_curve(at_largest_size(labels), world.evidence, 0.95)
    assert [point["copies"] for point in curve] == sorted({2**power for power in range(7)} & {point["copies"] for point in curve})
    assert curve[0]["memorized"] < 0.1 < curve[-1]["memorized"]
    assert all(0 <= point["low"] <= point["memorized"] <= point["high"] <= 1 for point in curve)
    assert sum(point["count"] for point in curve) == at_largest_size(labels).height


def test_gain_rises_with_size(world: Any, labels: pl.DataFrame) -> None:
    """The planted effect of size shows over the label sizes."""
    slope = scale_slope(labels, {0: 50_000, 1: 150_000}, 0.95)
    assert [point["size"] for point in slope] == [50_000, 150_000]
    assert slope[0]["high"] < slope[1]["gain"]


def test_sinks_are_learnt_ordinary_text_less_and_unseen_text_least(world: Any, labels: pl.DataFrame) -> None:
    """At the end of training the losses of the three groups are in that order."""
    curves = {curve["group"]: curve["points"] for curve in trajectories(at_largest_size(labels), world.evidence)}
    assert curves["sinks"][-1][1] < curves["ordinary"][-1][1] < curves["unseen"][-1][1]
    assert [step for step, _ in curves["unseen"]] == [10, 100, 400]
