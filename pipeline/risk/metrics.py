"""Average precision and AUROC of many weighted redraws at once: one sort a predictor, then sums over tie groups."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.risk.linear import Array

NUM_DRAWS = 200


@dataclass(frozen=True)
class Ranking:
    """Hold, for draws B and tie groups G in falling order of score, the weights of positives and negatives in each group (B, G)."""

    positive: Array
    negative: Array


def redraws(count: int, rng: np.random.Generator) -> Array:
    """Return how often each row is drawn, (1 + NUM_DRAWS, count): the rows themselves first, then bootstrap draws."""
    return np.vstack([np.ones(count), rng.multinomial(count, np.full(count, 1 / count), NUM_DRAWS)])


def rank(scores: Array, truth: NDArray[np.bool_], weights: Array) -> Ranking:
    """Group rows by equal score, highest first; `weights (B, n)` are how often each draw holds each row. NaN scores rank last."""
    finite = np.isfinite(scores)
    keyed = np.where(finite, scores, (scores[finite].min() if finite.any() else 0.0) - 1.0)
    order = np.argsort(-keyed, kind="stable")
    starts = np.flatnonzero(np.append(True, np.diff(keyed[order]) != 0)) if len(order) > 1 else np.zeros(min(1, len(order)), np.int64)
    sorted_weights, sorted_truth = weights[:, order], truth[order].astype(np.float64)
    positive = np.add.reduceat(sorted_weights * sorted_truth, starts, axis=1)
    return Ranking(positive, np.add.reduceat(sorted_weights * (1.0 - sorted_truth), starts, axis=1))


def average_precision(ranking: Ranking) -> Array:
    """Return sum over thresholds of (recall gained) x precision, per draw; NaN without positives. Source: Davis 2006."""
    hits, misses = np.cumsum(ranking.positive, axis=1), np.cumsum(ranking.negative, axis=1)
    precision = hits / np.maximum(hits + misses, 1e-12)
    total = ranking.positive.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(total > 0, (ranking.positive * precision).sum(axis=1) / total, np.nan))


def auroc(ranking: Ranking) -> Array:
    """Return the chance that a positive ranks above a negative, ties counting half, per draw; NaN without both. Source: Hanley 1982."""
    above = np.cumsum(ranking.positive, axis=1) - ranking.positive / 2.0
    pairs = ranking.positive.sum(axis=1) * ranking.negative.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(pairs > 0, (above * ranking.negative).sum(axis=1) / pairs, np.nan))


def precision_recall(ranking: Ranking) -> list[list[float]]:
    """Return the first draw's [recall, precision] at each threshold."""
    hits, misses = np.cumsum(ranking.positive[0]), np.cumsum(ranking.negative[0])
    return [[float(hit / hits[-1]), float(hit / (hit + miss))] for hit, miss in zip(hits, misses, strict=True)]


def recall_at_precision(ranking: Ranking, wanted: float) -> Array:
    """Return the largest recall at which precision is at least `wanted`, per draw; 0 where it never is, NaN without positives."""
    return _best(ranking, wanted, of_recall=True)


def precision_at_recall(ranking: Ranking, wanted: float) -> Array:
    """Return the largest precision at which recall is at least `wanted`, per draw; NaN without positives."""
    return _best(ranking, wanted, of_recall=False)


def _best(ranking: Ranking, wanted: float, *, of_recall: bool) -> Array:
    hits, total = np.cumsum(ranking.positive, axis=1), ranking.positive.sum(axis=1, keepdims=True)
    precision = hits / np.maximum(hits + np.cumsum(ranking.negative, axis=1), 1e-12)
    recall = hits / np.maximum(total, 1e-12)
    value, limit = (recall, precision) if of_recall else (precision, recall)
    best = np.where(limit >= wanted - 1e-12, value, 0.0).max(axis=1, initial=0.0)
    return np.asarray(np.where(total[:, 0] > 0, best, np.nan))


def bounds(draws: Array, interval: float) -> tuple[float | None, float | None]:
    """Return the two-sided percentile interval of the finite draws; None where there are none."""
    finite = draws[np.isfinite(draws)]
    if not len(finite):
        return None, None
    low, high = np.quantile(finite, [(1 - interval) / 2, (1 + interval) / 2])
    return float(low), float(high)


def estimate(draws: Array, interval: float) -> dict[str, float | None]:
    """Return the first draw, which is the data's own, as value and the interval of the others as low and high."""
    low, high = bounds(draws[1:], interval)
    return {"value": float(draws[0]) if np.isfinite(draws[0]) else None, "low": low, "high": high}


def spearman(first: Array, second: Array) -> float | None:
    """Return the rank correlation with ties at their mean rank; None for a constant."""
    if len(first) < 3 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return None
    return float(np.corrcoef(mean_ranks(first), mean_ranks(second))[0, 1])


def mean_ranks(values: Array) -> Array:
    """Return ranks from 0, equal values sharing their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return np.asarray((last - (counts + 1) / 2.0)[inverse])
