"""Do probabilities and gains mean what they say at the target's size, and how far did calibration travel from the proxies' size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl
from scipy.special import expit, ndtri

from pipeline.proof.agreement import MIN_POSITIVES
from pipeline.proof.labels import TargetLabels
from pipeline.proof.strata import FEW, NATURAL, PLANTED, UNIQUE, Mask, mask_of
from pipeline.risk.crossfit import clipped_logit
from pipeline.risk.linear import Array
from pipeline.risk.metrics import estimate, redraws
from pipeline.statistics import wilson_interval

STRATA = (NATURAL, UNIQUE, FEW, f"{NATURAL}, by the teacher", f"{NATURAL}, by the student", PLANTED, "all")
NUM_BINS = 10
NEWTON_STEPS = 25
MAX_STEP = 2.0


def calibration(
    judged: pl.DataFrame, labels: TargetLabels, at_proxies: Mapping[str, Any] | None, interval: float, rng: np.random.Generator
) -> dict[str, Any]:
    """Return the calibration of sink_score and of predicted_gain in each stratum; `travelled` compares with the proxies' own size.

    `at_proxies`: the facts that scoring recorded (`evaluation`), of out-of-fold scores at the largest label size.
    """
    known = labels.frame["memorized"].is_not_null().to_numpy()
    truth = labels.frame["memorized"].fill_null(False).to_numpy()
    scores, gain = judged["sink_score"].to_numpy(), labels.frame["gain"].to_numpy()
    rows = []
    for name in STRATA:
        mask = mask_of(judged, name)
        tried = mask & known
        rows.append(
            {
                "stratum": name,
                **calibrate_scores(scores[tried], truth[tried], interval, rng),
                "gain": calibrate_gains(judged.filter(pl.Series(mask)), gain[mask], interval, rng),
            }
        )
    return {"strata": rows, "travelled": _travelled(at_proxies, next(row for row in rows if row["stratum"] == "all"))}


def calibrate_scores(predicted: Array, truth: Mask, interval: float, rng: np.random.Generator) -> dict[str, Any]:
    """Return expected calibration error, Brier score and its skill over the base rate, slope and intercept, and bins, with intervals.

    predicted = expit(z); slope and intercept are those of truth ~ expit(slope z + intercept). Skill: 1 - Brier / (base (1 - base)).
    Source: Naeini 2015 (here with bins of equal count); Brier 1950; Cox 1958.
    """
    facts: dict[str, Any] = {
        "num_clusters": len(truth),
        "num_positive": int(truth.sum()),
        "enough_data": bool(truth.sum() >= MIN_POSITIVES),
        "mean_score": float(predicted.mean()) if len(truth) else None,
        "base_rate": float(truth.mean()) if len(truth) else None,
        "bins": _bins(predicted, truth, interval),
    }
    if not truth.any() or truth.all():
        return facts
    weights = redraws(len(truth), rng)
    base = weights @ truth / len(truth)
    brier = weights @ (predicted - truth) ** 2 / len(truth)
    with np.errstate(divide="ignore", invalid="ignore"):
        skill = np.where(base * (1 - base) > 0, 1 - brier / (base * (1 - base)), np.nan)
    slopes, intercepts = _recalibrate(clipped_logit(predicted), truth.astype(np.float64), weights)
    figures = {"brier": brier, "brier_skill": skill, "slope": slopes, "intercept": intercepts}
    return facts | {"ece": _error(facts["bins"])} | {name: estimate(draws, interval) for name, draws in figures.items()}


def calibrate_gains(judged: pl.DataFrame, gain: Array, interval: float, rng: np.random.Generator) -> dict[str, Any]:
    """Return slope and intercept of measured on predicted gains (nats per token), their mean miss, and the share inside the interval.

    A share inside below the stated confidence says that the intervals are too narrow; measured gains' own noise counts against it.
    """
    if len(gain) < 3 or np.ptp(judged["predicted_gain"].to_numpy()) == 0:
        return {"num_clusters": len(gain)}
    predicted = judged["predicted_gain"].to_numpy()
    weights = redraws(len(gain), rng)
    total = weights.sum(axis=1)
    mean_x, mean_y = weights @ predicted / total, weights @ gain / total
    spread = weights @ predicted**2 / total - mean_x**2
    slope = (weights @ (predicted * gain) / total - mean_x * mean_y) / np.maximum(spread, 1e-12)
    inside = (judged["predicted_gain_low"].to_numpy() <= gain) & (gain <= judged["predicted_gain_high"].to_numpy())
    return {
        "num_clusters": len(gain),
        "slope": estimate(slope, interval),
        "intercept": estimate(mean_y - slope * mean_x, interval),
        "mean_miss": estimate(mean_y - mean_x, interval),
        "share_inside": float(inside.mean()),
    }


def _bins(predicted: Array, truth: Mask, interval: float) -> list[dict[str, Any]]:
    z = float(ndtri(0.5 + interval / 2))
    bins = []
    for group in np.array_split(np.argsort(predicted, kind="stable"), min(NUM_BINS, len(predicted))) if len(predicted) else []:
        low, high = wilson_interval(float(truth[group].sum()), len(group), z)
        observed = float(truth[group].mean())
        bins.append({"predicted": float(predicted[group].mean()), "observed": observed, "low": low, "high": high, "count": len(group)})
    return bins


def _error(bins: list[dict[str, Any]]) -> float:
    total = sum(row["count"] for row in bins)
    return float(sum(row["count"] * abs(row["predicted"] - row["observed"]) for row in bins) / total)


def _recalibrate(logits: Array, truth: Array, weights: Array) -> tuple[Array, Array]:
    """Fit slope and intercept (B,) for all weighted draws at once by Newton steps; NaN where a draw has one kind only.

    From a flat line at the base rate, where every row still counts: from slope 1 rows far out would throw the first steps.
    """
    hits, total = weights @ truth, weights.sum(axis=1)
    whole = (hits > 0) & (hits < total)
    middle, scale = float(logits.mean()), max(float(logits.std()), 1e-9)
    x = (logits - middle) / scale
    slopes, levels = np.zeros(len(weights)), np.asarray(clipped_logit(hits / total))
    for _ in range(NEWTON_STEPS):
        p = expit(slopes[:, None] * x + levels[:, None])
        residual, curve = weights * (truth - p), weights * p * (1 - p)
        pull_slope, pull_level = residual @ x, residual.sum(axis=1)
        a, b, c = curve @ x**2 + 1e-6, curve @ x, curve.sum(axis=1) + 1e-6
        determinant = np.maximum(a * c - b * b, 1e-12)
        slopes = slopes + np.clip((c * pull_slope - b * pull_level) / determinant, -MAX_STEP, MAX_STEP)
        levels = levels + np.clip((a * pull_level - b * pull_slope) / determinant, -MAX_STEP, MAX_STEP)
    slopes = slopes / scale
    return np.where(whole, slopes, np.nan), np.where(whole, levels - slopes * middle, np.nan)


def _travelled(at_proxies: Mapping[str, Any] | None, at_target: Mapping[str, Any]) -> dict[str, Any] | None:
    before = (at_proxies or {}).get("calibration") or {}
    if "ece" not in before or "ece" not in at_target:
        return None
    return {
        "ece": {"proxies": before["ece"], "target": at_target["ece"]},
        "brier_skill": {"proxies": before["brier_skill"], "target": at_target["brier_skill"]["value"]},
        "slope": {"proxies": before["slope"], "target": at_target["slope"]["value"]},
    }
