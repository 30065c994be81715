"""What filtering did: counterfactual recall of natural text left after each arm, what it cost, and whether the runs can tell.

Recall: the share of suffix tokens that a model reproduces. Counterfactual: less what the label halves that never trained on the cluster
reproduce anyway. It is summed over every natural cluster of the raw corpus, so that a removed cluster counts with what is left of it and
a kept one with what it gained.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from pipeline.proof.inputs import Arms
from pipeline.proof.noise import is_resolved, mean_difference, paired_noise, runs_needed
from pipeline.risk.evidence import Evidence
from pipeline.risk.linear import Array

BASE, POLICY, RANDOM, RAW = "minhash", "policy", "random", "raw"
MIN_BASE = 0.05
MIN_CLUSTERS = 100
RECALL_BAR = 0.30
COST_BAR = 0.005
"""Source of these four: the design's section 5."""
BySeed = dict[str, dict[int, float]]


def outcome(arms: Arms, clusters: pl.DataFrame, target: Evidence, interval: float) -> list[dict[str, Any]]:
    """Return one entry a kind (equal_steps, equal_epochs): every arm's figures, paired differences to BASE, and the bar's two numbers."""
    recall = counterfactual_recall(arms.clusters, clusters, unseen_recall(target))
    kinds = arms.runs["kind"].unique().sort().to_list()
    return [_kind(kind, arms.runs.filter(pl.col("kind") == kind), recall.filter(pl.col("kind") == kind), interval) for kind in kinds]


def unseen_recall(target: Evidence) -> pl.DataFrame:
    """Return cluster_id and the mean recall under the label halves that did not train on it."""
    size = max(target.sizes("label_half"), default=-1)
    outside = target.recitals("label_half", size).filter(~pl.col("in_training"))
    by_model = outside.group_by("cluster_id", "proxy").agg(pl.col("memorization_score").cast(pl.Float64).mean())
    return by_model.group_by("cluster_id").agg(unseen=pl.col("memorization_score").mean()).sort("cluster_id")


def counterfactual_recall(results: pl.DataFrame, clusters: pl.DataFrame, unseen: pl.DataFrame) -> pl.DataFrame:
    """Return the arms' rows that have a recall, with `beyond`: recall less the unseen one; and is_natural."""
    joined = results.drop_nulls("recall").join(unseen, on="cluster_id").join(clusters.select("cluster_id", "is_natural"), on="cluster_id")
    return joined.with_columns(beyond=pl.col("recall") - pl.col("unseen")).sort("arm", "seed", "cluster_id")


def _kind(kind: str, runs: pl.DataFrame, recall: pl.DataFrame, interval: float) -> dict[str, Any]:
    natural = recall.filter("is_natural")
    arms = runs["arm"].unique().sort().to_list()
    sums = {arm: _by_seed(natural.filter(pl.col("arm") == arm)) for arm in arms}
    losses = {arm: dict(runs.filter(pl.col("arm") == arm).select("seed", "held_out_loss").iter_rows()) for arm in arms}
    number = natural.filter(pl.col("arm") == BASE)["cluster_id"].n_unique()
    base = _mean(sums.get(BASE, {}))
    return {
        "kind": kind,
        "num_natural_clusters": number,
        "base_recall": base / number if base is not None and number else None,
        "is_measurable": bool(base is not None and number >= MIN_CLUSTERS and base / number >= MIN_BASE),
        "seed_noise": _noise_of(sums.get(RAW, {}), losses.get(RAW, {})),
        "arms": [_arm(arm, runs, recall, sums, losses, interval) for arm in arms],
        "policy_against_random": _bar(sums, RANDOM, POLICY, RECALL_BAR, interval),
        "policy_cost": _bar(losses, POLICY, BASE, COST_BAR, interval),
    }


def _noise_of(sums: dict[int, float], losses: dict[int, float]) -> dict[str, Any]:
    return {"recall": _spread(sums), "held_out_loss": _spread(losses), "num_runs": len(losses)}


