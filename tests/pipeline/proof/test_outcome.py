"""Arms of known effect: what the policy removed beyond a random drop is found, and noise that hides it is admitted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipeline.proof.bars import outcome_bars
from pipeline.proof.inputs import ARM_CLUSTERS, ARM_RUNS, Arms
from pipeline.proof.outcome import outcome, unseen_recall
from pipeline.risk.evidence import Evidence

NUMBER = 150
SCALE = {"raw": 1.0, "minhash": 0.5, "policy": 0.25, "random": 0.45}
LOSS = {"raw": 3.05, "minhash": 3.0, "policy": 3.006, "random": 3.03}


def build(target: Evidence, noise: float = 0.0, seeds: int = 3, unseen: Mapping[bytes, float] | None = None) -> tuple[Arms, pl.DataFrame]:
    """Return arms in which every natural cluster's recall beyond the unseen one is the arm's scale times .6, give or take."""
    rng = np.random.default_rng(4)
    known = unseen or dict(unseen_recall(target).iter_rows())
    ids = sorted(known)
    runs, rows = [], []
    for arm, scale in SCALE.items():
        for seed in range(seeds):
            shift = noise * rng.normal()
            runs.append((arm, seed, "equal_steps", 1000, 1e12, LOSS[arm] + 0.01 * seed, None))
            for at, cluster in enumerate(ids):
                recall = known[cluster] + 0.6 * scale + shift
                rows.append((arm, seed, "equal_steps", cluster, recall, 2.0, not (arm == "policy" and at < 30)))
    clusters = pl.DataFrame({"cluster_id": ids, "is_natural": [at < NUMBER - 20 for at in range(len(ids))]})
    return Arms(
        pl.DataFrame(runs, schema=dict(ARM_RUNS), orient="row"), pl.DataFrame(rows, schema=dict(ARM_CLUSTERS), orient="row")
    ), clusters


@pytest.fixture(scope="module")
def target(make_target: Callable[..., Evidence]) -> Evidence:
    return make_target(np.linspace(0, 1, NUMBER))


def judged(target: Evidence, **settings: Any) -> dict[str, Any]:
    """Return the outcome of the only kind of arms."""
    arms, clusters = build(target, **settings)
    (entry,) = outcome(arms, clusters, target, 0.95)
    return entry


def test_known_effects_are_found(target: Evidence) -> None:
    """The policy leaves .25 where the random drop leaves .45 of what deduplication leaves as .5: 40% beyond random, at .2% of loss."""
    entry = judged(target)
    assert entry["base_recall"] == pytest.approx(0.3)
    assert entry["is_measurable"]
    assert entry["policy_against_random"]["value"] == pytest.approx(0.4)
    assert entry["policy_cost"]["value"] == pytest.approx(0.006 / 3.01)
    by_arm = {row["arm"]: row for row in entry["arms"]}
    assert by_arm["policy"]["num_removed_clusters"] == 30
    assert by_arm["policy"]["recall_removed"] == {"arm": pytest.approx(30 * 0.15), "base": pytest.approx(30 * 0.3)}
    assert by_arm["raw"]["recall_change"]["value"] == pytest.approx(1.0)
    assert by_arm["minhash"]["recall_change"]["value"] is None
    assert by_arm["policy"]["recall_planted"] == pytest.approx(20 * 0.15)
    assert [bar["verdict"] for bar in outcome_bars([entry])] == ["met", "met"]


def test_runs_that_two_arms_share_measure_no_noise(target: Evidence) -> None:
    """A policy whose runs are the base's removes nothing and proves nothing of its cost; other arms' noise is as without it."""
    arms, clusters = build(target, noise=0.02)
    base = (arms.runs.filter(pl.col("arm") == "minhash"), arms.clusters.filter(pl.col("arm") == "minhash"))
    own = (arms.runs.filter(pl.col("arm") != "policy"), arms.clusters.filter(pl.col("arm") != "policy"))
    copied = [pl.concat([rest, same.with_columns(arm=pl.lit("policy"))]) for rest, same in zip(own, base, strict=True)]
    (entry,), (without,) = (outcome(Arms(*tables), clusters, target, 0.95) for tables in (copied, own))
    changes = [{row["arm"]: row["recall_change"] for row in each["arms"]} for each in (entry, without)]
    assert changes[0]["random"] == changes[1]["random"]
    assert changes[0]["policy"]["value"] == 0.0
    assert changes[0]["policy"]["low"] is None
    assert entry["policy_cost"]["is_same"]
    assert outcome_bars([entry])[1]["verdict"] == "not enough data"


def test_noise_that_hides_the_bar_is_admitted(target: Evidence) -> None:
    """Seed noise as large as the effect cannot be resolved, and the number of runs that could is told."""
    removed, _ = outcome_bars([judged(target, noise=0.2)])
    assert removed["verdict"] == "cannot be resolved"
    assert removed["runs_needed"] > 3
    assert f"{removed['runs_needed']} paired runs would resolve it" in removed["sentence"]


def test_one_seed_cannot_be_resolved(target: Evidence) -> None:
    """A single run an arm has no spread at all."""
    removed, cost = outcome_bars([judged(target, seeds=1)])
    assert removed["verdict"] == cost["verdict"] == "cannot be resolved"
    assert "more runs are needed" in cost["sentence"]


def test_too_little_recall_is_not_measurable(target: Evidence) -> None:
    """Where deduplication leaves less than five percent there is nothing to remove."""
    arms, clusters = build(target)
    low = Arms(arms.runs, arms.clusters.with_columns(recall=pl.col("recall") * 0.05))
    (entry,) = outcome(low, clusters, target, 0.95)
    assert not entry["is_measurable"]
    assert {bar["verdict"] for bar in outcome_bars([entry])} == {"not enough data"}


def test_unseen_recall_is_that_of_models_without_the_cluster(target: Evidence) -> None:
    """What models that never saw a text reproduce of it is .2 in the made-up world."""
    unseen = unseen_recall(target)
    assert unseen.height == NUMBER
    np.testing.assert_allclose(unseen["unseen"].to_numpy(), 0.2, atol=1e-6)
