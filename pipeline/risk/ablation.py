"""What each block of signals is worth: the predictor fitted again with fewer of them, to the proxies' own labels and to nothing else.

Blocks are nested, in the order of their cost, so that the next one's gain can be held against the next one's price.
"""

from __future__ import annotations

import numpy as np
import polars as pl
from scipy.special import expit

from pipeline.config import RiskConfig
from pipeline.risk.crossfit import Folds, assign_folds
from pipeline.risk.evidence import Evidence
from pipeline.risk.exposure_law import Laws, count_windows, exposure, fit_laws, read_residuals
from pipeline.risk.features import CORPUS_FEATURES, FEATURES, FITTED_FEATURES, FORWARD_FEATURES, cluster_features
from pipeline.risk.labels import graded_thresholds, label_clusters, null_gain
from pipeline.risk.linear import Array
from pipeline.risk.predictor import (
    RIVAL_FEATURES,
    Rows,
    build_rows,
    fit_gain,
    fit_sink,
    folds_of,
    gain_test,
    graded,
    is_enough,
    positive_clusters,
    raw_features,
    target_gains,
)

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
    and it scores the other clusters of `texts` too, by RIVAL_ELSEWHERE. Every other block scores by the exposure law, as in scoring, with
    the gain that its features predict; where too few clusters are memorized, graded labels stand in for the rival's. Empty where proxies
    have no labels.
    """
    labels, nulls = label_clusters(evidence, config)
    tables = {size: cluster_features(evidence, texts, size) for size in evidence.sizes("full")}
    if not tables or labels.is_empty():
        return pl.DataFrame(schema=ABLATIONS)
    num_parameters = {size: evidence.num_parameters(size) for size in sorted({*tables, *labels["size"].to_list()})}
    measured = build_rows(tables, labels, num_parameters)
    rows = measured if is_enough(measured) else graded(measured, graded_thresholds(labels, nulls))
    if not is_enough(rows):
        return pl.DataFrame(schema=ABLATIONS)
    top, size = max(tables), float(np.log2(target_parameters))
    windows = texts.select("cluster_id", windows=count_windows(pl.col("num_tokens"), evidence.context))
    table = tables[top].join(windows, on="cluster_id", how="left", maintain_order="left")
    ratio = size - float(np.log2(num_parameters[top]))
    folds = assign_folds(rows.cluster_ids, positive_clusters(rows), config.num_folds, seed)
    ladder = read_residuals(evidence, texts, config, "full")
    undrawn = np.zeros((0, len(rows.cluster_ids)), np.int64)
    laws = fit_laws(ladder, dict(zip(rows.cluster_ids, folds.tolist(), strict=True)), undrawn, rows.cluster_ids)
    frames = [_fit_rival(RIVAL_FEATURES, rows, table, ratio, folds)]
    for name, features in signal_blocks().items():
        frames.append(_fit_block(name, features, rows, table, size, ratio, folds, laws, null_gain(nulls)))
    rest = texts.join(tables[top], on="cluster_id", how="anti").sort("cluster_id")
    if rest.height:
        everywhere = {size: _by_one_pass(table, texts) for size, table in tables.items()}
        own = build_rows(everywhere, labels, num_parameters)
        own = own if is_enough(own) else graded(own, graded_thresholds(labels, nulls))
        frames.append(_fit_rival(RIVAL_ELSEWHERE, own, _complete(rest), ratio, folds))
    return pl.concat(frames).select(list(ABLATIONS))


def _by_one_pass(table: pl.DataFrame, texts: pl.DataFrame) -> pl.DataFrame:
    """Put the one forward pass's loss in the place of the halves'."""
    return table.drop("reference_loss").join(texts.select("cluster_id", "reference_loss"), on="cluster_id", how="left")


def _complete(texts: pl.DataFrame) -> pl.DataFrame:
    """Return cluster_id and FEATURES, null where a text alone doesn't give them."""
    return texts.select("cluster_id", *(name if name in texts.columns else pl.lit(None, pl.Float64).alias(name) for name in FEATURES))


def _fit_rival(features: tuple[str, ...], rows: Rows, table: pl.DataFrame, ratio: float, folds: Folds) -> pl.DataFrame:
    labelled = rows.where(np.isfinite(rows.memorized))
    at, raw, ratios = folds_of(table["cluster_id"].to_list(), rows, folds), raw_features(table), np.full(table.height, ratio)
    logits = fit_sink(labelled, folds, features, has_ratio=True).predict(raw, ratios, at)
    return _frame(RIVAL, table, logits, fit_gain(rows, folds, features).predict(raw, ratios, at))


def _fit_block(
    name: str,
    features: tuple[str, ...],
    rows: Rows,
    table: pl.DataFrame,
    size: float,
    ratio: float,
    folds: Folds,
    laws: Laws | None,
    null: float,
) -> pl.DataFrame:
    at, raw = folds_of(table["cluster_id"].to_list(), rows, folds), raw_features(table)
    gain_model = fit_gain(rows, folds, features)
    gain = target_gains(gain_model, raw, at)
    if laws is None:
        return _frame(name, table, fit_sink(rows, folds, features).predict(raw, np.full(table.height, ratio), at), gain)
    test = gain_test(rows, gain_model, folds, null)
    return _frame(name, table, laws.out_of_fold(exposure(table, size, gain), at, test), gain)


def _frame(name: str, table: pl.DataFrame, logits: Array, gain: Array) -> pl.DataFrame:
    return pl.DataFrame(
        {"block": [name] * table.height, "cluster_id": table["cluster_id"], "sink_score": expit(logits), "predicted_gain": gain},
        schema=ABLATIONS,
    )
