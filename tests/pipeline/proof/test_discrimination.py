"""Baselines are compared on the same clusters and draws, a rival that isn't beaten is no gain, and small strata say so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipeline.proof.baselines import baseline_scores, measured
from pipeline.proof.discrimination import discrimination
from pipeline.proof.inputs import ProofInputs
from pipeline.proof.labels import label_targets
from pipeline.proof.strata import NATURAL, PLANTED, UNIQUE, join_evidence

Make = Callable[..., ProofInputs]


def compare(inputs: ProofInputs) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the entries by stratum and label."""
    judged, labels = join_evidence(inputs, label_targets(inputs.target, inputs.settings))
    found = discrimination(judged, labels, inputs.flops, 0.95, np.random.default_rng(0))
    return {(entry["stratum"], entry["label"]): entry for entry in found}


def row(entry: dict[str, Any], name: str) -> dict[str, Any]:
    """Return one predictor's row."""
    return next(found for found in entry["predictors"] if found["name"] == name)


@pytest.fixture(scope="module")
def compared(make_inputs: Make) -> dict[tuple[str, str], dict[str, Any]]:
    return compare(make_inputs(700, noise=0.3))


def test_a_perfect_predictor_is_seen_to_be_one(compared: dict[tuple[str, str], dict[str, Any]]) -> None:
    """It finds every memorized cluster, beats the rival with an interval above 0, and random stays at the base rate."""
    entry = compared[NATURAL, "memorized"]
    ours = row(entry, "predicted_gain")
    assert ours["average_precision"]["value"] > 0.97
    assert ours["recall_at_precision"]["value"] > 0.9
    assert ours["precision_at_recall"]["value"] > 0.9
    chance = row(entry, "random")
    assert chance["average_precision"]["value"] == pytest.approx(entry["base_rate"], abs=0.08)
    assert chance["auroc"]["low"] < 0.5 < chance["auroc"]["high"]
    gain = next(found for found in entry["differences"] if found["name"] == "predicted_gain")
    assert gain["average_precision"]["is_gain"]
    score = next(found for found in entry["differences"] if found["name"] == "sink_score")
    assert row(entry, "rival")["beyond"]["average_precision"] == score["average_precision"]
    assert row(entry, "random")["beyond"]["average_precision"]["is_gain"]
    assert "beyond" not in row(entry, "sink_score")
    assert "beyond" not in row(compared[NATURAL, "strong gain"], "predicted_gain")
    assert row(entry, "copies")["flops"] == 0.0
    assert ours["flops"] is None


def test_every_stratum_is_told_with_its_counts(compared: dict[tuple[str, str], dict[str, Any]]) -> None:
    """Strata with fewer than 50 positives are told and not judged; the graded label's positives are a tenth."""
    entry = compared[PLANTED, "memorized"]
    assert entry["enough_data"] == (entry["num_positive"] >= 50)
    graded = compared[UNIQUE, "strong gain"]
    assert graded["num_positive"] == round(0.1 * graded["num_clusters"])
    assert not graded["enough_data"]


def test_shuffled_predictions_are_no_gain(make_inputs: Make) -> None:
    """Leakage test: predictions of other clusters are at chance and beat nobody."""
    entry = compare(make_inputs(500, shuffled=True))[NATURAL, "memorized"]
    assert row(entry, "sink_score")["auroc"]["low"] < 0.5 < row(entry, "sink_score")["auroc"]["high"]
    assert not any(found["average_precision"]["is_gain"] for found in entry["differences"])


def test_a_baseline_is_not_compared_where_it_did_not_look(make_inputs: Make) -> None:
    """A signal that misses more than a tenth of the clusters is named, not ranked last."""
    inputs = make_inputs(300)
    holes = inputs.predictions.with_columns(rival_score=pl.when(pl.int_range(pl.len()) % 3 > 0).then("rival_score"))
    entry = compare(replace(inputs, predictions=holes))[NATURAL, "memorized"]
    assert entry["not_measured"] == ["rival"]
    assert entry["differences"] == []


def test_scores_point_towards_memorization() -> None:
    """Every baseline's score rises with memorization, and the small model's is a matter of all or nothing."""
    judged = pl.DataFrame(
        {"copies": [1, 2], "loss": [3.0, 1.0], "loss_per_zlib": [2.0, 1.0], "zlib_ratio": [0.9, 0.2], "greedy_match": [0.9, 1.0]}
    )
    scores = baseline_scores(judged, np.random.default_rng(0))
    for name in ("copies", "-loss", "loss/zlib", "zlib", "small-model-extractable"):
        assert scores[name][1] > scores[name][0], name
    assert scores["small-model-extractable"].tolist() == [0.0, 1.0]
    assert set(measured(scores)) == set(scores)
    assert "rival" not in scores
