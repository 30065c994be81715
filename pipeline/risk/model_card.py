"""Describe the fitted predictor: what it is, what moves it, and what the reader must know before trusting it."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from pipeline.config import RiskConfig
from pipeline.risk.exposure_law import BEYOND, SHARED
from pipeline.risk.predictor import MIN_POSITIVES, RIVAL_FEATURES, Model, Rows, Teacher, sink_logits

COMPARED_POSITIVES = 150
"""Memorized clusters from which a difference in average precision can be settled. Source: the design's section 5."""
LAW = "exposure law"
DEFINITION = (
    "sink_score is the probability that a model of the stated size, trained on the unfiltered corpus, memorizes the cluster: at least half "
    "of the models trained with it recite one of its suffixes and its counterfactual gain exceeds the out-versus-out null."
)


def importance(teacher: Teacher, rows: Rows) -> list[dict[str, Any]]:
    """Return each feature's mean pull on the score in logits, largest first: |coefficient x design| averaged over rows.

    That of the exposure law is the mean distance of its log-odds from their own middle.
    """
    if teacher.sink is None:
        known = sink_logits(teacher, rows)
        return [{"name": LAW, "importance": float(np.abs(known - np.median(known)).mean())}]
    pulls = np.abs(teacher.sink.design(rows.raw, rows.ratio) * teacher.sink.fitted.betas[-1][:-1]).mean(axis=0)
    named = list(zip(pulls.tolist(), teacher.sink.names(), strict=True))
    ranked = sorted(named, key=lambda pair: (-pair[0], pair[1]))
    return [{"name": name, "importance": pull} for pull, name in ranked]


def notes(teacher: Teacher | None, known: pl.DataFrame, parameters: dict[int, int], config: RiskConfig) -> list[str]:
    """Say what the reader must know: too few positives, extrapolation in size, what could not be measured."""
    positive = int(known["memorized"].sum())
    found = []
    if teacher is None or teacher.is_graded:
        found.append(f"Not enough data: {positive} memorized clusters at the largest label size, {MIN_POSITIVES} needed over all sizes.")
    if teacher is None:
        return [*found, "Every score is the base rate."]
    if teacher.is_unchecked:
        found.append(
            "Scores are the exposure law's: copies, near copies, windows, model size and predicted gain. It was fitted to what proxies "
            "still miss of their texts, of which there is enough, and could not be checked against texts they recite; no row counts as "
            "supported."
        )
    elif teacher.is_graded:
        found.append(
            "Graded labels stand in: the predictor was fitted to and judged on gains in the top decile and above the null, and scores are "
            "scaled by how often such clusters were extracted. Their order is learnt, their height barely; no row counts as supported."
        )
    elif positive < COMPARED_POSITIVES:
        found.append(f"{positive} memorized clusters: too few to settle a difference in average precision ({COMPARED_POSITIVES} needed).")
    if parameters and config.target_parameters > max(parameters.values()):
        factor = config.target_parameters / max(parameters.values())
        found.append(
            f"Scores are an extrapolation to {factor:.0f} times the largest size with labels; calibration was measured at that size only, "
            "of the law as halves of the subsample give it. Predicted gains are those of the largest proxy's size; their intervals reach "
            "to what size may do beyond it."
        )
    if teacher.size_error is None:
        found.append(
            "The ladder has one size only: the error of extrapolating in size could not be measured, one logit a doubling is assumed."
        )
    return found


def model_card(
    teacher: Teacher | None, rows: Rows | None, nulls: dict[int, float], parameters: dict[int, int], config: RiskConfig
) -> dict[str, Any]:
    """Return the predictor's definition, coefficients, recalibration and errors of extrapolation, JSON-able."""
    card: dict[str, Any] = {
        "definition": DEFINITION,
        "model": "exposure law, cross-fitted; without one a ridge logistic regression of graded labels, recalibrated (Platt)",
        "target_parameters": config.target_parameters,
        "null_gain": [{"size": parameters[size], "value": null} for size, null in nulls.items()],
        "rival": list(RIVAL_FEATURES),
        "is_fitted": teacher is not None,
    }
    if teacher is None or rows is None:
        return card
    return card | {
        "exposure_law": _law(teacher),
        "num_rows": len(rows.cluster),
        "num_clusters": len(rows.cluster_ids),
        "penalty": None if teacher.sink is None else teacher.sink.fitted.penalty,
        "coefficients": [] if teacher.sink is None else _coefficients(teacher.sink),
        "platt": None if teacher.sink is None else [float(value) for value in teacher.sink.fitted.platts[-1]],
        "size_error_logits_per_doubling": teacher.size_error,
        "size_error_gain_per_doubling": teacher.gain_error,
    }


def _coefficients(sink: Model) -> list[dict[str, Any]]:
    named = zip((*sink.names(), "intercept"), sink.fitted.betas[-1], strict=True)
    return [{"name": name, "value": float(value)} for name, value in named]


def _law(teacher: Teacher) -> dict[str, Any] | None:
    """Return the law that speaks for the target, slopes as changes of ln residual loss a doubling; None without one."""
    if teacher.laws is None:
        return None
    law = teacher.laws.fitted[-1]
    return {
        "level": law.level,
        "copies_slope": law.copies_slope,
        "near_slope": law.near_slope,
        "size_slope": law.size_slope,
        "center_log2_parameters": law.center,
        "largest_log2_parameters": law.largest,
        "size_share_beyond": BEYOND,
        "shared_variance": SHARED,
        "spread": law.spread,
        "limit": law.limit,
        "null_gain": teacher.test.null,
        "gain_spread": teacher.test.spread,
    }
