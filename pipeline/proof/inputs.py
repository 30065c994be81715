"""What a proof is made of: frozen predictions on one side, measured targets on the other, and nothing that joins them but cluster_id.

Predictions were made, and their digest recorded, before a target was trained. Nothing here is fitted to a target's label, except what
is called an upper bound. One row a cluster in `clusters` and `predictions`; a cluster without a prediction is not judged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import polars as pl

from pipeline.config import RiskConfig
from pipeline.errors import TableError
from pipeline.risk.evidence import Evidence

CLUSTERS: Mapping[str, type[pl.DataType]] = {
    "cluster_id": pl.Binary,
    "copies": pl.Int64,  # documents of the cluster in the raw corpus, 1: unique
    "num_tokens": pl.Int64,  # of all its documents, in the target's tokens
    "source": pl.String,  # of its first document in the order of content_hash
    "is_natural": pl.Boolean,  # holds no planted document
    "length": pl.Float64,  # tokens of one document, mean
}
PREDICTIONS: Mapping[str, type[pl.DataType]] = {
    "cluster_id": pl.Binary,
    "sink_score": pl.Float64,
    "sink_score_low": pl.Float64,
    "sink_score_high": pl.Float64,
    "predicted_gain": pl.Float64,  # nats per token
    "predicted_gain_low": pl.Float64,
    "predicted_gain_high": pl.Float64,
    "signal_score": pl.Float64,  # nullable: the score without copies
    "scored_by": pl.String,  # teacher, student
    "is_supported": pl.Boolean,
    "rival_score": pl.Float64,  # nullable: logistic on copies + loss + zlib, out-of-fold, fitted to the proxies' labels
}
"""Every further numeric column is a signal at the largest proxy, named as in pipeline.risk.features and nullable; one named
`partial_target` is the score (higher: more memorized) that an early checkpoint of a full target run gives."""
ABLATIONS: Mapping[str, type[pl.DataType]] = {
    "block": pl.String,  # corpus, + forward, ...: in the order in which signals were added
    "cluster_id": pl.Binary,
    "sink_score": pl.Float64,  # out-of-fold, fitted to the proxies' labels
    "predicted_gain": pl.Float64,
}
ARM_RUNS: Mapping[str, type[pl.DataType]] = {
    "arm": pl.String,  # raw, exact, minhash, policy, random, ...
    "seed": pl.Int64,  # runs of one seed share initialisation and order: they are paired
    "kind": pl.String,  # equal_steps, equal_epochs
    "num_tokens": pl.Int64,  # of the filtered corpus
    "flops": pl.Float64,
    "held_out_loss": pl.Float64,  # nats per token, unique natural text that no arm trained on
    "emission": pl.Float64,  # nullable: share of sampled tokens in a run of 50 out of the raw corpus
}
ARM_CLUSTERS: Mapping[str, type[pl.DataType]] = {
    "arm": pl.String,
    "seed": pl.Int64,
    "kind": pl.String,
    "cluster_id": pl.Binary,  # every cluster of the raw corpus, removed ones too
    "recall": pl.Float64,  # nullable: memorization_score, mean over the cluster's windows that have a suffix
    "loss": pl.Float64,  # nats per token, mean over its windows
    "is_kept": pl.Boolean,  # some document of it is in the arm's training data, with weight above 0
}
DROP_CURVE: Mapping[str, type[pl.DataType]] = {
    "criterion": pl.String,  # as in validation.curve; none: nothing dropped
    "seed": pl.Int64,  # runs of one seed are paired
    "scope": pl.String,  # natural, all
    "share": pl.Float64,  # of the deduplicated tokens that were dropped
    "held_out_loss": pl.Float64,
    "memorized": pl.Float64,  # nullable: mean counterfactual gain over all clusters, nats per token
    "memorized_by_tokens": pl.Float64,  # nullable: the same, each cluster by its tokens
}
REGULARIZATION: Mapping[str, type[pl.DataType]] = {"setting": pl.String, "cluster_id": pl.Binary, "gain": pl.Float64}
"""`setting` none is the ordinary training; the others are compared with it."""
LOCALIZATION: Mapping[str, type[pl.DataType]] = {
    "cluster_id": pl.Binary,
    "is_held_out": pl.Boolean,  # the sinks proxy never trained on it
    "own_loss": pl.Float64,  # nats per token, its own sinks on
    "off_loss": pl.Float64,  # all sinks off
    "other_loss": pl.Float64,  # the placebo: another id's sinks on
}
FORGETTING: Mapping[str, type[pl.DataType]] = {
    "cluster_id": pl.Binary,
    "reference_loss": pl.Float64,  # under models that never saw it, nats per token
    "before_loss": pl.Float64,  # at the end of the training with it
    "after_loss": pl.Float64,  # after training went on without it
}


@dataclass(frozen=True)
class Arms:
    """Hold the outcome arms; `drop_curve` the runs of the free-token curve, if they were made."""

    runs: pl.DataFrame
    clusters: pl.DataFrame
    drop_curve: pl.DataFrame | None = None


@dataclass(frozen=True)
class ProofInputs:
    """Gather what `results.judge` needs.

    `target`: the target's label halves as proxies of role label_half (names target-0a, target-0b, ...; pairs share the number, sides
    are complementary), with the target's samples. `proxy`: the audit's own proxies, for what travels from their size to the target's.
    `flops`: of "target" (one run on the whole corpus) and "proxies" (all of their work), and of any baseline or block by its name.
    `proxy_evaluation`: the facts that scoring recorded (`facts["evaluation"]`). `planned_parameters`: of the model the user plans.
    `total_parameters`: embedding included, by the name of a proxy or target run; where one is missing capacity is not stated.
    """

    clusters: pl.DataFrame
    predictions: pl.DataFrame
    target: Evidence
    settings: RiskConfig
    seed: int
    proxy: Evidence | None = None
    ablations: pl.DataFrame | None = None
    arms: Arms | None = None
    flops: Mapping[str, float] = field(default_factory=dict)
    total_parameters: Mapping[str, int] = field(default_factory=dict)
    planned_parameters: float | None = None
    planted_sources: tuple[str, ...] = ()
    proxy_evaluation: Mapping[str, Any] | None = None
    regularization: pl.DataFrame | None = None
    localization: pl.DataFrame | None = None
    forgetting: pl.DataFrame | None = None

    def __post_init__(self) -> None:
        """Raise TableError for a frame that lacks a column, has another type, or names a cluster twice."""
        arms = self.arms
        frames = (
            ("clusters", self.clusters, CLUSTERS, ("cluster_id",)),
            ("predictions", self.predictions, PREDICTIONS, ("cluster_id",)),
            ("ablations", self.ablations, ABLATIONS, ("block", "cluster_id")),
            ("arms.runs", arms.runs if arms else None, ARM_RUNS, ("arm", "seed", "kind")),
            ("arms.clusters", arms.clusters if arms else None, ARM_CLUSTERS, ("arm", "seed", "kind", "cluster_id")),
            ("arms.drop_curve", arms.drop_curve if arms else None, DROP_CURVE, ("criterion", "seed", "scope", "share")),
            ("regularization", self.regularization, REGULARIZATION, ("setting", "cluster_id")),
            ("localization", self.localization, LOCALIZATION, ("cluster_id",)),
            ("forgetting", self.forgetting, FORGETTING, ("cluster_id",)),
        )
        for name, frame, columns, key in frames:
            if frame is not None:
                _check(name, frame, columns, key)


def _check(name: str, frame: pl.DataFrame, columns: Mapping[str, type[pl.DataType]], key: tuple[str, ...]) -> None:
    faults = [f"column {column} is missing" for column in columns if column not in frame.columns]
    faults += [
        f"column {column} wanted {dtype.__name__}, got {frame.schema[column]}"
        for column, dtype in columns.items()
        if column in frame.columns and frame.schema[column] != dtype
    ]
    if not faults and frame.select(key).is_duplicated().any():
        faults.append(f"key {key} is not unique")
    if faults:
        raise TableError(
            f"{name} of a proof has {len(faults)} fault(s): " + "; ".join(faults),
            wanted="the columns that pipeline/proof/inputs.py declares",
            do="this is a defect in what gathered the frame; report it with the message",
        )
