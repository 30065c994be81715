"""Hold the predictor against labels it never saw, and against rivals on the same clusters.

The headline rows are features of the largest proxy below the largest label size against labels at that size: N < N', as in use.
Every learnt prediction is out-of-fold. Planted and natural text are not told apart here: the corpus does not say which is which.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import expit

from pipeline.config import RiskConfig
from pipeline.risk.calibration import calibrate
from pipeline.risk.capacity import capacity_tax
from pipeline.risk.claims import put_claims
from pipeline.risk.curves import duplication_curve, scale_slope, trajectories
from pipeline.risk.evidence import Evidence
from pipeline.risk.features import DECIMALS, FEATURES
from pipeline.risk.labels import at_largest_size, label_reliability
from pipeline.risk.linear import Array
from pipeline.risk.localization import localization
from pipeline.risk.metrics import NUM_DRAWS, auroc, average_precision, bounds, precision_recall, rank, redraws, spearman
from pipeline.risk.model_card import COMPARED_POSITIVES, importance, model_card, notes
from pipeline.risk.predictor import Rows, Teacher, sink_logits

JUDGED_POSITIVES = 50
"""Memorized clusters from which a stratum is judged. Source: the design's section 5."""
DRAWN = ("sink_score", "signal_score", "rival", "copies", "-loss")
"""Predictors whose precision-recall curves are drawn."""
STRATA = (("all", 1, None), ("copies 1", 1, 1), ("copies 2-5", 2, 5), ("copies 6-20", 6, 20), ("copies over 20", 21, None))


def evaluate(
    teacher: Teacher | None,
    rows: Rows | None,
    fitted: Rows | None,
    labels: pl.DataFrame,
    nulls: dict[int, float],
    evidence: Evidence,
    config: RiskConfig,
    seed: int,
) -> dict[str, Any]:
    """Return JSON-able facts: `evaluation` for the report and `model_card`, numbers rounded to 6 decimals.

    `fitted`: the rows that predictors were fitted to, `rows` or the same with graded labels. Where the exposure law speaks for too few
    memorized clusters it is still judged on those; only without a law, or without any such cluster, on the graded labels.
    `num_positive` counts memorized clusters in any case.
    """
    rng = np.random.default_rng([seed, 2])
    top = at_largest_size(labels)
    known = top.filter(pl.col("memorized").is_not_null())
    parameters = {int(size): evidence.num_parameters(int(size)) for size in labels["size"].unique().sort()}
    card = model_card(teacher, fitted, nulls, parameters, config)
    is_graded = teacher is not None and teacher.is_graded and not (teacher.is_unchecked and known["memorized"].any())
    judged = fitted if is_graded else rows
    facts: dict[str, Any] = {
        "label": "strong gain" if is_graded else "memorized",
        "label_sizes": list(parameters.values()),
        "num_labelled_clusters": known.height,
        "num_positive": int(known["memorized"].sum()),
        "label_reliability": label_reliability(top, NUM_DRAWS, config.interval, rng),
        "calibration": {"bins": []},
        "strata": [],
        "gain_over_rival": {"value": None, "low": None, "high": None},
        "precision_recall": [],
        "duplication_curve": duplication_curve(known, evidence, config.interval),
        "trajectories": trajectories(top, evidence),
        "localization": localization(evidence, config.interval),
        "scale_slope": scale_slope(labels, parameters, config.interval),
        "hypotheses": put_claims(evidence, labels, parameters, config.target_parameters, config.interval, np.random.default_rng([seed, 3])),
        "capacity_tax": capacity_tax(
            evidence,
            known.filter("memorized")["cluster_id"],
            {},
            config.target_parameters,
            config.interval,
            np.random.default_rng([seed, 4]),
        ),
        "features": [],
        "spearman_gain": {"value": None, "low": None, "high": None},
        "model_card": card,
        "notes": notes(teacher, known, parameters, config),
    }
    if teacher is not None and judged is not None and fitted is not None:
        facts |= _judge(teacher, _headline(judged), facts["label_reliability"]["value"], config, rng, evidence.suffix_tokens)
        facts["features"] = importance(teacher, fitted)
    rounded = _rounded(facts)
    return {"evaluation": rounded, "model_card": rounded["model_card"], "notes": rounded["notes"]}


def _headline(rows: Rows) -> Rows:
    top = rows.label_size.max()
    below = rows.feature_size[(rows.feature_size < top) & (rows.label_size == top)]
    feature_size = below.max() if len(below) else top
    return rows.where((rows.label_size == top) & (rows.feature_size == feature_size))


