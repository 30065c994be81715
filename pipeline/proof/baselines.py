"""What predictions have to beat, each a score for the same clusters: higher, more memorized. None has seen a target's label."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import polars as pl

from pipeline.risk.linear import Array

MIN_COVERAGE = 0.9
"""Share of a stratum's clusters that a baseline must have measured to be compared: the others would rank last, unfairly."""
OURS = ("sink_score", "predicted_gain", "signal_score")
RIVAL = "rival"


def _of(column: str, sign: float = 1.0) -> Callable[[pl.DataFrame], Array]:
    return lambda judged: sign * judged[column].cast(pl.Float64).fill_null(np.nan).to_numpy()


def _extractable(judged: pl.DataFrame) -> Array:
    match = _of("greedy_match")(judged)
    return np.where(np.isfinite(match), (match >= 1.0 - 1e-6).astype(np.float64), np.nan)


COLUMNS: Mapping[str, tuple[str, Callable[[pl.DataFrame], Array]]] = {
    **{name: (name, _of(name)) for name in OURS},
    RIVAL: ("rival_score", _of("rival_score")),
    "copies": ("copies", _of("copies")),
    "fuzzy_mass": ("fuzzy_mass", _of("fuzzy_mass")),
    "length": ("length", _of("length")),
    "loss": ("loss", _of("loss")),
    "-loss": ("loss", _of("loss", -1.0)),
    "zlib": ("zlib_ratio", _of("zlib_ratio", -1.0)),
    "loss/zlib": ("loss_per_zlib", _of("loss_per_zlib", -1.0)),
    "min_k++": ("min_k_plus_plus", _of("min_k_plus_plus")),
    "small-model-extractable": ("greedy_match", _extractable),
    "LT-IQR": ("trajectory_iqr", _of("trajectory_iqr")),
    "partial target run": ("partial_target", _of("partial_target")),
}
"""Name, the column it needs, and the score. Sources: Biderman 2023 (small-model-extractable, partial run); Zhang 2024 (Min-K%++);
Carlini 2021 (loss / zlib); Yeom 2018 (-loss)."""


def baseline_scores(judged: pl.DataFrame, rng: np.random.Generator) -> dict[str, Array]:
    """Return every predictor's score (n,) that the clusters' columns allow, NaN where not measured; `random` among them."""
    known = {name: score(judged) for name, (column, score) in COLUMNS.items() if column in judged.columns}
    return known | {"random": rng.random(judged.height)}


def measured(scores: Mapping[str, Array]) -> dict[str, Array]:
    """Return the predictors that enough of these clusters have a score from."""
    return {name: values for name, values in scores.items() if len(values) and np.isfinite(values).mean() >= MIN_COVERAGE}
