"""The S-curve: known values, and what any such curve must do."""

from __future__ import annotations

from itertools import pairwise

import pytest

from pipeline.dedup.curve import band_curve, proposal_probability


@pytest.mark.parametrize(("bands", "rows", "expected"), [(16, 8, 0.947), (21, 6, 0.998), (9, 13, 0.399)])
def test_known_probabilities_at_080(bands: int, rows: int, expected: float) -> None:
    """The values that the choice of bands rests on."""
    assert proposal_probability(0.8, bands, rows) == pytest.approx(expected, abs=5e-4)


def test_the_curve_rises_from_never_to_always() -> None:
    """Both ends are included, and more similar pairs are likelier to be proposed."""
    curve = band_curve(16, 8, 11)
    assert curve[0] == (0.0, 0.0)
    assert curve[-1] == (1.0, 1.0)
    assert [jaccard for jaccard, _ in curve] == pytest.approx([i / 10 for i in range(11)])
    assert all(low[1] <= high[1] for low, high in pairwise(curve))
