"""Ask whether a score means what it says: predicted against observed shares on clusters that no fit saw."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.config import RiskConfig
from pipeline.risk.crossfit import clipped_logit
from pipeline.risk.linear import Array, fit_platt
from pipeline.risk.metrics import bounds, redraws

NUM_BINS = 10


def calibrate(predicted: Array, truth: NDArray[np.bool_], config: RiskConfig, rng: np.random.Generator) -> dict[str, Any]:
    """Return bins of equal count, Brier score and its skill over the base rate, expected calibration error, and slope.

    Source: Brier 1950; Naeini 2015 (ECE, here with bins of equal count); Cox 1958 (slope of the logistic recalibration).
    """
    groups = np.array_split(np.argsort(predicted, kind="stable"), min(NUM_BINS, len(predicted)))
    bins = [{"predicted": float(predicted[group].mean()), "observed": float(truth[group].mean()), "count": len(group)} for group in groups]
    weights = redraws(len(truth), rng)
    base = weights @ truth / len(truth)
    brier = weights @ (predicted - truth) ** 2 / len(truth)
    with np.errstate(divide="ignore", invalid="ignore"):
        skill = np.where(base * (1 - base) > 0, 1 - brier / (base * (1 - base)), np.nan)
    low, high = bounds(skill[1:], config.interval)
    ece = sum(row["count"] * abs(row["predicted"] - row["observed"]) for row in bins) / len(truth)
    slope, _ = fit_platt(clipped_logit(predicted), truth.astype(np.float64), np.ones(len(truth)))
    return {
        "bins": bins,
        "brier": float(brier[0]),
        "brier_skill": float(skill[0]),
        "brier_skill_low": low,
        "brier_skill_high": high,
        "ece": ece,
        "slope": slope,
    }
