"""The frames of a proof are refused at the door when they aren't what they claim."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import polars as pl
import pytest

from pipeline.errors import TableError
from pipeline.proof.inputs import ARM_CLUSTERS, ARM_RUNS, Arms, ProofInputs

Make = Callable[..., ProofInputs]


def test_missing_and_mistyped_columns_are_all_named(make_inputs: Make) -> None:
    """One message names every column that is missing or of another type."""
    inputs = make_inputs(60)
    broken = inputs.clusters.drop("source").cast({"copies": pl.Int32})
    with pytest.raises(TableError, match=r"clusters of a proof has 2 fault.*source is missing.*copies wanted Int64, got Int32"):
        replace(inputs, clusters=broken)


def test_a_cluster_is_predicted_once(make_inputs: Make) -> None:
    """Two rows about one cluster are refused."""
    inputs = make_inputs(60)
    with pytest.raises(TableError, match=r"predictions of a proof.*not unique"):
        replace(inputs, predictions=pl.concat([inputs.predictions, inputs.predictions.head(1)]))


def test_arms_are_checked_too(make_inputs: Make) -> None:
    """An arm's run without its column for emission is refused."""
    arms = Arms(pl.DataFrame(schema=dict(ARM_RUNS)).drop("emission"), pl.DataFrame(schema=dict(ARM_CLUSTERS)))
    with pytest.raises(TableError, match=r"arms.runs.*emission is missing"):
        replace(make_inputs(60), arms=arms)