def _judge(
    teacher: Teacher, rows: Rows, reliability: float | None, config: RiskConfig, rng: np.random.Generator, suffix_tokens: int
) -> dict[str, Any]:
    tried = rows.where(np.isfinite(rows.memorized))
    truth = tried.memorized > 0
    predictors = _predictors(teacher, tried, rng, suffix_tokens)
    copies = np.round(2.0 ** tried.raw[:, FEATURES.index("copies")])
    strata, curves, draws_of_all = [], list[dict[str, Any]](), dict[str, Array]()
    for name, low, high in STRATA:
        inside = (copies >= low) & (copies <= (high or np.inf))
        found = {key: scores[inside] for key, scores in predictors.items()}
        stratum, draws = _stratum(name, found, truth[inside], config, rng)
        strata.append(stratum)
        curves += _curves(name, found, truth[inside])
        draws_of_all = draws_of_all or draws
    difference = draws_of_all["sink_score"] - draws_of_all["rival"]
    low_gain, high_gain = bounds(difference[1:], config.interval)
    return {
        "strata": strata,
        "gain_over_rival": {
            "value": float(difference[0]),
            "low": low_gain,
            "high": high_gain,
            "enough_data": bool(truth.sum() >= COMPARED_POSITIVES),
        },
        "precision_recall": curves,
        "calibration": calibrate(predictors["sink_score"], truth, config, rng),
        "spearman_gain": _gain(teacher, rows, reliability, config, rng),
    }


def _predictors(teacher: Teacher, rows: Rows, rng: np.random.Generator, suffix_tokens: int) -> dict[str, Array]:
    folds = teacher.folds[rows.cluster]
    learnt = {"sink_score": np.asarray(expit(sink_logits(teacher, rows)))} | {
        name: np.asarray(expit(model.predict(rows.raw, rows.ratio, folds)))
        for name, model in (("signal_score", teacher.signal), ("rival", teacher.rival))
    }

    def column(name: str) -> Array:
        return rows.raw[:, FEATURES.index(name)]

    return {
        **learnt,
        "copies": column("copies"),
        "fuzzy_mass": column("fuzzy_mass"),
        "length": column("length"),
        "loss": column("loss"),
        "-loss": -column("loss"),
        "zlib": -column("zlib_ratio"),
        "loss/zlib": -column("loss_per_zlib"),
        "min_k++": column("min_k_plus_plus"),
        "small-model-extractable": np.where(
            np.isfinite(column("greedy_match")), column("greedy_match") >= 1.0 - 0.5 / suffix_tokens, np.nan
        ),
        "LT-IQR": column("trajectory_iqr"),
        "random": rng.random(len(rows.memorized)),
    }


def _stratum(
    name: str, predictors: dict[str, Array], truth: NDArray[np.bool_], config: RiskConfig, rng: np.random.Generator
) -> tuple[dict[str, Any], dict[str, Array]]:
    count, positives = len(truth), int(truth.sum())
    stratum: dict[str, Any] = {
        "stratum": name,
        "num_clusters": count,
        "num_positive": positives,
        "enough_data": positives >= JUDGED_POSITIVES,
        "predictors": [],
    }
    if not count:
        return stratum, {}
    # the first draw is the data themselves; predictors share draws, so differences between them are paired
    weights = redraws(count, rng)
    precision = {}
    for key, scores in predictors.items():
        ranking = rank(scores, truth, weights)
        precision[key], area = average_precision(ranking), auroc(ranking)
        row: dict[str, Any] = {"name": key}
        for label, short, values in (("average_precision", "ap", precision[key]), ("auroc", "auroc", area)):
            low, high = bounds(values[1:], config.interval)
            row |= {label: float(values[0]), f"{short}_low": low, f"{short}_high": high}
        stratum["predictors"].append(row)
    return stratum, precision


def _curves(stratum: str, predictors: dict[str, Array], truth: NDArray[np.bool_]) -> list[dict[str, Any]]:
    """Return the precision-recall curves that the report draws; none without a memorized cluster."""
    once = np.ones((1, len(truth)))
    return [
        {"stratum": stratum, "predictor": name, "points": precision_recall(rank(predictors[name], truth, once))}
        for name in DRAWN
        if truth.any()
    ]


def _gain(teacher: Teacher, rows: Rows, reliability: float | None, config: RiskConfig, rng: np.random.Generator) -> dict[str, Any]:
    """Return the rank correlation of predicted with measured gain, over all and over unique clusters, and the labels' ceiling."""
    predicted = teacher.gain.predict(rows.raw, rows.ratio, teacher.folds[rows.cluster])
    unique = rows.raw[:, FEATURES.index("copies")] == 0
    ceiling = float(np.sqrt(reliability)) if reliability is not None and reliability > 0 else None
    found = _spearman(predicted, rows.gain, config, rng)
    corrected = found["value"] / ceiling if found["value"] is not None and ceiling else None
    return {**found, "ceiling": ceiling, "corrected": corrected, "unique": _spearman(predicted[unique], rows.gain[unique], config, rng)}


def _spearman(predicted: Array, gain: Array, config: RiskConfig, rng: np.random.Generator) -> dict[str, float | None]:
    if len(gain) < 3:
        return {"value": None, "low": None, "high": None}
    draws = [spearman(predicted[pick], gain[pick]) for pick in rng.integers(0, len(gain), (NUM_DRAWS, len(gain)))]
    low, high = bounds(np.array([np.nan if draw is None else draw for draw in draws], np.float64), config.interval)
    return {"value": spearman(predicted, gain), "low": low, "high": high}


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    if isinstance(value, float):
        return round(value, DECIMALS) if np.isfinite(value) else None
    return value
