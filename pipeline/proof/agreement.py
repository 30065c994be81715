"""Do predicted gains and measured gains agree: rank correlation, and the top decile, each against what noisy labels allow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.proof.ranks import TOP_SHARE, areas, correlate, mid_ranks, top_decile
from pipeline.proof.reliability import MIN_RELIABILITY, gain_of, reliability, top_ceiling
from pipeline.risk.linear import Array
from pipeline.risk.metrics import estimate

MIN_POSITIVES = 50
"""Memorized clusters, or clusters in the top decile, from which a stratum is judged. Source: the design's section 5."""
MIN_CLUSTERS = 50
"""Clusters from which a rank correlation is stated at all."""
NUM_DRAWS = 200
CHUNK_VALUES = 2_000_000
"""Values of one array over several draws: bounds memory on large corpora."""


@dataclass(frozen=True)
class LabelDraws:
    """Hold B redraws of clusters and runs, the data themselves first, and what each says of its labels.

    `pair_gains (n, P)`; `weights (B, n)`, `counts (B, P)`: how often a draw holds each cluster and each pair of runs; `shares (B,)`:
    reliability; `ceilings (B,)`: a perfect predictor's AUROC of the top decile.
    """

    pair_gains: Array
    weights: Array
    counts: Array
    shares: Array
    ceilings: Array


def draw_labels(pair_gains: Array, rng: np.random.Generator) -> LabelDraws:
    """Redraw clusters and runs together, NUM_DRAWS times, and measure reliability and ceiling anew in each."""
    number, pairs = pair_gains.shape
    weights, counts = (
        np.vstack([np.ones(size), rng.multinomial(size, np.full(size, 1 / size), NUM_DRAWS)]).astype(np.float64) for size in (number, pairs)
    )
    chunks = list(_chunks(len(weights), number))
    shares = [reliability(pair_gains, weights[at], counts[at]) for at in chunks]
    ceilings = [top_ceiling(pair_gains, weights[at], counts[at]) for at in chunks]
    return LabelDraws(pair_gains, weights, counts, np.concatenate(shares), np.concatenate(ceilings))


def agreement(predicted: Array, draws: LabelDraws | None, interval: float) -> dict[str, Any]:
    """Compare predictions (n,) with the labels of one stratum; `draws` is None where it is too small to say anything.

    spearman; disattenuated: divided by the root of the reliability; auroc of the top decile; ceiling: a perfect predictor's;
    normalised: (auroc - .5) / (ceiling - .5). Intervals of disattenuated and normalised are over clusters and runs, the others' over
    clusters alone (fewer different runs in a draw would only lower them).
    Source: the design's section 5; Spearman 1904 (correction for attenuation).
    """
    top = round(TOP_SHARE * len(predicted))
    facts: dict[str, Any] = {
        "num_clusters": len(predicted),
        "num_top": top,
        "enough_data": draws is not None and bool(np.isfinite(draws.shares[0])),
        "enough_data_top": draws is not None and top >= MIN_POSITIVES,
    }
    if draws is None:
        return facts
    alone, both = _read(predicted, draws, np.ones_like(draws.counts)), _read(predicted, draws, draws.counts)
    told = draws.shares >= MIN_RELIABILITY  # False for NaN too
    with np.errstate(divide="ignore", invalid="ignore"):
        disattenuated = np.where(told, both[0] / np.sqrt(draws.shares), np.nan)
        normalised = np.where(told & (draws.ceilings > 0.5), (both[1] - 0.5) / (draws.ceilings - 0.5), np.nan)
    figures = {
        "spearman": alone[0],
        "disattenuated": disattenuated,
        "auroc": alone[1],
        "normalised": normalised,
        "reliability": draws.shares,
    }
    estimates = {name: estimate(values, interval) for name, values in figures.items()}
    return facts | estimates | {"ceiling": float(draws.ceilings[0])}


def correlations_over_clusters(predicted: Array, draws: LabelDraws) -> Array:
    """Return each draw's rank correlation (B,) with gains by all runs; NaN where it has none."""
    return _read(predicted, draws, np.ones_like(draws.counts))[0]


def _read(predicted: Array, draws: LabelDraws, counts: Array) -> tuple[Array, Array]:
    """Return rank correlation and AUROC of the top decile (B,), gains by so many of each pair."""
    correlations, found = np.full(len(counts), np.nan), np.full(len(counts), np.nan)
    patterns, pattern_of = np.unique(counts, axis=0, return_inverse=True)
    for number, pattern in enumerate(patterns):
        gain = gain_of(draws.pair_gains, pattern)
        own = np.flatnonzero(pattern_of.ravel() == number)
        for at in _chunks(len(own), len(predicted)):
            weights = draws.weights[own[at]]
            ranks = mid_ranks(predicted, weights)
            correlations[own[at]] = correlate(ranks, mid_ranks(gain, weights), weights)
            found[own[at]] = areas(ranks, top_decile(gain, weights), weights)
    return correlations, found


def _chunks(draws: int, rows: int) -> Iterator[slice]:
    step = max(1, CHUNK_VALUES // max(rows, 1))
    return (slice(start, start + step) for start in range(0, draws, step))
