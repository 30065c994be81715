"""What each block of signals is worth: the predictor fitted again with fewer of them, to the proxies' own labels and to nothing else.

Blocks are nested, in the order of their cost, so that the next one's gain can be held against the next one's price.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl
from scipy.special import expit

from pipeline.config import RiskConfig
from pipeline.risk.crossfit import NO_FOLD, Folds, assign_folds, cross_fit_logistic, cross_fit_ridge
from pipeline.risk.evidence import Evidence
from pipeline.risk.features import CORPUS_FEATURES, FEATURES, FITTED_FEATURES, FORWARD_FEATURES, RISING_FEATURES, cluster_features
from pipeline.risk.labels import graded_thresholds, label_clusters
from pipeline.risk.linear import Array, Standardizer
from pipeline.risk.predictor import MIN_NEGATIVES, MIN_POSITIVES, RIVAL_FEATURES, Rows, build_rows, graded, raw_features

RIVAL = "rival"
RIVAL_ELSEWHERE = ("copies", "reference_loss", "zlib_ratio")
"""The rival's features of text that no proxy trained on: its loss is the one forward pass's."""
COUNTERFACTUAL = ("reference_loss", "counterfactual_gap", "reference_gap", "scale_slope")
SPILLOVER = ("spillover", "specificity")
SINKS = ("sink_gap", "placebo_gap")
ABLATIONS = {"block": pl.String, "cluster_id": pl.Binary, "sink_score": pl.Float64, "predicted_gain": pl.Float64}


def signal_blocks() -> dict[str, tuple[str, ...]]:
    """Return the features up to and including each block, cheapest first; a block without a feature is left out."""
    forward = tuple(signal.__name__ for signal in FORWARD_FEATURES)
    apart = {*COUNTERFACTUAL, *SPILLOVER, *SINKS}
    steps = {
        "corpus": CORPUS_FEATURES,
        "+ forward": tuple(name for name in forward if name not in apart),
        "+ training and gradients": tuple(name for name in FITTED_FEATURES if name not in {*CORPUS_FEATURES, *forward, *apart}),
        "+ counterfactual halves": COUNTERFACTUAL,
        "+ spillover": SPILLOVER,
        "+ sink gap": SINKS,
    }
    blocks: dict[str, tuple[str, ...]] = {}
    taken: tuple[str, ...] = ()
    for name, features in steps.items():
        own = tuple(feature for feature in features if feature in FITTED_FEATURES)
        taken += own
        if own:
            blocks[name] = taken
    return blocks


def ablate(texts: pl.DataFrame, evidence: Evidence, config: RiskConfig, target_parameters: float, seed: int) -> pl.DataFrame:
    """Return, for each block and for the rival, out-of-fold scores at the target's size of the clusters the largest proxy trained on.

    `texts` is the frame of `corpus_features.cluster_texts`. Columns: ABLATIONS; the block of the rival (copies, loss, zlib) is RIVAL,
    and it scores the other clusters of `texts` too, by RIVAL_ELSEWHERE. Empty where proxies have no labels. Graded labels stand in for
    too few memorized clusters, as in scoring.
    """
    labels, nulls = label_clusters(evidence, config)
    tables = {size: cluster_features(evidence, texts, size) for size in evidence.sizes("full")}
    if not tables or labels.is_empty():
        return pl.DataFrame(schema=ABLATIONS)
    num_parameters = {size: evidence.num_parameters(size) for size in sorted({*tables, *labels["size"].to_list()})}
    rows = build_rows(tables, labels, num_parameters)
    if not _is_enough(rows):
        rows = graded(rows, graded_thresholds(labels, nulls))
        if not _is_enough(rows):
            return pl.DataFrame(schema=ABLATIONS)
    top = max(tables)
    ratio = float(np.log2(target_parameters / num_parameters[top]))
    frames = [
        _fit_block(name, features, rows, tables[top], ratio, config, seed)
        for name, features in {RIVAL: RIVAL_FEATURES, **signal_blocks()}.items()
    ]
    rest = texts.join(tables[top], on="cluster_id", how="anti").sort("cluster_id")
    if rest.height:
        everywhere = {size: _by_one_pass(table, texts) for size, table in tables.items()}
        own = build_rows(everywhere, labels, num_parameters)
        own = own if _is_enough(own) else graded(own, graded_thresholds(labels, nulls))
        frames.append(_fit_block(RIVAL, RIVAL_ELSEWHERE, own, _complete(rest), ratio, config, seed))
    return pl.concat(frames).select(list(ABLATIONS))


def _by_one_pass(table: pl.DataFrame, texts: pl.DataFrame) -> pl.DataFrame:
    """Put the one forward pass's loss in the place of the halves'."""
    return table.drop("reference_loss").join(texts.select("cluster_id", "reference_loss"), on="cluster_id", how="left")


def _complete(texts: pl.DataFrame) -> pl.DataFrame:
    """Return cluster_id and FEATURES, null where a text alone doesn't give them."""
    return texts.select("cluster_id", *(name if name in texts.columns else pl.lit(None, pl.Float64).alias(name) for name in FEATURES))


def _fit_block(
    name: str, features: tuple[str, ...], rows: Rows, table: pl.DataFrame, ratio: float, config: RiskConfig, seed: int
) -> pl.DataFrame:
    chosen = [FEATURES.index(feature) for feature in features]
    folds = assign_folds(rows.cluster_ids, _positive(rows), config.num_folds, seed)
    labelled = rows.where(np.isfinite(rows.memorized))
    ids = table["cluster_id"].to_list()
    known: Mapping[bytes, int] = dict(zip(rows.cluster_ids, folds.tolist(), strict=True))
    at: Folds = np.array([known.get(cluster_id, NO_FOLD) for cluster_id in ids], np.int64)
    raw, ratios = raw_features(table)[:, chosen], np.full(len(ids), ratio)

    standardizer = Standardizer.fit(labelled.raw[:, chosen])
    rising = np.array([*(column in RISING_FEATURES for column in standardizer.names(features)), False])
    logistic = cross_fit_logistic(
        _design(standardizer, labelled.raw[:, chosen], labelled.ratio),
        labelled.memorized,
        labelled.weights(),
        folds[labelled.cluster],
        rising,
    )
    sink = expit(logistic.predict(_design(standardizer, raw, ratios), at))

    standardizer = Standardizer.fit(rows.raw[:, chosen])
    ridge = cross_fit_ridge(_design(standardizer, rows.raw[:, chosen], rows.ratio), rows.gain, rows.weights(), folds[rows.cluster])
    gain = ridge.predict(_design(standardizer, raw, ratios), at)
    return pl.DataFrame({"block": [name] * len(ids), "cluster_id": ids, "sink_score": sink, "predicted_gain": gain}, schema=ABLATIONS)


def _design(standardizer: Standardizer, raw: Array, ratio: Array) -> Array:
    return np.hstack([standardizer.design(raw), ratio[:, None]])


def _positive(rows: Rows) -> np.ndarray:
    positive = np.zeros(len(rows.cluster_ids), dtype=bool)
    positive[rows.cluster[rows.memorized > 0]] = True
    return positive


def _is_enough(rows: Rows) -> bool:
    positive = _positive(rows)
    known = np.zeros(len(positive), dtype=bool)
    known[rows.cluster[np.isfinite(rows.memorized)]] = True
    return bool(positive.sum() >= MIN_POSITIVES and (known & ~positive).sum() >= MIN_NEGATIVES)
