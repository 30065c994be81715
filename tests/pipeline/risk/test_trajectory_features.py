"""Signals of loss over time on hand-made tables."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import numpy as np
import polars as pl
import pytest

from pipeline.risk import trajectory_features as trajectories
from pipeline.risk.forward_features import View

EXPOSURES = {"cluster_id": pl.Binary, "window_id": pl.Int64, "step": pl.Int64, "loss": pl.Float32}
UNSEEN = {"cluster_id": pl.Binary, "step": pl.Int64, "loss": pl.Float64}
STEPS = (0, 1, 3, 7, 15)


def world(exposures: list[tuple[bytes, int, int, float]], unseen: list[tuple[bytes, int, float]]) -> View:
    """Return a view with exposures and looks at held-out clusters."""
    return cast(
        View,
        SimpleNamespace(exposures=pl.DataFrame(exposures, EXPOSURES, orient="row"), unseen=pl.DataFrame(unseen, UNSEEN, orient="row")),
    )


def drop(view: View) -> dict[bytes, float | None]:
    """Return exposure_drop by cluster."""
    return dict(trajectories.exposure_drop(view).select("cluster_id", "exposure_drop").rows())


def test_what_unseen_text_loses_too_is_no_drop() -> None:
    """Held-out clusters fall by 2 from step 1 to 7: a text that falls by 5 has learnt 3; one exposure says nothing."""
    unseen = [(bytes([number]), step, 8.0 + number - np.log2(1 + step)) for number in range(3) for step in STEPS]
    seen = [(b"x", 0, 1, 7.0), (b"x", 0, 3, 4.0), (b"x", 0, 7, 2.0), (b"y", 1, 3, 6.0), (b"z", 2, 3, 6.0), (b"z", 2, 3, 5.0)]
    assert drop(world(seen, unseen)) == {b"x": pytest.approx(3.0), b"y": None, b"z": None}
    assert drop(world(seen, [])) == {b"x": None, b"y": None, b"z": None}


def test_unseen_text_of_like_loss_is_the_measure() -> None:
    """With eight held-out clusters or more a plain regression of their later on their first loss says what would have been lost."""
    rng = np.random.default_rng(0)
    levels = rng.normal(6.0, 1.0, 20)
    curves = {step: levels * 0.8 ** np.log2(1 + step) + rng.normal(0, 0.1, 20) for step in STEPS}
    unseen = [(bytes([number]), step, float(losses[number])) for step, losses in curves.items() for number in range(20)]
    seen = [(b"x", 0, 1, 5.5), (b"x", 0, 15, 1.0), (b"x", 9, 3, 7.0), (b"x", 9, 7, 3.0)]
    expected = np.mean(
        [np.polyval(np.polyfit(curves[a], curves[b], 1), before) - after for a, b, before, after in ((1, 15, 5.5, 1.0), (3, 7, 7.0, 3.0))]
    )
    assert drop(world(seen, unseen))[b"x"] == pytest.approx(expected, abs=1e-6)


def test_between_looks_losses_are_interpolated_over_log_steps() -> None:
    """A step halfway between two looks on the log scale has the loss halfway."""
    unseen = [(b"h", 0, 8.0), (b"h", 15, 4.0)]
    assert drop(world([(b"x", 0, 0, 9.0), (b"x", 0, 3, 5.0)], unseen))[b"x"] == pytest.approx(4.0 - 2.0)


def test_forgetting_is_measured_from_held_out_text_and_on_texts_own_windows() -> None:
    """Text of the other side and shared windows do not count."""
    rows = [(b"x", True, False, 1.0), (b"x", True, False, 3.0), (b"x", True, True, 50.0), (b"y", False, False, -2.0)]
    rows += [(b"h", False, False, -0.5), (b"h", False, False, -1.5)]
    schema = {"cluster_id": pl.Binary, "in_training": pl.Boolean, "is_shared": pl.Boolean, "rise": pl.Float64}
    held_out = pl.DataFrame({"cluster_id": [b"h"]})
    view = cast(View, SimpleNamespace(forgotten=pl.DataFrame(rows, schema, orient="row"), held_out=held_out))
    assert trajectories.forgetting(view).rows() == [(b"x", pytest.approx(3.0))]
    nothing = cast(View, SimpleNamespace(forgotten=pl.DataFrame(schema=schema), held_out=held_out))
    assert trajectories.forgetting(nothing).is_empty()