def _arm(
    arm: str,
    runs: pl.DataFrame,
    recall: pl.DataFrame,
    sums: BySeed,
    losses: BySeed,
    interval: float,
) -> dict[str, Any]:
    own, mine = runs.filter(pl.col("arm") == arm), recall.filter(pl.col("arm") == arm)
    base = recall.filter(pl.col("arm") == BASE)
    removed = mine.filter(~pl.col("is_kept") & pl.col("is_natural")).select("cluster_id").unique()
    return {
        "arm": arm,
        "num_seeds": own.height,
        "num_tokens": own["num_tokens"].mean(),
        "flops": own["flops"].mean(),
        "held_out_loss": own["held_out_loss"].mean(),
        "emission": own["emission"].mean(),
        "recall_natural": _mean(sums[arm]),
        "recall_planted": _mean(_by_seed(mine.filter(~pl.col("is_natural")))),
        "num_removed_clusters": removed.height,
        "recall_removed": {"arm": _over(mine, removed, "semi"), "base": _over(base, removed, "semi")},
        "recall_kept": {"arm": _over(mine, removed, "anti"), "base": _over(base, removed, "anti")},
        "recall_change": _change(sums, arm, interval),
        "relative_cost": _change(losses, arm, interval),
    }


def _change(values: BySeed, arm: str, interval: float) -> dict[str, Any]:
    """Return (arm - base) / base, paired by seed; its noise is pooled over all arms that share a seed with the base.

    An arm whose runs are the base's own differs by 0, which is no measurement and has no interval.
    """
    differences = {other: _paired(values, other, BASE) for other in values if other != BASE}
    base = _mean(values.get(BASE, {}))
    if base is None or arm == BASE or not abs(base) > 1e-12:
        return mean_difference(np.array([]), None, 0, interval)
    if _is_same(differences[arm]):
        return mean_difference(differences[arm], None, 0, interval)
    noise, degrees = _noise([found / base for found in differences.values()], values, base)
    return mean_difference(differences[arm] / base, noise, degrees, interval)


def _bar(values: BySeed, first: str, second: str, bar: float, interval: float) -> dict[str, Any]:
    """Return (first - second) / base, paired by seed, with whether the runs resolve the bar and how many would.

    `is_same`: both arms are the same runs, whose difference is 0 whatever the seeds.
    """
    base = _mean(values.get(BASE, {}))
    unknown = {"is_resolved": False, "runs_needed": None, "noise": None, "is_same": False}
    if base is None or not abs(base) > 1e-12 or first not in values or second not in values:
        return mean_difference(np.array([]), None, 0, interval) | unknown
    found = _paired(values, first, second) / base
    if _is_same(found):
        return mean_difference(found, 0.0, len(found), interval) | unknown | {"is_resolved": True, "is_same": True}
    others = [_paired(values, other, BASE) / base for other in values if other not in (BASE, first, second)]
    noise, degrees = _noise([found, *others], values, base)
    difference = mean_difference(found, noise, degrees, interval)
    return difference | unknown | {"is_resolved": is_resolved(difference, bar), "runs_needed": runs_needed(noise, bar), "noise": noise}


def _noise(differences: list[Array], values: BySeed, base: float) -> tuple[float | None, int]:
    """Pool the noise of what differs: runs that two arms share say nothing of it."""
    return paired_noise([found for found in differences if not _is_same(found)], _values(values.get(RAW, {})) / base)


def _is_same(differences: Array) -> bool:
    return bool(len(differences)) and not differences.any()


def _by_seed(rows: pl.DataFrame) -> dict[int, float]:
    return dict(rows.group_by("seed").agg(pl.col("beyond").sum()).sort("seed").iter_rows())


def _over(rows: pl.DataFrame, removed: pl.DataFrame, how: Any) -> float | None:
    chosen = rows.filter("is_natural").join(removed, on="cluster_id", how=how)
    return _mean(_by_seed(chosen)) if chosen.height else None


def _paired(values: BySeed, first: str, second: str) -> Array:
    ours, theirs = values.get(first, {}), values.get(second, {})
    return np.array([ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())], np.float64)


def _values(by_seed: dict[int, float]) -> Array:
    return np.array([by_seed[seed] for seed in sorted(by_seed)], np.float64)


def _mean(by_seed: dict[int, float]) -> float | None:
    return float(_values(by_seed).mean()) if by_seed else None


def _spread(by_seed: dict[int, float]) -> float | None:
    return float(np.std(_values(by_seed), ddof=1)) if len(by_seed) > 1 else None
