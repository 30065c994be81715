"""Say how little is known where too few clusters were extracted to fit a predictor, and never call any of it supported.

First resort: the exposure law alone, see `pipeline.risk.exposure_law`. Where no suffix was measured: learn which gains
are in the top decile and above the null, and scale by how often such clusters are extracted.
Last resort: one base rate for all, with its interval.
"""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl
from scipy.stats import beta as beta_distribution

from pipeline.config import RiskConfig
from pipeline.risk.labels import at_largest_size
from pipeline.risk.predictor import MIN_POSITIVES, interval_width

PRIOR = (0.5, 9.5)
"""Beta prior of the base rate where no predictor can be fitted: sinks are rare, and nothing is worth one cluster in twenty."""
SCORES = ("sink_score", "sink_score_low", "sink_score_high", "predicted_gain", "predicted_gain_low", "predicted_gain_high", "signal_score")


def scale_graded(scored: pl.DataFrame, labels: pl.DataFrame, thresholds: Mapping[int, float], config: RiskConfig) -> pl.DataFrame:
    """Turn probabilities of a strong gain into probabilities of memorization; no row is supported.

    P(memorized) = P(strong gain) x P(memorized given that), the second a Beta posterior at the largest label size, not extrapolated:
    order is learnt, height is barely known. Ends of the interval are products of the ends.
    """
    last = at_largest_size(labels).filter(pl.col("memorized").is_not_null())
    gaining = last.filter(pl.col("gain") > pl.Series([thresholds[size] for size in last["size"]], dtype=pl.Float64))
    positive = int(gaining["memorized"].sum())
    rates = _rate(positive, gaining.height, config)
    by_column = zip(("sink_score", "sink_score_low", "sink_score_high", "signal_score"), (*rates, rates[0]), strict=True)
    said = f"; height uncertain: only {positive} of {gaining.height} clusters with strong gains were extracted"
    return scored.with_columns(
        *((pl.col(name) * rate).alias(name) for name, rate in by_column), is_supported=pl.lit(False), reason=pl.col("reason") + said
    )


def unchecked_law(scored: pl.DataFrame, labels: pl.DataFrame) -> pl.DataFrame:
    """Mark scores that are the exposure law's alone, because too few clusters were memorized to check it: no row is supported.

    Their order is what is known, so intervals reach from 0 to 1: on mail, of which proxies learnt next to nothing, the law's own ended
    at .002 where .06 were memorized (reports/log.md).
    """
    positive = int(at_largest_size(labels)["memorized"].sum())
    said = f"; by copies, near copies, windows and model size alone: only {positive} memorized clusters to check it by, height unknown"
    return scored.with_columns(
        sink_score_low=pl.lit(0.0), sink_score_high=pl.lit(1.0), is_supported=pl.lit(False), reason=pl.col("reason") + said
    )


def base_rate_scores(texts: pl.DataFrame, labels: pl.DataFrame, config: RiskConfig) -> pl.DataFrame:
    """Return every cluster with the base rate of memorization at the largest label size, none of them supported.

    Beta posterior mean and interval; from 0 to 1 where no cluster was labelled. Gain: mean and spread of the measured gains.
    """
    known = at_largest_size(labels).filter(pl.col("memorized").is_not_null())
    positive, tried = int(known["memorized"].sum()), known.height
    middle_rate, low, high = _rate(positive, tried, config)
    gains = labels["gain"].to_numpy()
    middle, deviation = (float(gains.mean()), float(gains.std())) if len(gains) else (0.0, 0.0)
    reach = interval_width(config.interval) * deviation
    values = (
        middle_rate,
        low,
        high,
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


def _rate(positive: int, tried: int, config: RiskConfig) -> tuple[float, float, float]:
    posterior = (PRIOR[0] + positive, PRIOR[1] + tried - positive)
    low, high = beta_distribution.ppf([(1 - config.interval) / 2, (1 + config.interval) / 2], *posterior)
    middle = posterior[0] / sum(posterior)
    return (middle, min(float(low), middle), max(float(high), middle)) if tried else (middle, 0.0, 1.0)
