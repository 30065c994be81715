"""Put the signals side by side: one row a cluster and proxy size, one column a signal, null where it cannot be measured.

A signal is a function; its name is its column. Three groups by cost: the corpus alone, forward passes, training.
"""

from __future__ import annotations

from collections.abc import Callable

import polars as pl

from pipeline.risk import forward_features as forward
from pipeline.risk import gradient_features as gradients
from pipeline.risk import training_features as training
from pipeline.risk import trajectory_features as trajectories
from pipeline.risk.evidence import Evidence
from pipeline.risk.forward_features import View

Signal = Callable[[View], pl.DataFrame]

CORPUS_FEATURES = ("copies", "fuzzy_mass", "span_share", "span_copies", "commonness", "zlib_ratio", "length")
FORWARD_FEATURES: tuple[Signal, ...] = (
    forward.loss,
    forward.loss_per_zlib,
    forward.prompt_loss,
    forward.suffix_loss,
    forward.prompt_suffix_difference,
    forward.min_k_plus_plus,
    forward.suffix_log_prob,
    forward.greedy_match,
    forward.reference_loss,
    forward.rare_token_rate,
)
TRAINING_FEATURES: tuple[Signal, ...] = (
    trajectories.trajectory_sum,
    trajectories.trajectory_iqr,
    trajectories.exposure_drop,
    trajectories.forgetting,
    training.counterfactual_gap,
    training.reference_gap,
    training.scale_slope,
    gradients.grad_norm,
    gradients.absorption_last,
    gradients.absorption_sum,
    gradients.spillover,
    gradients.specificity,
    gradients.reference_grad_norm,
    gradients.reference_absorption,
    training.sink_gap,
    training.placebo_gap,
)
FEATURES: tuple[str, ...] = (*CORPUS_FEATURES, *(signal.__name__ for signal in (*FORWARD_FEATURES, *TRAINING_FEATURES)))
COPY_FEATURES = frozenset({"copies", "fuzzy_mass", "span_share", "span_copies"})
"""Left out of signal_score: it must tell sinks from other text without being told how often they occur."""
FITTED_FEATURES: tuple[str, ...] = tuple(name for name in FEATURES if name != "scale_slope")
"""What predictors are fitted to. A slope is missing at the smallest size, so that its absence would stand for the size itself."""
RISING_FEATURES = frozenset({"copies", "fuzzy_mass", "counterfactual_gap", "reference_gap"})
"""Features in which a score may only rise."""

DECIMALS = 6


def cluster_features(evidence: Evidence, texts: pl.DataFrame, size: int) -> pl.DataFrame:
    """Return every signal of the clusters that the full proxy of a size trained on, in the order of cluster_id.

    `texts` is the frame of `corpus_features.cluster_texts`. Columns: cluster_id, then FEATURES.
    """
    view = view_of(evidence, texts, size)
    trained = evidence.of("full", size).filter("in_training").select("cluster_id").unique()
    table = trained.join(texts, on="cluster_id", how="inner").select("cluster_id", *CORPUS_FEATURES)
    for signal in (*FORWARD_FEATURES, *TRAINING_FEATURES):
        table = table.join(signal(view), on="cluster_id", how="left")
    rounded = [pl.col(name).cast(pl.Float64).fill_nan(None).round(DECIMALS) for name in FEATURES]
    return table.select("cluster_id", *rounded).sort("cluster_id")


def view_of(evidence: Evidence, texts: pl.DataFrame, size: int) -> View:
    """Gather one size's evidence; the feature halves are those of the largest size up to it."""
    half_sizes = [rank for rank in evidence.sizes("feature_half") if rank <= size]
    return View(
        probes=evidence.probes("full", size),
        checkpoints=evidence.probes("full", size, last=False),
        recitals=evidence.recitals("full", size),
        halves=evidence.probes("feature_half", max(half_sizes, default=-1)),
        exposures=evidence.exposures(size),
        held_out=evidence.held_out(),
        texts=texts,
        suffix_tokens=evidence.suffix_tokens,
        sinks=evidence.sinks(),
        unseen=evidence.unseen(size),
        ladder=tuple((evidence.num_parameters(rank), evidence.probes("full", rank)) for rank in evidence.sizes("full") if rank <= size),
        forgotten=evidence.forgotten(),
    )
