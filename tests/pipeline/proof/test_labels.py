"""Targets' labels: pairs are found by their halves, gains are the truth plus noise, and the memorized are those that are recited."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from pipeline.config import RiskConfig
from pipeline.errors import IntegrityError
from pipeline.proof.labels import complementary_pairs, label_targets
from pipeline.risk.evidence import Evidence
from pipeline.tables import PROXIES, PROXY_SPLITS

Target = Callable[..., Evidence]
TRUTH = np.linspace(0, 2, 200)


def without(target: Evidence, name: str) -> Evidence:
    """Drop one run from splits and proxies."""
    kept = pl.col("proxy") != name
    return replace(target, splits=PROXY_SPLITS.check(target.splits.filter(kept)), proxies=PROXIES.check(target.proxies.filter(kept)))


def test_gains_are_the_truth_where_runs_are_not_noisy(make_target: Target) -> None:
    """Without noise each pair's gain is the truth, and clusters are memorized from the gain at which models recite them."""
    labels = label_targets(make_target(TRUTH, noise=0.0), RiskConfig())
    assert labels.pair_gains.shape == (200, 4)
    np.testing.assert_allclose(labels.pair_gains, np.tile(TRUTH[:, None], 4), atol=1e-5)
    np.testing.assert_array_equal(labels.frame["memorized"].to_numpy(), TRUTH >= 1.5)
    np.testing.assert_allclose(labels.frame["gain"].to_numpy(), TRUTH, atol=1e-5)


def test_mean_of_pairs_is_the_label(make_target: Target) -> None:
    """The gain of all runs is the mean over pairs, whatever the noise."""
    labels = label_targets(make_target(TRUTH, noise=1.0), RiskConfig())
    np.testing.assert_allclose(labels.pair_gains.mean(axis=1), labels.frame["gain"].to_numpy(), atol=1e-5)


def test_held_out_clusters_have_no_label(make_target: Target) -> None:
    """A cluster that no run trained on cannot be labelled."""
    labels = label_targets(make_target(TRUTH, num_held_out=30), RiskConfig())
    assert labels.frame.height == 170


def test_a_run_without_its_complement_is_left_out(make_target: Target) -> None:
    """Half a pair says nothing."""
    target = without(make_target(TRUTH), "target-2a")
    assert complementary_pairs(target) == [("target-0a", "target-0b"), ("target-1a", "target-1b"), ("target-3a", "target-3b")]
    assert label_targets(target, RiskConfig()).pair_gains.shape == (200, 3)


def test_without_a_pair_nothing_is_judged(make_target: Target) -> None:
    """A single half is refused with what to do about it."""
    with pytest.raises(IntegrityError, match=r"no two target runs are complementary.*train both sides"):
        label_targets(without(make_target(TRUTH, num_pairs=1), "target-0b"), RiskConfig())
