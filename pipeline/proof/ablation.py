"""What each block of signals adds at the target, and what the same signals could do at best.

Blocks were fitted to the proxies' labels. The upper bound is fitted to the target's own labels, across folds: it says how much of a miss
is the signals' and how much is learning from small models. It backs no claim.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from scipy.stats import rankdata

from pipeline.proof.agreement import MIN_CLUSTERS, agreement, correlations_over_clusters, draw_labels
from pipeline.proof.labels import TargetLabels
from pipeline.proof.ranks import top_decile
from pipeline.proof.reliability import gain_of
from pipeline.proof.strata import FEW, NATURAL, UNIQUE, mask_of
from pipeline.risk.crossfit import assign_folds, cross_fit_ridge
from pipeline.risk.features import FEATURES
from pipeline.risk.linear import Array, Standardizer
from pipeline.risk.metrics import average_precision, estimate, rank, redraws

STRATA = (UNIQUE, NATURAL, FEW)
FOLDS = 5
RENAMED = {"copies": "log2_copies", "length": "text_length"}


def ablation(
    ablations: pl.DataFrame | None,
    judged: pl.DataFrame,
    labels: TargetLabels,
    flops: Mapping[str, float],
    interval: float,
    rng: np.random.Generator,
    seed: int,
) -> list[dict[str, Any]]:
    """Return, for each stratum, every block's agreement with gains, its average precision, and what it adds to the block before.

    Only clusters that every block scored are compared: those the largest proxy trained on.
    """
    wide = _wide(ablations, judged)
    found = []
    for name in STRATA:
        mask = mask_of(judged, name)
        scored = mask & np.isfinite(np.stack([gain for _, gain in wide.values()])).all(axis=0) if wide else mask
        entry: dict[str, Any] = {"stratum": name, "num_clusters": int(scored.sum()), "blocks": []}
        if wide and scored.sum() >= MIN_CLUSTERS:
            inside = {key: (sink[scored], gain[scored]) for key, (sink, gain) in wide.items()}
            entry["blocks"] = _blocks(inside, labels.where(scored), flops, interval, rng)
            entry["upper_bound_of_blocks"] = upper_bound(judged, labels, scored, interval, rng, seed)
        found.append(entry | {"upper_bound": upper_bound(judged, labels, mask, interval, rng, seed)})
    return found


def upper_bound(
    judged: pl.DataFrame, labels: TargetLabels, mask: np.ndarray, interval: float, rng: np.random.Generator, seed: int
) -> dict[str, Any]:
    """Fit ranks of gains on every signal WITH target labels, each cluster predicted by a fit that did not see its own."""
    told = {"is_upper_bound": True, "sees_target_labels": True}
    rows, own = judged.filter(pl.Series(mask)), labels.where(mask)
    names = [RENAMED.get(name, name) for name in FEATURES if RENAMED.get(name, name) in judged.columns]
    if rows.height < MIN_CLUSTERS or not names:
        return {**told, "num_clusters": rows.height, "enough_data": False}
    raw = rows.select(pl.col(names).cast(pl.Float64).fill_null(np.nan)).to_numpy()
    gain = gain_of(own.pair_gains, np.ones(own.pair_gains.shape[1]))
    folds = assign_folds(rows["cluster_id"].to_list(), top_decile(gain, np.ones((1, len(gain))))[0], FOLDS, seed)
    design = Standardizer.fit(raw).design(raw)
    fitted = cross_fit_ridge(design, rankdata(gain) / len(gain), np.ones(len(gain)), folds)
    return told | agreement(fitted.predict(design, folds), draw_labels(own.pair_gains, rng), interval)


def _wide(ablations: pl.DataFrame | None, judged: pl.DataFrame) -> dict[str, tuple[Array, Array]]:
    if ablations is None:
        return {}
    wide = {}
    for block in ablations["block"].unique(maintain_order=True).to_list():
        scored = ablations.filter(pl.col("block") == block)
        own = judged.select("cluster_id").join(scored, on="cluster_id", how="left", maintain_order="left")
        wide[block] = (own["sink_score"].fill_null(np.nan).to_numpy(), own["predicted_gain"].fill_null(np.nan).to_numpy())
    return wide


def _blocks(
    scores: Mapping[str, tuple[Array, Array]], labels: TargetLabels, flops: Mapping[str, float], interval: float, rng: np.random.Generator
) -> list[dict[str, Any]]:
    number = labels.frame.height
    draws = draw_labels(labels.pair_gains, rng)
    truth = labels.frame["memorized"].fill_null(False).to_numpy()
    weights = redraws(number, rng)
    rows: list[dict[str, Any]] = []
    before: tuple[Array, Array] | None = None
    for name, (sink, predicted) in scores.items():
        correlations = correlations_over_clusters(predicted, draws)
        precision = average_precision(rank(sink, truth, weights))
        row: dict[str, Any] = {"block": name, "flops": flops.get(name), **agreement(predicted, draws, interval)}
        row["average_precision"] = estimate(precision, interval)
        if before is not None:
            row["adds_spearman"] = estimate(correlations - before[0], interval)
            row["adds_average_precision"] = estimate(precision - before[1], interval)
        rows.append(row)
        before = (correlations, precision)
    return rows
