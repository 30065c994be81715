"""How far labels can be trusted, and how well a perfect predictor would look against labels no better than these.

Pairs of runs are repeated measurements of one gain. Their mean agreement, stepped up to their number, is the label's reliability: the
mean over all ways to cut the pairs in two. A bootstrap that draws pairs may draw one twice; what such a draw knows is worth fewer
pairs, and the step is taken to that number. The top decile has a reliability of its own: where a few clusters stand far out, labels
find them again far more surely than they order the rest.
"""

from __future__ import annotations

from functools import cache
from itertools import combinations, permutations

import numpy as np
from scipy.special import ndtr, ndtri

from pipeline.proof.ranks import TOP_SHARE, areas, correlate, mid_ranks, top_decile
from pipeline.risk.linear import Array

MIN_RELIABILITY = 0.05
"""Below it labels are noise and a figure divided by its root means nothing."""


def reliability(pair_gains: Array, weights: Array, counts: Array) -> Array:
    """Return the reliability (B,) of the ranks of the mean gain in each draw; NaN where a draw holds fewer than two different pairs.

    `pair_gains (n, P)`; `weights (B, n)`: how often a draw holds each cluster; `counts (B, P)`: and each pair. Of ranks, because it
    divides a rank correlation; with few large gains the gains' own says more of those few.
    Source: Spearman 1910; Brown 1910; Cronbach 1951 (the mean over all split halves).
    """
    ranks = [mid_ranks(gains, weights) for gains in pair_gains.T]
    between = {(one, other): correlate(ranks[one], ranks[other], weights) for one, other in combinations(range(len(ranks)), 2)}
    mean = _mean_between(between, counts)
    return _stepped_up(np.where(np.isnan(mean) & (effective_pairs(counts) > 1), 0.0, mean), counts)


def top_ceiling(pair_gains: Array, weights: Array, counts: Array) -> Array:
    """Return the AUROC (B,) that a perfect predictor would reach for the top decile of the mean gain; NaN as in `reliability`.

    One pair's gains predict another's top decile with some AUROC; it is turned into the correlation that two normal measurements of
    like agreement have, stepped up to all pairs, and turned back for a predictor that knows the truth behind them.
    """
    ranks = [mid_ranks(gains, weights) for gains in pair_gains.T]
    tops = [top_decile(gains, weights) for gains in pair_gains.T]
    between = {(one, other): areas(ranks[one], tops[other], weights) for one, other in permutations(range(len(ranks)), 2)}
    correlations, known = _normal_areas()
    mean = _mean_between(between, counts)
    share = _stepped_up(np.where(np.isnan(mean), np.nan, np.interp(mean, known, correlations)), counts)
    return np.where(np.isnan(share), np.nan, np.interp(np.sqrt(share), correlations, known))


def effective_pairs(counts: Array) -> Array:
    """Return how many different pairs would average noise as well as each draw (B, P) does: (sum m)^2 / sum m^2. Source: Kish 1965."""
    return np.asarray(counts.sum(axis=-1) ** 2 / (counts**2).sum(axis=-1))


def gain_of(pair_gains: Array, counts: Array) -> Array:
    """Return the mean gain (n,) over pairs drawn so many times (P,)."""
    return np.asarray(pair_gains @ counts / counts.sum())


def _mean_between(agreement: dict[tuple[int, int], Array], counts: Array) -> Array:
    """Return each draw's mean over pairs of different pairs, as often as it holds both; NaN where it holds no two."""
    shares = {key: counts[:, key[0]] * counts[:, key[1]] for key in agreement}
    total = sum(shares.values(), np.zeros(len(counts)))
    value = sum((np.where(shares[key] > 0, agreement[key], 0.0) * shares[key] for key in agreement), np.zeros(len(counts)))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(total > 0, value / total, np.nan))


def _stepped_up(single: Array, counts: Array) -> Array:
    size, shared = effective_pairs(counts), np.maximum(single, 0.0)
    return np.asarray(size * shared / (1 + (size - 1) * shared))


@cache
def _normal_areas() -> tuple[Array, Array]:
    """Return correlations and, for each, the AUROC of one of two normal variables for the other's top decile."""
    values = ndtri((np.arange(500) + 0.5) / 500)
    edge = ndtri(1 - TOP_SHARE)
    gaps = values[values > edge][:, None] - values[values <= edge][None, :]
    correlations = np.linspace(0.0, 0.9995, 400)
    found = [float(ndtr(r * gaps / np.sqrt(2 * (1 - r * r))).mean()) for r in correlations]
    return correlations, np.array(found)
