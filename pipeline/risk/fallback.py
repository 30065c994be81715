"""Say how little is known where labels are too few to fit a predictor: one base rate for all, with its interval."""

from __future__ import annotations

import polars as pl
from scipy.stats import beta as beta_distribution

from pipeline.config import RiskConfig
from pipeline.risk.labels import at_largest_size
from pipeline.risk.predictor import MIN_POSITIVES, interval_width

PRIOR = (0.5, 9.5)
"""Beta prior of the base rate where no predictor can be fitted: sinks are rare, and nothing is worth one cluster in twenty."""
SCORES = ("sink_score", "sink_score_low", "sink_score_high", "predicted_gain", "predicted_gain_low", "predicted_gain_high", "signal_score")


def base_rate_scores(texts: pl.DataFrame, labels: pl.DataFrame, config: RiskConfig) -> pl.DataFrame:
    """Return every cluster with the base rate of memorization at the largest label size, none of them supported.

    Beta posterior mean and interval; from 0 to 1 where no cluster was labelled. Gain: mean and spread of the measured gains.
    """
    known = at_largest_size(labels).filter(pl.col("memorized").is_not_null())
    positive, tried = int(known["memorized"].sum()), known.height
    low, high = beta_distribution.ppf(
        [(1 - config.interval) / 2, (1 + config.interval) / 2], PRIOR[0] + positive, PRIOR[1] + tried - positive
    )
    gains = labels["gain"].to_numpy()
    middle, deviation = (float(gains.mean()), float(gains.std())) if len(gains) else (0.0, 0.0)
    reach = interval_width(config.interval) * deviation
    values = (
        (PRIOR[0] + positive) / (sum(PRIOR) + tried),
        float(low) if tried else 0.0,
        float(high) if tried else 1.0,
        middle,
        middle - reach,
        middle + reach,
        None,
    )
    return texts.select(
        "cluster_id",
        *(pl.lit(value, pl.Float64).alias(name) for name, value in zip(SCORES, values, strict=True)),
        scored_by=pl.lit("student"),
        is_supported=pl.lit(False),
        reason=pl.lit(f"not enough data: {positive} memorized clusters, {MIN_POSITIVES} needed; the base rate"),
    )
