"""Reasons in words."""

from __future__ import annotations

import numpy as np
import polars as pl

from pipeline.risk.features import FEATURES
from pipeline.risk.reasons import THEMES, reasons
from pipeline.risk.student import STUDENT_FEATURES

VALUES = dict.fromkeys((*FEATURES, *STUDENT_FEATURES), 0.0) | {
    "cluster_size": 64, "loss": 0.41, "reference_loss": 3.9, "fuzzy_mass": 1.0, "zlib_ratio": 0.5, "length": 10.0,
}  # fmt: skip


def test_the_strongest_themes_come_first_with_their_values() -> None:
    """Copies and the contrast of losses are told with their numbers, and which way they pull."""
    names = ("copies", "loss", "length")
    design, beta = np.array([[2.0, -1.0, 0.1]]), np.array([3.0, 1.5, 1.0, -4.0])
    said = reasons(design, beta, names, pl.DataFrame([VALUES]))
    assert said == [
        "raised by 64 copies and near-copies worth 1.0 more; "
        "lowered by loss 0.41 nats a token under the model that saw it, 3.90 under models that did not"
    ]


def test_nothing_to_say_is_said() -> None:
    """A row at the mean has no reason beyond that."""
    assert reasons(np.zeros((1, 1)), np.ones(2), ("copies",), pl.DataFrame([VALUES])) == ["nothing sets it apart from the corpus"]


def test_every_feature_has_a_theme_and_every_theme_copes_with_nulls() -> None:
    """No signal moves a score unseen, and values that could not be measured do not break a sentence."""
    themed = {name for names in THEMES.values() for name in names}
    assert themed >= {*FEATURES, *STUDENT_FEATURES}
    empty = pl.DataFrame([dict.fromkeys(VALUES) | {"cluster_size": 1}])
    for name in themed:
        assert reasons(np.ones((1, 1)), np.array([2.0, 0.0]), (name,), empty)[0].startswith("raised by ")
