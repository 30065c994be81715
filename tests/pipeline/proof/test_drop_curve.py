"""The free-token curve tells a criterion that costs less than random from one that doesn't."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipeline.proof.drop_curve import drop_curve
from pipeline.proof.inputs import DROP_CURVE


def runs(cost: Mapping[str, float], noise: float, seeds: int = 3) -> pl.DataFrame:
    """Return runs in which dropping costs so many nats per share dropped, with paired noise."""
    rng = np.random.default_rng(0)
    rows: list[tuple[Any, ...]] = []
    for seed in range(seeds):
        base = 3.0 + 0.1 * rng.normal()
        rows.append(("none", seed, "natural", 0.0, base, 1.0, 2.0))
        for criterion, price in cost.items():
            for share in (0.05, 0.1, 0.2):
                gone = 1.0 - share * (5.0 if criterion == "risk" else 1.0)
                rows.append((criterion, seed, "natural", share, base + price * share + noise * rng.normal(), gone, 2 * gone))
    return pl.DataFrame(rows, schema=dict(DROP_CURVE), orient="row")


def test_a_free_criterion_beats_random() -> None:
    """At a tenth of random's price it is cheaper beyond noise, reaches the aim and the sentence names it."""
    (found,) = drop_curve(runs({"random": 1.0, "risk": 0.1, "copies": 1.0}, 0.002), 0.95)
    assert found["beats_random"] == ["risk"]
    assert found["reaches_aim"] == ["risk"]
    assert "Dropping by risk costs less" in found["sentence"]
    row = next(row for row in found["rows"] if row["criterion"] == "risk" and row["share"] == 0.1)
    assert row["share_of_random_cost"] == pytest.approx(0.1, abs=0.1)
    assert row["cost_over_random"]["value"] == pytest.approx(-0.09, abs=0.01)
    assert row["removed_per_nat_over_random"] > 3
    assert row["memorized_removed_by_tokens"] == pytest.approx(2 * row["memorized_removed"])


def test_no_difference_is_said_to_be_none() -> None:
    """Equal prices: nobody beats random."""
    (found,) = drop_curve(runs({"random": 1.0, "loss": 1.0}, 0.01), 0.95)
    assert found["beats_random"] == []
    assert found["sentence"].startswith("No criterion costs less")


def test_a_ratio_that_noise_could_have_made_reaches_no_aim() -> None:
    """A tenth of random's price under noise of three times the difference: cheap by the figures, not by what the runs can tell."""
    noisy = runs({"random": 1.0, "risk": 0.1}, 0.0)
    rows = noisy.select("criterion", "seed", "share").rows()
    shifts = pl.Series([0.3 * (-1) ** seed * (criterion == "risk") if share else 0.0 for criterion, seed, share in rows])
    (found,) = drop_curve(noisy.with_columns(pl.col("held_out_loss") + shifts - shifts.mean()), 0.95)
    row = next(row for row in found["rows"] if row["criterion"] == "risk" and row["share"] == 0.1)
    assert row["share_of_random_cost"] < 0.5 or row["removed_per_nat_over_random"] > 3
    assert not row["beats_random"]
    assert found["reaches_aim"] == []


def test_one_seed_cannot_tell() -> None:
    """A single run of each has no noise to hold a difference against."""
    (found,) = drop_curve(runs({"random": 1.0, "risk": 0.1}, 0.0, seeds=1).filter(pl.col("share") < 0.15), 0.95)
    assert found["sentence"].startswith("The runs cannot tell")
