"""The whole proof on made-up targets: honest skill passes, shuffled predictions fail, and the result is JSON that repeats itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pipeline.errors import IntegrityError
from pipeline.proof import agreement
from pipeline.proof.bars import cost_bars
from pipeline.proof.inputs import ProofInputs
from pipeline.proof.results import judge
from pipeline.proof.strata import NATURAL, UNIQUE

Make = Callable[..., ProofInputs]


@pytest.fixture(scope="module")
def proof(make_inputs: Make) -> dict[str, Any]:
    return judge(make_inputs(300, skill=0.97))


def bar_of(proof: dict[str, Any], words: str) -> dict[str, Any]:
    """Return the bar that begins so."""
    return next(bar for bar in proof["bars"] if words in bar["bar"])


def test_known_skill_is_read_off(proof: dict[str, Any]) -> None:
    """Predictions that hold nearly all of the truth agree with it almost perfectly once noise is taken out."""
    natural = next(row for row in proof["agreement"] if row["stratum"] == NATURAL)
    assert natural["disattenuated"]["value"] == pytest.approx(0.97, abs=0.05)
    assert bar_of(proof, "Natural unique clusters: Spearman")["verdict"] == "met"
    assert bar_of(proof, "FLOPs")["verdict"] == "met"
    assert bar_of(proof, "Target over largest proxy")["verdict"] == "not enough data"


def test_every_part_is_there_and_is_json(proof: dict[str, Any]) -> None:
    """The result is plain JSON, and every bar has a verdict and a sentence."""
    assert set(proof) == {
        "bars", "labels", "agreement", "discrimination", "calibration", "ablation", "outcome", "onion", "drop_curve", "hypotheses",
        "capacity_tax",
    }  # fmt: skip
    assert json.loads(json.dumps(proof, allow_nan=False)) == proof
    assert all(bar["sentence"].endswith(".") and bar["verdict"] for bar in proof["bars"])
    claims = {(row["claim"], row["scope"]): row["verdict"] for row in proof["hypotheses"]}
    assert claims["duplication accelerates memorization", "natural"] == "supported"
    assert proof["capacity_tax"]["target"]["sizes"][0]["all_bits"]["low"] > 0


def test_shuffled_predictions_miss_every_bar(make_inputs: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leakage test: predictions of other clusters pass nothing that has enough data, and the same inputs give the same result."""
    monkeypatch.setattr(agreement, "NUM_DRAWS", 40)
    inputs = make_inputs(200, shuffled=True)
    found = judge(inputs)
    assert {bar["verdict"] for bar in found["bars"] if bar["bar"].startswith("Natural")} <= {"missed", "not enough data"}
    unique = next(row for row in found["agreement"] if row["stratum"] == UNIQUE)
    assert unique["disattenuated"]["low"] < 0.2
    assert found == judge(inputs)


def test_a_leaking_proxy_stops_the_proof(make_inputs: Make) -> None:
    """A proxy with the target's split is refused before anything is read off."""
    inputs = make_inputs(100)
    with pytest.raises(IntegrityError, match="share their split"):
        judge(replace(inputs, proxy=inputs.target))


def test_cost_bars() -> None:
    """Ten percent of the FLOPs and a gap of twenty are the limits, both ends allowed."""
    flops, gap = cost_bars({"proxies": 1.0, "target": 10.0}, 2000, 100.0)
    assert (flops["verdict"], gap["verdict"]) == ("met", "met")
    flops, gap = cost_bars({"proxies": 1.1, "target": 10.0}, 1900, 100.0)
    assert (flops["verdict"], gap["verdict"]) == ("missed", "missed")
