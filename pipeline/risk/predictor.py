"""The teacher: a calibrated probability of memorization for every cluster that proxies trained on, at a size no fit has seen.

It is fitted to the proxies' own labels only. A row is (cluster, N, N'): features at proxy size N, label at size N' >= N, and
log2(N'/N) among the features. N < N' is the case it is used for. Rows with N = N' are fitted too, with the label proxies' own
independent splits: labels exist at two sizes, so N < N' alone is one ratio, from which no effect of the ratio can be learnt; N = N'
is the second. Copies, fuzzy mass, counterfactual gap and reference gap may only raise a score.

Calibration holds at the largest label size. The target is an extrapolation along the ratio; its interval is the bootstrap's over
clusters, widened by the error of predicting one label size from the other, per doubling, times the doublings to the target.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.special import ndtri

from pipeline.config import RiskConfig
from pipeline.risk.crossfit import (
    NO_FOLD,
    CrossFitted,
    Folds,
    assign_folds,
    cross_fit_logistic,
    cross_fit_ridge,
    size_error,
)
from pipeline.risk.features import COPY_FEATURES, FEATURES, FITTED_FEATURES, RISING_FEATURES
from pipeline.risk.linear import Array, Standardizer, fit_logistic, fit_ridge

MIN_POSITIVES = 10
MIN_NEGATIVES = 10
UNKNOWN_LOGIT_ERROR = 1.0
"""Logits a doubling by which an interval widens when a single label size leaves the error of extrapolation unmeasured."""
RIVAL_FEATURES = ("copies", "loss", "zlib_ratio")


@dataclass(frozen=True)
class Rows:
    """Hold (cluster, N, N') rows: `cluster (n,)` indexes `cluster_ids`, `raw (n, p)` has FEATURES, `ratio` = log2(N'/N)."""

    cluster_ids: tuple[bytes, ...]
    cluster: NDArray[np.int64]
    raw: Array
    feature_size: NDArray[np.int64]
    label_size: NDArray[np.int64]
    ratio: Array
    doublings: Array  # log2 parameters of the label's model
    memorized: Array  # 1, 0, NaN where extraction cannot be tried
    gain: Array

    def where(self, kept: NDArray[np.bool_]) -> Rows:
        """Return the rows that a mask keeps."""
        held = {field.name: getattr(self, field.name)[kept] for field in fields(self) if field.name != "cluster_ids"}
        return replace(self, **held)

    def weights(self) -> Array:
        """Return weights that give each cluster a total of one."""
        return 1.0 / np.bincount(self.cluster, minlength=len(self.cluster_ids))[self.cluster]


@dataclass(frozen=True)
class Model:
    """Hold one cross-fitted model with its features and their standardization."""

    features: tuple[str, ...]
    standardizer: Standardizer
    fitted: CrossFitted

    def design(self, raw: Array, ratio: Array) -> Array:
        """Return the design of raw FEATURES (n, p): the model's own standardized, then the ratio."""
        own = raw[:, [FEATURES.index(name) for name in self.features]]
        return np.hstack([self.standardizer.design(own), ratio[:, None]])

    def predict(self, raw: Array, ratio: Array, folds: Folds) -> Array:
        """Return out-of-fold logits or values."""
        return self.fitted.predict(self.design(raw, ratio), folds)

    def names(self) -> tuple[str, ...]:
        """Name the design's columns."""
        return (*self.standardizer.names(self.features), "log2 size ratio")


@dataclass(frozen=True)
class Teacher:
    """Hold the fitted predictors and what is known of their error.

    `folds (n clusters)`: NO_FOLD where a cluster has no label. `sink_draws (B, q + 1)`, `gain_draws`: bootstrap coefficients.
    `*_error`: leave-one-size-out miss per doubling, None where unmeasured.
    """

    folds: Folds
    sink: Model
    signal: Model
    rival: Model
    gain: Model
    sink_draws: Array
    gain_draws: Array
    sink_error: float | None
    gain_error: float | None


def build_rows(tables: dict[int, pl.DataFrame], labels: pl.DataFrame, num_parameters: dict[int, int]) -> Rows:
    """Join features at every size with labels at every size at or above it; clusters in the order of their ids."""
    cluster_ids = tuple(sorted(set(labels["cluster_id"].to_list()) & {key for table in tables.values() for key in table["cluster_id"]}))
    position = pl.DataFrame(
        {"cluster_id": cluster_ids, "cluster": np.arange(len(cluster_ids))}, schema={"cluster_id": pl.Binary, "cluster": pl.Int64}
    )
    pieces = []
    for size, table in sorted(tables.items()):
        joined = table.join(labels.filter(pl.col("size") >= size), on="cluster_id").join(position, on="cluster_id")
        pieces.append(joined.with_columns(feature_size=pl.lit(size, pl.Int64)))
    frame = pl.concat(pieces).sort("cluster", "feature_size", "size")
    log_parameters = {size: float(np.log2(count)) for size, count in num_parameters.items()}
    at = np.array([log_parameters[size] for size in frame["feature_size"]], np.float64)
    to = np.array([log_parameters[size] for size in frame["size"]], np.float64)
    return Rows(
        cluster_ids,
        frame["cluster"].to_numpy(),
        raw_features(frame),
        frame["feature_size"].to_numpy(),
        frame["size"].to_numpy(),
        to - at,
        to,
        frame["memorized"].cast(pl.Float64).fill_null(np.nan).to_numpy(),
        frame["gain"].to_numpy(),
    )


