"""The next layer is found by its frozen score, and what a filter does to it is told with its noise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipeline.proof.inputs import ARM_CLUSTERS, ARM_RUNS, Arms
from pipeline.proof.onion import onion
from pipeline.proof.outcome import unseen_recall
from pipeline.risk.evidence import Evidence

NUMBER = 110


@pytest.fixture(scope="module")
def target(make_target: Callable[..., Evidence]) -> Evidence:
    return make_target(np.linspace(0, 1, NUMBER))


def _told(
    target: Evidence, exposed: float, noise: float = 0.01, seeds: int = 3, arms: tuple[str, ...] = ("minhash", "policy", "same")
) -> Any:
    """Return what is told of a policy that removes the ten highest scores and raises recall of the ten after them by `exposed`.

    The arm `same` is the base's own runs under another name.
    """
    rng = np.random.default_rng(3)
    unseen = dict(unseen_recall(target).iter_rows())
    ids = sorted(unseen)
    rows: list[tuple[Any, ...]] = []
    for arm in arms:
        for seed in range(seeds):
            if arm == "same":
                rows += [("same", *row[1:]) for row in rows if row[:2] == ("minhash", seed)]
                continue
            for rank, cluster in enumerate(ids):
                is_kept = arm != "policy" or rank >= 10
                raised = exposed if arm == "policy" and 10 <= rank < 20 else 0.0
                recall = unseen[cluster] + 0.3 + raised + noise * rng.normal() if is_kept else unseen[cluster]
                rows.append((arm, seed, "equal_steps", cluster, recall, 2.0, is_kept))
    results = pl.DataFrame(rows, schema=dict(ARM_CLUSTERS), orient="row")
    clusters = pl.DataFrame({"cluster_id": ids, "is_natural": [True] * len(ids)})
    predictions = pl.DataFrame({"cluster_id": ids, "sink_score": np.linspace(1, 0, len(ids))})
    return onion(Arms(pl.DataFrame(schema=dict(ARM_RUNS)), results), clusters, predictions, target, 0.95)


@pytest.mark.parametrize(("exposed", "verdict"), [(0.2, "supported"), (-0.2, "not supported"), (0.0, "cannot be resolved")])
def test_what_becomes_of_the_next_layer_is_told(target: Evidence, exposed: float, verdict: str) -> None:
    """The tenth of the kept with the highest scores moved by so much, the rest did not; an arm of the same runs is not asked."""
    (entry,) = _told(target, exposed)
    assert (entry["arm"], entry["kind"], entry["num_next"], entry["num_rest"]) == ("policy", "equal_steps", 10, NUMBER - 20)
    assert entry["next"]["value"] == pytest.approx(exposed, abs=0.01)
    assert entry["rest"]["value"] == pytest.approx(0.0, abs=0.01)
    assert entry["verdict"] == verdict


def test_one_seed_cannot_resolve_it_and_without_a_base_nothing_is_told(target: Evidence) -> None:
    """Noise is unknown from one seed; there is nothing to hold a lone arm against."""
    (entry,) = _told(target, 0.2, seeds=1)
    assert entry["next"]["low"] is None
    assert entry["verdict"] == "cannot be resolved"
    assert _told(target, 0.2, arms=("policy",)) == []
