"""The teacher: a calibrated probability of memorization for every cluster that proxies trained on, at a size no fit has seen.

It is fitted to the proxies' own labels only. A row is (cluster, N, N'): features at proxy size N, label at size N' >= N, and
log2(N'/N) among the features. N < N' is the case it is used for. Rows with N = N' are fitted too, with the label proxies' own
independent splits: labels exist at two sizes, so N < N' alone is one ratio, from which no effect of the ratio can be learnt; N = N'
is the second. Copies, fuzzy mass, counterfactual gap and reference gap may only raise a score.

The sink score is the exposure law's (`pipeline.risk.exposure_law`), which needs few labels; features enter it through the predicted gain.
Only where no suffix could be measured does a logistic model of graded labels stand in.

Calibration holds at the largest label size. The target is an extrapolation; its interval is the bootstrap's over clusters, widened by how
far off the smaller proxies are about the largest, per doubling, times the doublings to the target, and by what size may or may not do
beyond the largest proxy (`extrapolation_spread`, `gain_extrapolation_spread`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from pipeline.risk.exposure_law import Exposure, GainTest, Laws, Residuals, extrapolation_error, fit_laws, near_exposure
from pipeline.risk.features import COPY_FEATURES, FEATURES, FITTED_FEATURES, RISING_FEATURES
from pipeline.risk.linear import Array, Standardizer, even_weights, fit_logistic, fit_ridge

MIN_POSITIVES = 10
MIN_NEGATIVES = 10
UNKNOWN_LOGIT_ERROR = 1.0
"""Logits a doubling by which an interval widens when a single label size leaves the error of extrapolation unmeasured."""
MIN_GAIN_SPREAD = 0.1
"""Nats a token: a gain model that fits better than this on few rows is not trusted to."""
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
    windows: Array  # in which a recital was looked for
    near: Array  # `near_exposure`

    def seen(self, gain: Array) -> Exposure:
        """Return what the exposure law knows of each row; `gain (n,)`: predicted."""
        return Exposure(self.raw[:, FEATURES.index("copies")], self.near, self.windows, self.doublings, gain)

    def where(self, kept: NDArray[np.bool_]) -> Rows:
        """Return the rows that a mask keeps."""
        held = {field.name: getattr(self, field.name)[kept] for field in fields(self) if field.name != "cluster_ids"}
        return replace(self, **held)

    def weights(self) -> Array:
        """Return weights that give each cluster a total of one."""
        return even_weights(self.cluster, len(self.cluster_ids))


@dataclass(frozen=True)
class Model:
    """Hold one cross-fitted model with its features and their standardization; `has_ratio`: log2(N'/N) is among them."""

    features: tuple[str, ...]
    standardizer: Standardizer
    fitted: CrossFitted
    has_ratio: bool

    def design(self, raw: Array, ratio: Array) -> Array:
        """Return the design of raw FEATURES (n, p): the model's own standardized, then the ratio."""
        return _design(self.standardizer, self.features, raw, ratio if self.has_ratio else None)

    def predict(self, raw: Array, ratio: Array, folds: Folds) -> Array:
        """Return out-of-fold logits or values."""
        return self.fitted.predict(self.design(raw, ratio), folds)

    def names(self) -> tuple[str, ...]:
        """Name the design's columns."""
        return _names(self.standardizer, self.features, has_ratio=self.has_ratio)


@dataclass(frozen=True)
class Teacher:
    """Hold the fitted predictors and what is known of their error.

    `folds (n clusters)`: NO_FOLD where a cluster has no label. `laws`: of the full proxies, which speak for the target; `half_laws`: of the
    label halves, which labels check; both None where no suffix's loss was measured, and then `sink` stands in. They ask `test` whether a
    gain exceeds the null. `is_graded`: labels are gains, because too few clusters are memorized to check the law by. `sink_draws
    (B, q + 1)`, `gain_draws`: bootstrap coefficients. `size_error` (logits), `gain_error`: leave-one-size-out misses per doubling, None
    where unmeasured.
    """

    folds: Folds
    laws: Laws | None
    half_laws: Laws | None
    test: GainTest
    sink: Model | None
    signal: Model
    rival: Model
    gain: Model
    sink_draws: Array
    gain_draws: Array
    size_error: float | None
    gain_error: float | None
    is_graded: bool

    @property
    def is_unchecked(self) -> bool:
        """Whether the sink score is the law's and too few clusters are memorized to check it by."""
        return self.is_graded and self.laws is not None

    def sink_logits(self, raw: Array, seen: Exposure, folds: Folds, *, of_halves: bool = False) -> Array:
        """Return log-odds of the sink score (n,), of label halves or for the target: the law's, without one the graded model's."""
        laws = self.half_laws if of_halves else self.laws
        if laws is not None:
            return laws.out_of_fold(seen, folds, self.test)
        assert self.sink is not None
        return self.sink.predict(raw, np.zeros(len(raw)), folds)

    def sink_spread(self, raw: Array, seen: Exposure) -> Array:
        """Return the standard deviation (n,) of the sink score's log-odds over the bootstrap."""
        if self.laws is not None:
            return np.asarray(self.laws.drawn(seen, self.test).std(axis=1))
        assert self.sink is not None
        design = np.hstack([self.sink.design(raw, np.zeros(len(raw))), np.ones((len(raw), 1))])
        return np.asarray((self.sink.fitted.platts[NO_FOLD, 0] * design @ self.sink_draws.T).std(axis=1))


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
        frame["num_windows"].cast(pl.Float64).to_numpy(),
        frame.select(near_exposure(pl.col("fuzzy_mass"))).to_series().to_numpy(),
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


def is_enough(rows: Rows) -> bool:
    """Say whether at least MIN_POSITIVES clusters are memorized at some size, and MIN_NEGATIVES labelled and not."""
    positive, known = positive_clusters(rows), np.zeros(len(rows.cluster_ids), dtype=bool)
    known[rows.cluster[np.isfinite(rows.memorized)]] = True
    return bool(positive.sum() >= MIN_POSITIVES and (known & ~positive).sum() >= MIN_NEGATIVES)


def positive_clusters(rows: Rows) -> NDArray[np.bool_]:
    """Return which clusters (n,) are memorized at some size."""
    positive = np.zeros(len(rows.cluster_ids), dtype=bool)
    positive[rows.cluster[rows.memorized > 0]] = True
    return positive


def fit_teacher(
    rows: Rows, residuals: Residuals, ladder: Residuals, null: float, config: RiskConfig, seed: int, *, is_graded: bool
) -> Teacher | None:
    """Fit every predictor; None when there are too few labels (`is_enough`).

    `residuals`: what the label halves missed; `ladder`: what the full proxies did, at every size of the ladder. `null`: the gain that a
    memorized cluster exceeds. `is_graded`: `rows` are those of `graded`.
    """
    if not is_enough(rows):
        return None
    labelled = rows.where(np.isfinite(rows.memorized))
    folds = assign_folds(rows.cluster_ids, positive_clusters(rows), config.num_folds, seed)
    count = len(rows.cluster_ids)
    draws = np.random.default_rng([seed, 1]).multinomial(count, np.full(count, 1 / count), config.num_bootstrap)
    signals = tuple(name for name in FITTED_FEATURES if name not in COPY_FEATURES)
    gain = fit_gain(rows, folds, FITTED_FEATURES)
    test = gain_test(rows, gain, folds, null)
    fold_of = dict(zip(rows.cluster_ids, folds.tolist(), strict=True))
    half_laws = fit_laws(residuals, fold_of, draws, rows.cluster_ids, ladder)
    laws = None if half_laws is None else fit_laws(ladder, fold_of, draws, rows.cluster_ids)
    sink = fit_sink(labelled, folds, FITTED_FEATURES) if laws is None else None
    signal, rival = (fit_sink(labelled, folds, features, has_ratio=True) for features in (signals, RIVAL_FEATURES))
    return Teacher(
        folds,
        laws,
        half_laws if laws is not None else None,
        test,
        sink,
        signal,
        rival,
        gain,
        np.zeros((0, 0)) if sink is None else _draw_sink(sink, labelled, draws),
        _draw_gain(gain, rows, draws),
        extrapolation_error(ladder),
        size_error(gain.design(rows.raw, rows.ratio), rows.gain, rows.weights(), rows.doublings, gain.fitted.penalty),
        is_graded,
    )


def gain_test(rows: Rows, gain: Model, folds: Folds, null: float) -> GainTest:
    """Return the test of a predicted gain against the null: it errs as the gain model does out-of-fold."""
    misses = rows.gain - gain.predict(rows.raw, rows.ratio, folds[rows.cluster])
    return GainTest(null, max(float(np.sqrt(np.average(misses**2, weights=rows.weights()))), MIN_GAIN_SPREAD))


def folds_of(cluster_ids: Sequence[bytes], rows: Rows, folds: Folds) -> Folds:
    """Return the folds (m,) of cluster ids, NO_FOLD for those that are not among the rows'."""
    known = dict(zip(rows.cluster_ids, folds.tolist(), strict=True))
    return np.array([known.get(cluster_id, NO_FOLD) for cluster_id in cluster_ids], np.int64)


def seen_out_of_fold(rows: Rows, gain: Model, folds: Folds) -> Exposure:
    """Return what the exposure law knows of rows, their gain predicted out-of-fold."""
    return rows.seen(gain.predict(rows.raw, rows.ratio, folds[rows.cluster]))


def sink_logits(teacher: Teacher, rows: Rows) -> Array:
    """Return the sink score's log-odds (n,) of labelled rows, out-of-fold, by the law of the halves that the labels are of."""
    seen = seen_out_of_fold(rows, teacher.gain, teacher.folds)
    return teacher.sink_logits(rows.raw, seen, teacher.folds[rows.cluster], of_halves=True)


def interval_width(confidence: float) -> float:
    """Return how many standard deviations a two-sided normal interval reaches to each side."""
    return float(ndtri(0.5 + confidence / 2))


def target_gains(gain: Model, raw: Array, folds: Folds) -> Array:
    """Return a target's predicted gains (n,), nats a token, at whatever size: as at the largest proxy's own (N' = N)."""
    return gain.predict(raw, np.zeros(len(raw)), folds)


def extrapolation_spread(teacher: Teacher, doublings: float, beyond: float) -> float:
    """Return the standard deviation, in log-odds, that the way beyond the proxies adds to a sink score's.

    It is how far off smaller proxies are about the largest, and not knowing how much of the size slope goes on. `doublings`: log2 of the
    target's parameters; `beyond`: from the largest labels.
    """
    error = UNKNOWN_LOGIT_ERROR if teacher.size_error is None else teacher.size_error
    by_size = 0.0 if teacher.laws is None else teacher.laws.fitted[NO_FOLD].size_spread(doublings)
    return float(np.hypot(error * max(beyond, 0.0), by_size))


def gain_extrapolation_spread(teacher: Teacher, ratio: float, beyond: float) -> float:
    """Return the standard deviation, nats a token, that the way beyond the proxies adds to a predicted gain's.

    The gain is foretold as at the largest proxy (`target_gains`). Two label sizes say what a doubling adds, and on five records of six
    their word was not kept: more text made targets better at what they had not seen. So neither its size nor its sign is known: uniform,
    as far below 0 as above.
    """
    by_size = float(teacher.gain.fitted.betas[NO_FOLD, -2]) * max(ratio, 0.0) / np.sqrt(3.0)
    return float(np.hypot((teacher.gain_error or 0.0) * max(beyond, 0.0), by_size))


def gain_spread(teacher: Teacher, raw: Array, ratio: float, beyond: float) -> Array:
    """Return each row's standard deviation of the gain: the bootstrap's, and that of the way beyond the proxies."""
    design = np.hstack([teacher.gain.design(raw, np.zeros(len(raw))), np.ones((len(raw), 1))])
    sampling = (design @ teacher.gain_draws.T).std(axis=1)
    return np.asarray(np.hypot(sampling, gain_extrapolation_spread(teacher, ratio, beyond)))


def fit_sink(rows: Rows, folds: Folds, features: tuple[str, ...], *, has_ratio: bool = False) -> Model:
    """Fit a cross-fitted logistic model of `memorized` to rows that have it."""
    standardizer = Standardizer.fit(_own(features, rows.raw))
    design = _design(standardizer, features, rows.raw, rows.ratio if has_ratio else None)
    rising = _rising(_names(standardizer, features, has_ratio=has_ratio))
    fitted = cross_fit_logistic(design, rows.memorized, rows.weights(), folds[rows.cluster], rising)
    return Model(features, standardizer, fitted, has_ratio)


def fit_gain(rows: Rows, folds: Folds, features: tuple[str, ...]) -> Model:
    """Fit a cross-fitted ridge regression of the gain."""
    standardizer = Standardizer.fit(_own(features, rows.raw))
    design = _design(standardizer, features, rows.raw, rows.ratio)
    return Model(features, standardizer, cross_fit_ridge(design, rows.gain, rows.weights(), folds[rows.cluster]), has_ratio=True)


def _own(features: tuple[str, ...], raw: Array) -> Array:
    return raw[:, [FEATURES.index(name) for name in features]]


def _design(standardizer: Standardizer, features: tuple[str, ...], raw: Array, ratio: Array | None) -> Array:
    design = standardizer.design(_own(features, raw))
    return design if ratio is None else np.hstack([design, ratio[:, None]])


def _names(standardizer: Standardizer, features: tuple[str, ...], *, has_ratio: bool) -> tuple[str, ...]:
    names = standardizer.names(features)
    return (*names, "log2 size ratio") if has_ratio else names


def _rising(names: tuple[str, ...]) -> NDArray[np.bool_]:
    return np.array([name in RISING_FEATURES for name in names])


def _draw_sink(model: Model, rows: Rows, draws: NDArray[np.int64]) -> Array:
    design, weights, rising = model.design(rows.raw, rows.ratio), rows.weights(), _rising(model.names())
    start, penalty = model.fitted.betas[NO_FOLD], model.fitted.penalty
    return np.array([fit_logistic(design, rows.memorized, weights * draw[rows.cluster], penalty, rising, start) for draw in draws])


def _draw_gain(model: Model, rows: Rows, draws: NDArray[np.int64]) -> Array:
    design, weights = model.design(rows.raw, rows.ratio), rows.weights()
    return np.array([fit_ridge(design, rows.gain, weights * draw[rows.cluster], model.fitted.penalty) for draw in draws])
