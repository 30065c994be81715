"""The exposure law: how much of a suffix a model still misses, from copies, near copies and size, and what chance of recital that leaves.

Proxies recite few texts, too few to learn from which; but what each of them still *misses* of each text is a number, and there are many of
those. So that number is fitted, and recital follows from it: a suffix whose loss is under the limit of (n, p)-discoverability is recited.
The law: ln(residual loss of a suffix, nats a token) ~ N(level + a log2(copies) + c near + b log2(parameters), spread^2), a, b, c <= 0, for
models trained with the text; near = log2(1 + fuzzy mass) of its near copies. A text with w windows is recited when one of them is;
SHARED of the variance is common to its windows.

It is memorized when it also gained more than the null. A recited text gains more than its like: all that a model misses without it, which
is the predicted gain and what models trained with it miss on average, less the little that a reciter misses.

It is fitted twice. The law of the full proxies speaks for the target: they saw the whole subsample, of all proxies the nearest to what
a target sees. A doubling of text steepens slopes and widens the spread, by a quarter to a third between halves and full proxies on five
corpora of six, and the slopes of the full ones are close to the targets' own. The law of the label halves speaks for halves alone, and
it is the one that labels can check (reports/log.md).

How surprising a text is stays out on purpose. It raises the residual and the gain alike, and memorization wants the first low and the
second high: on the first validation of record every form of it ranked worse than none. Nor do other signals correct the law: fitted to the
few texts that proxies recite they helped on none of four records and hurt on two (reports/log.md).

What size does is taken from the full proxies in both, three sizes over the same text. Label halves are of two sizes and other splits: the
slope between those two was .38 where the ladder's was .14, and extrapolated over five doublings it had nearly everything recited. Beyond
the largest proxy half of the slope is counted: five targets of six were found between none and the whole of it (reports/log.md).

Source: Carlini 2023, section 4 (memorization is log-linear in copies and in size); Hayes 2024 ((n, p)-discoverable extraction).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.optimize import lsq_linear
from scipy.special import log_ndtr, ndtr

from pipeline.config import RiskConfig
from pipeline.risk.crossfit import NO_FOLD, Folds
from pipeline.risk.evidence import Evidence
from pipeline.risk.labels import discoverable_log_prob
from pipeline.risk.linear import Array, even_weights

MIN_CLUSTERS = 10
MIN_RESIDUAL = 0.05
"""Nats a token below which residuals do not differ: every such suffix is recited, and a logarithm would let them rule the fit."""
MIN_SPREAD = 0.1
LEAST, MOST = -690.0, -1e-6
"""Logarithms of the least and the largest chance of memorization. Far from what proxies recite all chances are tiny, and their order is
what is known: a floor of one in a million made every text of a corpus of mail alike (reports/log.md)."""
LOGITS_A_DEVIATION = 1.702
"""What a standard deviation is in log-odds where the normal distribution is taken for the logistic. Source: Camilli 1994."""
BEYOND = 0.5
"""Share of the size slope that is counted beyond the largest proxy."""
SHARED = 1 / 3
"""Share of the residuals' variance that is common to a text's windows: .36, .34, .19, .40, .33 and .32 of it in the targets of six
records (reports/log.md). Proxies cannot tell: theirs are two windows a text, and gave .21 to .73."""
NODES, NODE_WEIGHTS = np.polynomial.hermite_e.hermegauss(15)
"""Gauss-Hermite quadrature over what a text's windows share."""
PENALTY = 1.0
"""Ridge penalty of the slopes over standardized columns, in observations: it decides only where a column does not vary."""


@dataclass(frozen=True)
class Residuals:
    """Hold the residual losses of windows, one row a window and model that trained on it.

    `cluster (n,)` numbers the clusters of `cluster_ids`; `copies (n,)` log2 of documents; `near (n,)`: `near_exposure`; `doublings (n,)`
    log2 of the model's parameters; `log_loss (n,)` ln nats a token over the suffix; `limit`: ln of the loss under which it is recited.
    """

    cluster_ids: tuple[bytes, ...]
    cluster: NDArray[np.int64]
    copies: Array
    near: Array
    doublings: Array
    log_loss: Array
    limit: float

    def weights(self) -> Array:
        """Return weights that give each cluster a total of one."""
        return even_weights(self.cluster, len(self.cluster_ids))


