"""Strata keep natural text and plants apart, and every cluster with both a prediction and a label is in one of the two."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from pipeline.proof.inputs import ProofInputs
from pipeline.proof.labels import label_targets
from pipeline.proof.strata import FEW, NATURAL, PLANTED, UNIQUE, join_evidence, mask_of, strata


def test_only_clusters_on_both_sides_are_judged(make_inputs: Callable[..., ProofInputs]) -> None:
    """A cluster without a prediction is left out, and labels stay in step with it."""
    inputs = make_inputs(200)
    inputs = replace(inputs, predictions=inputs.predictions.tail(150))
    labels = label_targets(inputs.target, inputs.settings)
    judged, kept = join_evidence(inputs, labels)
    assert judged.height == kept.pair_gains.shape[0] == 150
    np.testing.assert_allclose(kept.pair_gains.mean(axis=1), judged["gain"].to_numpy(), atol=1e-5)
    assert {"copies", "log2_copies", "length", "sink_score", "memorized"} <= set(judged.columns)


def test_strata_part_natural_from_planted_text(make_inputs: Callable[..., ProofInputs]) -> None:
    """Natural and planted make up the whole; copies part natural text without a remainder; sources come last."""
    inputs = make_inputs(400)
    judged, _ = join_evidence(inputs, label_targets(inputs.target, inputs.settings))
    found = dict(strata(judged))
    natural = judged["is_natural"].to_numpy()
    np.testing.assert_array_equal(found[NATURAL], natural)
    np.testing.assert_array_equal(found[PLANTED], ~natural)
    parts = [found[f"natural, copies {name}"] for name in ("1", "2-5", "6-20", "over 20")]
    np.testing.assert_array_equal(np.sum(parts, axis=0), natural.astype(int))
    np.testing.assert_array_equal(found[FEW], found[UNIQUE] | found["natural, copies 2-5"])
    assert list(found)[-1] == "source planted"
    assert {"source books", "source mail"} < set(found)
    np.testing.assert_array_equal(mask_of(judged, UNIQUE), found[UNIQUE])
