"""Who tells memorized clusters from the rest, in each stratum: our scores beside every baseline, on the same clusters and draws."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import polars as pl

from pipeline.proof.agreement import MIN_POSITIVES
from pipeline.proof.baselines import MIN_COVERAGE, OURS, RIVAL, baseline_scores, measured
from pipeline.proof.labels import TargetLabels
from pipeline.proof.ranks import top_decile
from pipeline.proof.strata import Mask, strata
from pipeline.risk.linear import Array
from pipeline.risk.metrics import (
    Ranking,
    auroc,
    average_precision,
    estimate,
    precision_at_recall,
    rank,
    recall_at_precision,
    redraws,
    spearman,
)

COMPARED_POSITIVES = 150
"""Positives from which a difference in average precision is settled. Source: the design's section 5."""
LIMIT = 0.9
CLAIMS = {"memorized": "sink_score", "strong gain": "predicted_gain"}
"""Which of our scores claims a label."""
METRICS: Mapping[str, Callable[[Ranking], Array]] = {
    "average_precision": average_precision,
    "auroc": auroc,
    "recall_at_precision": lambda ranking: recall_at_precision(ranking, LIMIT),
    "precision_at_recall": lambda ranking: precision_at_recall(ranking, LIMIT),
}


def discrimination(
    judged: pl.DataFrame, labels: TargetLabels, flops: Mapping[str, float], interval: float, rng: np.random.Generator
) -> list[dict[str, Any]]:
    """Return one entry a stratum and label: memorized, and strong gain (the stratum's top decile) for where extraction is too rare.

    Rows of `judged` and `labels` are the same clusters. A predictor that misses more than a tenth of a stratum isn't compared there.
    `claimed_by` is our score that claims the label. `differences`: all our scores' average precision less the rival's, paired; an interval
    that holds 0 is no gain. Each predictor has what the claiming score is `beyond` it, paired likewise: a fitted rival may know less than
    one of its own columns.
    """
    scores = baseline_scores(judged, rng)
    gain, memorized = labels.frame["gain"].to_numpy(), labels.frame["memorized"]
    found = []
    for name, mask in strata(judged, by_source=False):
        tried = mask & memorized.is_not_null().to_numpy()
        found.append(_stratum(name, "memorized", scores, memorized.fill_null(False).to_numpy(), gain, tried, flops, interval, rng))
        strong = np.zeros(len(mask), dtype=bool)
        strong[np.flatnonzero(mask)] = top_decile(gain[mask], np.ones((1, mask.sum())))[0] if mask.any() else []
        found.append(_stratum(name, "strong gain", scores, strong, gain, mask, flops, interval, rng))
    return found


def _stratum(
    name: str,
    label: str,
    scores: Mapping[str, Array],
    positive: Mask,
    gain: Array,
    mask: Mask,
    flops: Mapping[str, float],
    interval: float,
    rng: np.random.Generator,
) -> dict[str, Any]:
    truth, claimed = positive[mask], CLAIMS[label]
    entry: dict[str, Any] = {
        "stratum": name,
        "label": label,
        "claimed_by": claimed,
        "num_clusters": len(truth),
        "num_positive": int(truth.sum()),
        "base_rate": float(truth.mean()) if len(truth) else None,
        "enough_data": bool(truth.sum() >= MIN_POSITIVES),
        "enough_data_differences": bool(truth.sum() >= COMPARED_POSITIVES),
        "predictors": [],
        "not_measured": [],
        "differences": [],
    }
    if not truth.any() or truth.all():
        return entry
    inside = {key: values[mask] for key, values in scores.items()}
    compared = measured(inside)
    entry["not_measured"] = sorted(set(inside) - set(compared))
    weights = redraws(len(truth), rng)
    rankings = {key: rank(values, truth, weights) for key, values in compared.items()}
    for key, ranking in rankings.items():
        row: dict[str, Any] = {"name": key, "flops": flops.get(key), "spearman": _correlation(compared[key], gain[mask])}
        row |= {metric: estimate(of(ranking), interval) for metric, of in METRICS.items()}
        if claimed in rankings and key != claimed:
            row["beyond"] = {metric: _difference(metric, rankings[claimed], ranking, interval) for metric in ("average_precision", "auroc")}
        entry["predictors"].append(row)
    entry["differences"] = [
        {"name": key, "rival": RIVAL, "average_precision": _difference("average_precision", rankings[key], rankings[RIVAL], interval)}
        for key in OURS
        if key in rankings and RIVAL in rankings
    ]
    return entry


def _difference(metric: str, ours: Ranking, other: Ranking, interval: float) -> dict[str, Any]:
    """Compare two scores; `is_gain` says that the interval lies above 0."""
    assert ours.positive.shape[0] == other.positive.shape[0], "paired draws"
    found = estimate(METRICS[metric](ours) - METRICS[metric](other), interval)
    return found | {"is_gain": found["low"] is not None and found["low"] > 0}


def _correlation(scores: Array, gain: Array) -> float | None:
    finite = np.isfinite(scores)
    assert finite.mean() >= MIN_COVERAGE, "only measured predictors are compared"
    return spearman(scores[finite], gain[finite])