@dataclass(frozen=True)
class Exposure:
    """Hold what the law knows of texts, one row a text and model, all arrays (n,).

    `copies`: log2 of documents. `near`: `near_exposure`. `windows`: in which a recital is looked for. `doublings`: log2 of the model's
    parameters. `gain`: predicted, nats a token.
    """

    copies: Array
    near: Array
    windows: Array
    doublings: Array
    gain: Array


@dataclass(frozen=True)
class GainTest:
    """Hold what tells whether a gain exceeds the null: the null, and the standard deviation of a predicted gain's error, nats a token."""

    null: float
    spread: float

    def passes(self, gain: Array) -> Array:
        """Return the probability (n,) that gains of which these are predicted exceed the null."""
        return np.asarray(ndtr((gain - self.null) / self.spread))


@dataclass(frozen=True)
class ExposureLaw:
    """Hold the fitted law; slopes are a doubling's change of ln residual, of near copies too.

    `center`, `largest`: log2 parameters at `level`, and of the largest proxy.
    """

    level: float
    copies_slope: float
    near_slope: float
    size_slope: float
    center: float
    largest: float
    spread: float
    limit: float

    def score(self, copies: Array, near: Array, doublings: Array) -> Array:
        """Return how many standard deviations (n,) a window's expected residual is below the limit of recital; arrays as in `Exposure`."""
        inside = np.minimum(doublings, self.largest)
        by_size = self.size_slope * (inside - self.center + BEYOND * (doublings - inside))
        expected = self.level + self.copies_slope * copies + self.near_slope * near + by_size
        return np.asarray((self.limit - expected) / self.spread)

    def recital(self, seen: Exposure) -> Array:
        """Return the logarithm (n,) of the probability that a model recites one of a text's windows."""
        own = self.score(seen.copies, seen.near, seen.doublings) / np.sqrt(1.0 - SHARED)
        total = np.full(len(own), LEAST)
        for node, weight in zip(NODES, NODE_WEIGHTS / NODE_WEIGHTS.sum(), strict=True):
            log_missed = seen.windows * log_ndtr(-own - np.sqrt(SHARED / (1.0 - SHARED)) * node)
            total = np.logaddexp(total, np.log(weight) + np.log(np.maximum(-np.expm1(log_missed), np.exp(LEAST))))
        return np.minimum(total, 0.0)

    def missed(self, seen: Exposure) -> Array:
        """Return the mean loss (n,), nats a token, that proxies trained with such texts are left with: at most the largest proxy's size."""
        expected = self.limit - self.spread * self.score(seen.copies, seen.near, np.minimum(seen.doublings, self.largest))
        return np.asarray(np.exp(expected + self.spread**2 / 2))

    def logits(self, seen: Exposure, test: GainTest) -> Array:
        """Return log-odds (n,) of memorization: recited, and with that gained more than the null."""
        passes = test.passes(seen.gain + self.missed(seen) - math.exp(self.limit))
        chance = np.clip(self.recital(seen) + np.log(np.maximum(passes, np.exp(LEAST))), LEAST, MOST)
        return np.asarray(chance - np.log(-np.expm1(chance)))

    def size_spread(self, doublings: float) -> float:
        """Return the standard deviation, in log-odds, of not knowing what size does beyond the largest proxy: uniform, 0 to the slope."""
        return LOGITS_A_DEVIATION * abs(self.size_slope) * max(doublings - self.largest, 0.0) / (self.spread * math.sqrt(12))


@dataclass(frozen=True)
class Laws:
    """Hold the law cross-fitted: `fitted[k]` without the clusters of fold k, the last to all; and bootstrap draws of it."""

    fitted: tuple[ExposureLaw, ...]
    draws: tuple[ExposureLaw, ...]

    def out_of_fold(self, seen: Exposure, folds: Folds, test: GainTest) -> Array:
        """Return log-odds (n,), each row by the law that did not see its fold; NO_FOLD by the one that saw all."""
        every = np.array([law.logits(seen, test) for law in self.fitted])
        return every[folds, np.arange(len(folds))]

    def drawn(self, seen: Exposure, test: GainTest) -> Array:
        """Return log-odds (n, B) by each bootstrap draw."""
        return np.array([law.logits(seen, test) for law in self.draws]).T


