"""Rank statistics of many bootstrap draws at once: a draw is how often it holds each row, so a column is sorted once for all of them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipeline.risk.linear import Array

TOP_SHARE = 0.1
Mask = NDArray[np.bool_]


def mid_ranks(values: Array, weights: Array) -> Array:
    """Return the rank of every row in every draw (B, n): the weight below it, and half of the weight of its equals.

    `values (n,)`; `weights (B, n)`.
    """
    order = np.argsort(values, kind="stable")
    starts = np.flatnonzero(np.append(True, np.diff(values[order]) != 0))
    group = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(order))))
    held = np.add.reduceat(weights[:, order], starts, axis=1)
    ranks = np.empty_like(weights)
    ranks[:, order] = (np.cumsum(held, axis=1) - held / 2)[:, group]
    return ranks


def correlate(first: Array, second: Array, weights: Array) -> Array:
    """Return the weighted correlation (B,) of two columns of ranks (B, n); NaN where one is constant."""
    total = weights.sum(axis=1)
    centred = [ranks - ((weights * ranks).sum(axis=1) / total)[:, None] for ranks in (first, second)]
    one, other = centred
    scale = np.sqrt((weights * one**2).sum(axis=1) * (weights * other**2).sum(axis=1))
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(scale > 1e-9, (weights * one * other).sum(axis=1) / scale, np.nan))


def top_decile(values: Array, weights: Array) -> Mask:
    """Mark the tenth of each draw's weight (B, n) with the largest values, ties in their order, one row at least."""
    order = np.argsort(-values, kind="stable")
    wanted = np.maximum(1, np.round(TOP_SHARE * weights.sum(axis=1)))
    marked = np.empty(weights.shape, dtype=bool)
    above = np.cumsum(weights[:, order], axis=1) - weights[:, order]
    marked[:, order] = above < wanted[:, None]
    return marked


def areas(ranks: Array, positive: Mask, weights: Array) -> Array:
    """Return the AUROC (B,) of scores with these ranks for the marked rows, ties counting half; NaN without both kinds.

    Source: Mann and Whitney 1947.
    """
    hits = weights * positive
    inside, total = hits.sum(axis=1), weights.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        area = ((hits * ranks).sum(axis=1) - inside**2 / 2) / (inside * (total - inside))
    return np.asarray(np.where((inside > 0) & (inside < total), area, np.nan))
