"""Fit each model once a fold, so that every cluster is predicted by a model that never saw its label."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from pipeline.risk.linear import Array, fit_logistic, fit_platt, fit_ridge, predict

PENALTIES = (1.0, 3.0, 10.0, 30.0)
"""Ridge penalties tried, in observations; one is chosen by cross-fitted loss. One scalar out of four: its optimism is negligible."""
NO_FOLD = -1

Folds = NDArray[np.int64]


@dataclass(frozen=True)
class CrossFitted:
    """Hold a model fitted to all rows and, for each fold, one fitted without it; a logistic one is recalibrated the same way.

    `betas (K + 1, q + 1)` and `platts (K + 1, 2)`: the last row is the fit to all. A row of fold NO_FOLD is predicted by that one.
    """

    betas: Array
    platts: Array
    penalty: float

    def predict(self, design: Array, folds: Folds) -> Array:
        """Return out-of-fold predictions: logits of a logistic model, values of a ridge."""
        raw = np.einsum("nq,nq->n", np.hstack([design, np.ones((len(design), 1))]), self.betas[folds])
        return np.asarray(self.platts[folds, 0] * raw + self.platts[folds, 1])


def assign_folds(cluster_ids: Sequence[bytes], positive: NDArray[np.bool_], num_folds: int, seed: int) -> Folds:
    """Deal clusters to folds, positives and negatives evenly, in the order of a keyed hash of their ids."""
    key = seed.to_bytes(8, "little")
    order = sorted(
        range(len(cluster_ids)), key=lambda at: (bool(positive[at]), hashlib.blake2b(cluster_ids[at], digest_size=8, key=key).digest())
    )
    folds = np.empty(len(cluster_ids), np.int64)
    folds[order] = np.arange(len(order)) % num_folds
    return folds


def cross_fit_logistic(design: Array, y: Array, weights: Array, folds: Folds, rising: NDArray[np.bool_]) -> CrossFitted:
    """Cross-fit a sign-constrained ridge logistic model, choosing its penalty by cross-fitted log-loss, then recalibrate it."""
    num_folds = int(folds.max()) + 1
    best: tuple[float, float, Array, Array] | None = None
    for penalty in PENALTIES:
        start, rows = None, []
        for fold in [NO_FOLD, *range(num_folds)]:
            used = folds != fold
            start = fit_logistic(design[used], y[used], weights[used], penalty, rising, start)
            rows.append(start)
        betas = np.array([*rows[1:], rows[0]])
        logits = np.einsum("nq,nq->n", np.hstack([design, np.ones((len(design), 1))]), betas[folds])
        loss = float(weights @ (np.logaddexp(0.0, logits) - y * logits))
        if best is None or loss < best[0]:
            best = (loss, penalty, betas, logits)
    assert best is not None
    _, penalty, betas, logits = best
    platts = [fit_platt(logits[folds != fold], y[folds != fold], weights[folds != fold]) for fold in [*range(num_folds), NO_FOLD]]
    return CrossFitted(betas, np.array(platts), penalty)


def cross_fit_ridge(design: Array, y: Array, weights: Array, folds: Folds) -> CrossFitted:
    """Cross-fit a ridge regression, choosing its penalty by cross-fitted squared error."""
    num_folds = int(folds.max()) + 1
    best: tuple[float, float, Array] | None = None
    for penalty in PENALTIES:
        betas = np.array(
            [fit_ridge(design[folds != fold], y[folds != fold], weights[folds != fold], penalty) for fold in [*range(num_folds), NO_FOLD]]
        )
        error = y - np.einsum("nq,nq->n", np.hstack([design, np.ones((len(design), 1))]), betas[folds])
        risk = float(weights @ error**2)
        if best is None or risk < best[0]:
            best = (risk, penalty, betas)
    assert best is not None
    return CrossFitted(best[2], np.tile([1.0, 0.0], (num_folds + 1, 1)), best[1])


def size_error(design: Array, y: Array, weights: Array, doublings: Array, penalty: float) -> float | None:
    """Leave each label size out, predict it by ridge from the others, and return the largest mean miss per doubling of model size.

    `doublings (n,)`: log2 parameters of each row's label model; the design's last column is the size ratio. A size is left out
    only if the rest holds two ratios, without which no effect of size can be learnt; None when no size is like that.
    """
    misses = []
    for left_out in np.unique(doublings):
        inside, outside = doublings != left_out, doublings == left_out
        if len(np.unique(design[inside, -1])) < 2:
            continue
        expected = predict(design[outside], fit_ridge(design[inside], y[inside], weights[inside], penalty))
        miss = float(np.average(y[outside] - expected, weights=weights[outside]))
        misses.append(abs(miss) / max(float(np.min(np.abs(doublings[inside] - left_out))), 0.25))
    return max(misses) if misses else None


def clipped_logit(probability: Array) -> Array:
    """Return log-odds of probabilities kept off 0 and 1."""
    return np.asarray(logit(np.clip(probability, 1e-6, 1 - 1e-6)))