def fit_laws(
    residuals: Residuals, fold_of: Mapping[bytes, int], draws: NDArray[np.int64], drawn: Sequence[bytes], ladder: Residuals | None = None
) -> Laws | None:
    """Fit the law once a fold, to all, and to bootstrap draws; None where one of them has too few clusters.

    `ladder`: full proxies that all trained on the same text, whose size slope is taken; `residuals` themselves unless given. `fold_of`:
    fold of a cluster id; others are in all fits. `draws (B, m)`: how often each of the clusters `drawn` is in a draw.
    """
    num_folds = max(fold_of.values(), default=-1) + 1
    both = (residuals,) if ladder is None else (residuals, ladder)
    folds = [_of_rows(one, fold_of, NO_FOLD) for one in both]
    places = [_of_rows(one, {cluster_id: at for at, cluster_id in enumerate(drawn)}, len(drawn)) for one in both]
    times = np.hstack([draws, np.ones((len(draws), 1), np.int64)])
    left_out = [[np.where(own != fold, one.weights(), 0.0) for one, own in zip(both, folds, strict=True)] for fold in range(num_folds)]
    redrawn = [[one.weights() * row[at] for one, at in zip(both, places, strict=True)] for row in times]
    everything = [one.weights() for one in both]
    laws = [_fit_with_slope(both, weights) for weights in (*left_out, everything, *redrawn)]
    fitted = tuple(law for law in laws if law is not None)
    return Laws(fitted[: num_folds + 1], fitted[num_folds + 1 :]) if len(fitted) == len(laws) else None


def _fit_with_slope(both: Sequence[Residuals], weights: Sequence[Array]) -> ExposureLaw | None:
    last = fit_law(both[-1], weights[-1])
    if len(both) == 1 or last is None:
        return last
    law = fit_law(both[0], weights[0], last.size_slope)
    return None if law is None else replace(law, largest=last.largest)


def _of_rows(residuals: Residuals, values: Mapping[bytes, int], otherwise: int) -> NDArray[np.int64]:
    return np.array([values.get(cluster_id, otherwise) for cluster_id in residuals.cluster_ids], np.int64)[residuals.cluster]


def count_windows(num_tokens: pl.Expr, context: int) -> pl.Expr:
    """Return how many windows of `context` tokens a text has in which a recital can be looked for, at least one.

    A tail counts from half a window, about what a prompt and a suffix need.
    """
    return (num_tokens.fill_null(0) / context).round().clip(lower_bound=1).cast(pl.Float64)


def near_exposure(fuzzy_mass: pl.Expr) -> pl.Expr:
    """Return log2(1 + m) of a text's fuzzy mass m (`corpus_features.fuzzy_mass`, itself in doublings), 0 where it was not measured.

    Near copies of one text are near copies of one another, so what they add grows more slowly than their number: of five forms this one
    found most on four records, all seen (reports/log.md).
    """
    return (1.0 + fuzzy_mass.fill_nan(None).fill_null(0.0)).log(2)


def exposure(texts: pl.DataFrame, doublings: float, gain: Array) -> Exposure:
    """Gather what the law knows of texts (copies, fuzzy_mass, windows) and one model size."""
    near = texts.select(near_exposure(pl.col("fuzzy_mass"))).to_series().to_numpy()
    return Exposure(texts["copies"].to_numpy(), near, texts["windows"].to_numpy(), np.full(texts.height, doublings), gain)