def graded(rows: Rows, thresholds: Mapping[int, float]) -> Rows:
    """Return the rows with a graded label in place of extraction: a gain above its size's threshold (`labels.graded_thresholds`).

    The design stays with graded labels where exact extraction is too rare to learn from.
    """
    threshold = np.array([thresholds[size] for size in rows.label_size.tolist()])
    return replace(rows, memorized=(rows.gain > threshold).astype(np.float64))


def raw_features(frame: pl.DataFrame) -> Array:
    """Return FEATURES as (n, p), NaN for null."""
    return frame.select(pl.col(FEATURES).fill_null(np.nan)).to_numpy().astype(np.float64)


def fit_teacher(rows: Rows, config: RiskConfig, seed: int) -> Teacher | None:
    """Fit every predictor; None when fewer than MIN_POSITIVES or MIN_NEGATIVES clusters are labelled: not enough data."""
    labelled = rows.where(np.isfinite(rows.memorized))
    positive = np.zeros(len(rows.cluster_ids), dtype=bool)
    positive[labelled.cluster[labelled.memorized > 0]] = True
    has_label = np.zeros(len(rows.cluster_ids), dtype=bool)
    has_label[labelled.cluster] = True
    if positive.sum() < MIN_POSITIVES or (has_label & ~positive).sum() < MIN_NEGATIVES:
        return None
    folds = assign_folds(rows.cluster_ids, positive, config.num_folds, seed)
    signals = tuple(name for name in FITTED_FEATURES if name not in COPY_FEATURES)
    sink, signal, rival = (_fit_sink(labelled, folds, features) for features in (FITTED_FEATURES, signals, RIVAL_FEATURES))
    gain = _fit_gain(rows, folds)
    rng = np.random.default_rng([seed, 1])
    draws = rng.multinomial(len(rows.cluster_ids), np.full(len(rows.cluster_ids), 1 / len(rows.cluster_ids)), config.num_bootstrap)
    return Teacher(
        folds=folds,
        sink=sink,
        signal=signal,
        rival=rival,
        gain=gain,
        sink_draws=_draw_sink(sink, labelled, draws),
        gain_draws=_draw_gain(gain, rows, draws),
        sink_error=size_error(
            sink.design(labelled.raw, labelled.ratio),
            labelled.memorized,
            labelled.weights(),
            labelled.doublings,
            _rising(sink),
            sink.fitted.penalty,
        ),
        gain_error=size_error(gain.design(rows.raw, rows.ratio), rows.gain, rows.weights(), rows.doublings, None, gain.fitted.penalty),
    )


def interval_width(confidence: float) -> float:
    """Return how many standard deviations a two-sided normal interval reaches to each side."""
    return float(ndtri(0.5 + confidence / 2))


def spread(draws: Array, design: Array, model: Model, size_error: float, doublings: float) -> Array:
    """Return each row's standard deviation: the bootstrap's, and the extrapolation's over so many doublings beyond the labels."""
    values = np.hstack([design, np.ones((len(design), 1))]) @ draws.T
    sampling = model.fitted.platts[NO_FOLD, 0] * values.std(axis=1)
    return np.asarray(np.hypot(sampling, size_error * max(doublings, 0.0)))


def _fit_sink(rows: Rows, folds: Folds, features: tuple[str, ...]) -> Model:
    standardizer = Standardizer.fit(rows.raw[:, [FEATURES.index(name) for name in features]])
    empty = Model(features, standardizer, CrossFitted(np.empty((0, 0)), np.empty((0, 2)), 0.0))
    design = empty.design(rows.raw, rows.ratio)
    fitted = cross_fit_logistic(design, rows.memorized, rows.weights(), folds[rows.cluster], _rising(empty))
    return Model(features, standardizer, fitted)


def _fit_gain(rows: Rows, folds: Folds) -> Model:
    standardizer = Standardizer.fit(rows.raw[:, [FEATURES.index(name) for name in FITTED_FEATURES]])
    design = Model(FITTED_FEATURES, standardizer, CrossFitted(np.empty((0, 0)), np.empty((0, 2)), 0.0)).design(rows.raw, rows.ratio)
    return Model(FITTED_FEATURES, standardizer, cross_fit_ridge(design, rows.gain, rows.weights(), folds[rows.cluster]))


def _rising(model: Model) -> NDArray[np.bool_]:
    return np.array([name in RISING_FEATURES for name in model.names()])


def _draw_sink(model: Model, rows: Rows, draws: NDArray[np.int64]) -> Array:
    design, weights, rising = model.design(rows.raw, rows.ratio), rows.weights(), _rising(model)
    start = model.fitted.betas[NO_FOLD]
    return np.array(
        [fit_logistic(design, rows.memorized, weights * draw[rows.cluster], model.fitted.penalty, rising, start) for draw in draws]
    )


def _draw_gain(model: Model, rows: Rows, draws: NDArray[np.int64]) -> Array:
    design, weights = model.design(rows.raw, rows.ratio), rows.weights()
    return np.array([fit_ridge(design, rows.gain, weights * draw[rows.cluster], model.fitted.penalty) for draw in draws])
