"""Decide which clusters the label proxies memorized, and how far the in/out pairs agree on it.

For each label size a cluster has two kinds of models: *in*, trained with it, and *out*, trained without. A window that other
clusters share is left out, because the other cluster's side would decide its outcome.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline.config import RiskConfig
from pipeline.risk.evidence import Evidence

GRADED_SHARE = 0.1

LABELS = {
    "cluster_id": pl.Binary,
    "size": pl.Int64,  # rank on the ladder
    "gain": pl.Float64,  # nats per token
    "gain_first": pl.Float64,  # the same from every other in and out model ...
    "gain_second": pl.Float64,  # ... and from the rest: two independent measurements
    "unit": pl.String,  # suffix: log-probability of suffixes; window: of whole windows, where no suffix fits
    "num_windows": pl.Int64,  # its own windows that are measured: those with a suffix, or all where none fits
    "extracted_in": pl.Float64,  # share of in-models that recite a suffix
    "extracted_out": pl.Float64,
    "memorized": pl.Boolean,  # null where no suffix fits: extraction cannot be tried
}


def label_clusters(evidence: Evidence, config: RiskConfig) -> tuple[pl.DataFrame, dict[int, float]]:
    """Label every cluster that has in-models and out-models, at every label size; return the labels and each size's null quantile.

    A cluster is memorized when at least half of its in-models recite it and its gain exceeds the null quantile. A model *recites* a
    cluster when it reproduces some window's whole suffix greedily, or 1 - (1 - p_z)^n >= p for it. Gain: mean over windows of the
    suffix's log-probability per token, in-models less out-models; the whole window's where no suffix fits.
    Source: the design's section 2; Carlini 2023, section 3 (extractable); Hayes 2024 ((n, p)-discoverable); Zhang 2021 (counterfactual).
    """
    frames, nulls = [], {}
    for size in evidence.sizes("label_half"):
        outcomes = model_outcomes(evidence, size, config)
        nulls[size] = null_quantile(outcomes, config.null_quantile)
        frames.append(_contrast(outcomes, nulls[size]).with_columns(size=pl.lit(size, pl.Int64)))
    empty = pl.DataFrame(schema=LABELS)
    return (pl.concat([frame.select(list(LABELS)) for frame in frames]) if frames else empty).sort("size", "cluster_id"), nulls


def at_largest_size(labels: pl.DataFrame) -> pl.DataFrame:
    """Return the labels of the largest size that has any."""
    return labels.filter(pl.col("size") == pl.col("size").max())


def graded_thresholds(labels: pl.DataFrame, nulls: Mapping[int, float]) -> dict[int, float]:
    """Return, for each label size, the gain above which a cluster counts as strongly memorized: the top decile's, or the null's if higher.

    A share of each size's clusters rather than one gain for all: what it means doesn't drift with size. Source: the design's section 6.
    """
    gains = {size: labels.filter(pl.col("size") == size)["gain"].to_numpy() for size in nulls}
    return {size: max(null, float(np.quantile(gains[size], 1 - GRADED_SHARE))) for size, null in nulls.items() if len(gains[size])}


def model_outcomes(evidence: Evidence, size: int, config: RiskConfig) -> pl.DataFrame:
    """Return one row a cluster and label proxy: log_prob in nats per token, is_recited, in_training, unit, num_windows.

    is_recited is null where no suffix fits.
    """
    threshold = discoverable_log_prob(config)
    recited = (pl.col("memorization_score") >= 1.0) | (pl.col("suffix_log_prob") >= threshold)
    keys = ["cluster_id", "proxy", "in_training"]
    own = ~pl.col("is_shared")
    suffix = (
        evidence.recitals("label_half", size)
        .filter(own)
        .group_by(keys, maintain_order=True)
        .agg(
            log_prob=pl.col("suffix_log_prob").cast(pl.Float64).mean() / evidence.suffix_tokens,
            is_recited=recited.any(),
            unit=pl.lit("suffix"),
            num_windows=pl.len().cast(pl.Int64),
        )
    )
    window = (
        evidence.probes("label_half", size)
        .filter(own)
        .join(suffix, on="cluster_id", how="anti")
        .group_by(keys, maintain_order=True)
        .agg(
            log_prob=-pl.col("loss").cast(pl.Float64).mean(),
            is_recited=pl.lit(None, pl.Boolean),
            unit=pl.lit("window"),
            num_windows=pl.len().cast(pl.Int64),
        )
    )
    return pl.concat([suffix, window]).sort("cluster_id", "proxy")


def discoverable_log_prob(config: RiskConfig) -> float:
    """Return the log-probability from which a suffix is (n, p)-discoverable: 1 - (1 - p_z)^n >= p, solved for log p_z."""
    return math.log(-math.expm1(math.log1p(-config.discoverable_probability) / config.discoverable_tries))


def null_quantile(outcomes: pl.DataFrame, quantile: float) -> float:
    """Return a quantile of the gains that clusters show between models that all did *not* train on them.

    Each cluster's out-models are cut into two halves; the difference of their means, scaled to the variance of a gain (1/in + 1/out
    models), is taken with both signs. Infinite when no cluster has two out-models: nothing can then be called memorized.
    """
    differences = []
    trained = outcomes.group_by("cluster_id").agg(num_in=pl.col("in_training").sum(), num_out=(~pl.col("in_training")).sum())
    pairs = trained.filter(pl.col("num_in") > 0).select((1 / pl.col("num_in") + 1 / pl.col("num_out")).median()).item()
    for _, values in outcomes.filter(~pl.col("in_training")).group_by("cluster_id", maintain_order=True):
        logs = values["log_prob"].to_numpy()
        half = len(logs) // 2
        if half:
            scale = math.sqrt((pairs or 2.0 / half) / (2.0 / half))
            differences.append(scale * float(np.mean(logs[:half]) - np.mean(logs[half : 2 * half])))
    if not differences:
        return math.inf
    return float(np.quantile(np.concatenate([differences, np.negative(differences)]), quantile))


def null_gain(nulls: Mapping[int, float]) -> float:
    """Return one gain for all sizes that a memorized cluster exceeds: the mean of those measured; infinite if none was."""
    measured = [null for null in nulls.values() if math.isfinite(null)]
    return sum(measured) / len(measured) if measured else math.inf


def label_reliability(labels: pl.DataFrame, num_bootstrap: int, interval: float, rng: np.random.Generator) -> dict[str, Any]:
    """Correlate the gains of two independent halves of the models and step up to all of them: 2r / (1 + r).

    Its root is the ceiling of every predictor's correlation with the labels. Interval by bootstrap over clusters.
    Source: Spearman 1910; Brown 1910.
    """
    both = labels.drop_nulls(["gain_first", "gain_second"])
    first, second = both["gain_first"].to_numpy(), both["gain_second"].to_numpy()
    if len(first) < 3:
        return {"value": None, "low": None, "high": None}
    draws = [_stepped_up(first[rows], second[rows]) for rows in rng.integers(0, len(first), (num_bootstrap, len(first)))]
    low, high = np.quantile(draws, [(1 - interval) / 2, (1 + interval) / 2])
    return {"value": _stepped_up(first, second), "low": float(low), "high": float(high)}


def _contrast(outcomes: pl.DataFrame, null: float) -> pl.DataFrame:
    # every other in-model against every other out-model: with complementary pairs these are the pairs themselves
    ranked = outcomes.with_columns(is_first=pl.int_range(pl.len()).over("cluster_id", "in_training") % 2 == 0)
    inside, first = pl.col("in_training"), pl.col("is_first")
    log_prob = pl.col("log_prob")

    def gap(which: pl.Expr) -> pl.Expr:
        return log_prob.filter(inside & which).mean() - log_prob.filter(~inside & which).mean()

    table = ranked.group_by("cluster_id", maintain_order=True).agg(
        gain=gap(pl.lit(True)),
        gain_first=gap(first),
        gain_second=gap(~first),
        unit=pl.col("unit").first(),
        num_windows=pl.col("num_windows").max(),
        extracted_in=pl.col("is_recited").filter(inside).cast(pl.Float64).mean(),
        extracted_out=pl.col("is_recited").filter(~inside).cast(pl.Float64).mean(),
    )
    memorized = (pl.col("extracted_in") >= 0.5) & (pl.col("gain") > null)
    return table.drop_nulls("gain").with_columns(memorized=pl.when(pl.col("extracted_in").is_not_null()).then(memorized))


def _stepped_up(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    if np.std(first) < 1e-12 or np.std(second) < 1e-12:
        return 0.0
    correlation = float(np.corrcoef(first, second)[0, 1])
    return 2 * correlation / (1 + correlation) if correlation > 0 else correlation