def read_residuals(evidence: Evidence, texts: pl.DataFrame, config: RiskConfig, role: str = "label_half") -> Residuals:
    """Gather the suffix losses of a role's proxies on what they trained on. `texts`: cluster_id, copies (log2), fuzzy_mass (log2)."""
    frames = [
        evidence.recitals(role, size)
        .filter(pl.col("in_training") & ~pl.col("is_shared"))
        .select("cluster_id", "suffix_log_prob", doublings=pl.lit(math.log2(evidence.num_parameters(size))))
        for size in evidence.sizes(role)
    ]
    empty = pl.DataFrame(schema={"cluster_id": pl.Binary, "suffix_log_prob": pl.Float32, "doublings": pl.Float64})
    known = texts.select("cluster_id", "copies", near=near_exposure(pl.col("fuzzy_mass")))
    rows = pl.concat([empty, *frames]).join(known, on="cluster_id", how="inner")
    rows = rows.sort("cluster_id", "doublings", "suffix_log_prob")
    cluster_ids = tuple(rows["cluster_id"].unique().sort().to_list())
    position = {cluster_id: at for at, cluster_id in enumerate(cluster_ids)}
    loss = -rows["suffix_log_prob"].cast(pl.Float64).to_numpy() / evidence.suffix_tokens
    return Residuals(
        cluster_ids,
        np.array([position[cluster_id] for cluster_id in rows["cluster_id"]], np.int64),
        rows["copies"].to_numpy(),
        rows["near"].to_numpy(),
        rows["doublings"].to_numpy(),
        np.log(np.maximum(loss, MIN_RESIDUAL)),
        math.log(-discoverable_log_prob(config) / evidence.suffix_tokens),
    )


def fit_law(residuals: Residuals, weights: Array | None = None, size_slope: float | None = None) -> ExposureLaw | None:
    """Fit the law by weighted least squares, slopes held at or below zero; None from fewer than MIN_CLUSTERS clusters of weight.

    `weights (n,)`: those of `Residuals.weights` unless given. `size_slope`: known from elsewhere, not fitted.
    """
    w = residuals.weights() if weights is None else weights
    held = w > 0
    if len(np.unique(residuals.cluster[held])) < MIN_CLUSTERS:
        return None
    columns = np.column_stack([residuals.copies, residuals.near, residuals.doublings])
    center = np.average(columns, axis=0, weights=w)
    known = 0.0 if size_slope is None else size_slope * (columns[:, 2] - center[2])
    if size_slope is not None:
        columns[:, 2] = center[2]
    scale = np.sqrt(np.average((columns - center) ** 2, axis=0, weights=w))
    scale = np.where(scale > 1e-9, scale, np.inf)
    design = np.hstack([(columns - center) / scale, np.ones((len(columns), 1))])
    root = np.sqrt(w)
    padded = np.vstack([root[:, None] * design, np.sqrt(PENALTY) * np.eye(3, 4)])
    left = residuals.log_loss - known
    beta = lsq_linear(padded, np.append(root * left, np.zeros(3)), bounds=([-np.inf] * 4, [0.0, 0.0, 0.0, np.inf])).x
    misses = left - design @ beta
    spread = max(float(np.sqrt(np.average(misses**2, weights=w))), MIN_SPREAD)
    slopes = beta[:3] / scale
    level = float(beta[3] - slopes[:2] @ center[:2])
    by_size = float(slopes[2]) if size_slope is None else size_slope
    largest = float(residuals.doublings.max())
    return ExposureLaw(level, float(slopes[0]), float(slopes[1]), by_size, float(center[2]), largest, spread, residuals.limit)


def extrapolation_error(residuals: Residuals) -> float | None:
    """Return how far log-odds of recital are off, per doubling of model size, at the largest size when the smaller ones foretell it.

    Of a window in a text of average copies and near copies. From two sizes no slope can be put to the test: there it is the move from one
    to the other, the most that leaving out size would cost. None with a single size. Best asked of models that trained on the same text.
    """
    sizes, own = np.unique(residuals.doublings), residuals.weights()
    if len(sizes) < 2:
        return None
    copies, near = (np.array([np.average(column, weights=own)]) for column in (residuals.copies, residuals.near))
    is_last = residuals.doublings == sizes[-1]
    below, last = (fit_law(residuals, np.where(inside, own, 0.0)) for inside in (~is_last, is_last))
    if below is None or last is None:
        return None
    foretold, found = (float(law.score(copies, near, np.array([sizes[-1]]))[0]) for law in (below, last))
    return LOGITS_A_DEVIATION * abs(found - foretold) / max(float(sizes[-1] - sizes[-2]), 0.25)
