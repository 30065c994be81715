"""Blocks are compared on the same clusters and draws; the upper bound sees the labels and says so."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from pipeline.proof.ablation import ablation, upper_bound
from pipeline.proof.inputs import ProofInputs
from pipeline.proof.labels import label_targets
from pipeline.proof.strata import NATURAL, join_evidence, mask_of

Make = Callable[..., ProofInputs]


def blocks_of(inputs: ProofInputs) -> pl.DataFrame:
    """Return a block that knows nothing and one that predicts as the whole does, of the teacher's clusters."""
    own = inputs.predictions.filter(pl.col("scored_by") == "teacher").select("cluster_id", "sink_score", "predicted_gain")
    noise = np.random.default_rng(3).normal(size=own.height)
    blind = own.with_columns(sink_score=pl.Series(noise), predicted_gain=pl.Series(noise), block=pl.lit("corpus"))
    return pl.concat([blind, own.with_columns(block=pl.lit("+ forward"))]).select("block", "cluster_id", "sink_score", "predicted_gain")


def test_a_block_adds_what_it_knows(make_inputs: Make) -> None:
    """The block that knows the truth lifts correlation and precision beyond noise; its price rides along."""
    inputs = make_inputs(300)
    judged, labels = join_evidence(inputs, label_targets(inputs.target, inputs.settings))
    entries = ablation(blocks_of(inputs), judged, labels, {"+ forward": 5.0}, 0.95, np.random.default_rng(0), 0)
    natural = next(entry for entry in entries if entry["stratum"] == NATURAL)
    blind, seeing = natural["blocks"]
    assert "adds_spearman" not in blind
    assert seeing["adds_spearman"]["low"] > 0
    assert seeing["adds_average_precision"]["low"] > 0
    assert (blind["flops"], seeing["flops"]) == (None, 5.0)
    assert natural["num_clusters"] < judged.filter("is_natural").height
    assert seeing["num_clusters"] == natural["upper_bound_of_blocks"]["num_clusters"] == natural["num_clusters"]


def test_upper_bound_is_marked_and_out_of_fold(make_inputs: Make) -> None:
    """It finds what the signals hold; with shuffled signals it finds nothing, so no cluster's own label reaches its prediction."""
    values = []
    for shuffled in (False, True):
        inputs = make_inputs(300, shuffled=shuffled)
        judged, labels = join_evidence(inputs, label_targets(inputs.target, inputs.settings))
        cut = judged.with_columns(log2_copies=pl.lit(0.0), copies=pl.lit(1, pl.Int64))
        found = upper_bound(cut, labels, mask_of(cut, NATURAL), 0.95, np.random.default_rng(0), 0)
        assert found["is_upper_bound"]
        assert found["sees_target_labels"]
        values.append(found["spearman"]["value"])
    assert values[0] > 0.7
    assert values[1] == pytest.approx(0.0, abs=0.2)


def test_without_blocks_only_the_bound_is_told(make_inputs: Make) -> None:
    """No ablation frame, no blocks."""
    inputs = make_inputs(120)
    judged, labels = join_evidence(inputs, label_targets(inputs.target, inputs.settings))
    entries = ablation(None, judged, labels, {}, 0.95, np.random.default_rng(0), 0)
    assert all(entry["blocks"] == [] for entry in entries)
