"""Signals of gradients on a hand-made table of two checkpoints."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any, cast

import polars as pl

from pipeline.risk import gradient_features as gradients
from pipeline.risk.forward_features import View

A, B, C, D = b"a", b"b", b"c", b"d"
ROWS = [
    # cluster, step, absorption, spillover: two windows of A, a text that teaches, one that harms, one without absorption
    (A, 1, 2.0, 0.2),
    (A, 1, 4.0, 0.4),
    (A, 2, 1.0, 0.1),
    (A, 2, 1.0, 0.1),
    (B, 1, 3.0, -0.6),
    (B, 2, 1.0, 0.2),
    (C, 1, 1.0, 5.0),
    (C, 2, 1.0, 1.0),
    (D, 1, 0.0, 0.0),
    (D, 2, 0.0, 0.0),
]


def view(rows: list[tuple[Any, ...]] = ROWS) -> View:
    """Return a view with checkpoints alone."""
    schema = {"cluster_id": pl.Binary, "step": pl.Int64, "absorption": pl.Float32, "spillover": pl.Float32}
    return cast(View, SimpleNamespace(checkpoints=pl.DataFrame(rows, schema, orient="row")))


def column(table: pl.DataFrame, name: str) -> dict[bytes, float | None]:
    """Return a signal by cluster, rounded to what Float32 holds."""
    return dict(table.select("cluster_id", pl.col(name).round(6)).rows())


def test_sums_go_over_checkpoints_and_means_over_windows() -> None:
    """Absorption is in log2, spillover keeps its sign."""
    assert column(gradients.absorption_sum(view()), "absorption_sum") == {A: 2.0, B: 2.0, C: 1.0, D: None}
    assert column(gradients.spillover(view()), "spillover") == {A: 0.4, B: -0.4, C: 6.0, D: 0.0}


def test_specificity_stays_within_its_bounds() -> None:
    """A text that harms others is wholly specific, one that teaches more than it takes not at all, one that takes nothing has none."""
    assert column(gradients.specificity(view()), "specificity") == {A: 0.9, B: 1.0, C: 0.0, D: None}


def test_without_held_out_text_spillover_is_unknown_not_zero() -> None:
    """Null stays null, in the sum and in the share."""
    blind = view([(*row[:3], None) for row in ROWS])
    assert set(column(gradients.spillover(blind), "spillover").values()) == {None}
    assert set(column(gradients.specificity(blind), "specificity").values()) == {None}
    assert column(gradients.absorption_sum(blind), "absorption_sum")[A] == 2.0


def test_reference_gradients_are_those_of_proxies_without_the_text() -> None:
    """The side that trained on a cluster is not asked."""
    halves = pl.DataFrame(
        [(A, True, 64.0, 64.0), (A, False, 2.0, 8.0), (A, False, 6.0, 24.0), (B, True, 1.0, 1.0)],
        {"cluster_id": pl.Binary, "in_training": pl.Boolean, "grad_norm": pl.Float32, "absorption": pl.Float32},
        orient="row",
    )
    half_view = cast(View, SimpleNamespace(halves=halves))
    assert column(gradients.reference_grad_norm(half_view), "reference_grad_norm") == {A: 2.0}
    assert column(gradients.reference_absorption(half_view), "reference_absorption") == {A: math.log2(16.0)}
