"""Weighted rank statistics equal the plain ones on rows written out as often as they are drawn."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.proof.ranks import areas, correlate, mid_ranks, top_decile
from pipeline.risk.metrics import auroc, rank, spearman

ROWS = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4), st.integers(0, 3), st.booleans()), min_size=3, max_size=25)


@settings(max_examples=60, deadline=None)
@given(ROWS.filter(lambda rows: sum(row[2] for row in rows) >= 3))
def test_drawn_rows_count_as_often_as_they_are_drawn(rows: list[tuple[int, int, int, bool]]) -> None:
    """Correlation and AUROC are those of the sample itself, ties and rows that aren't drawn included."""
    first, second, times, marked = (np.array(column) for column in zip(*rows, strict=True))
    weights = times.astype(np.float64)[None, :]
    one, other, positive = (np.repeat(column, times) for column in (first, second, marked))
    ranks = mid_ranks(first.astype(np.float64), weights)
    correlation = correlate(ranks, mid_ranks(second.astype(np.float64), weights), weights)[0]
    wanted = spearman(one.astype(np.float64), other.astype(np.float64))
    np.testing.assert_allclose(correlation, np.nan if wanted is None else wanted, atol=1e-9)
    area = areas(ranks, marked[None, :], weights)[0]
    plain = auroc(rank(one.astype(np.float64), positive, np.ones((1, len(one)))))[0]
    np.testing.assert_allclose(area, plain, atol=1e-9)


def test_top_decile_marks_a_tenth() -> None:
    """The largest tenth is marked, one at least, the first of equals; rows drawn more often fill it sooner."""
    assert top_decile(np.arange(40.0), np.ones((1, 40)))[0].sum() == 4
    assert top_decile(np.zeros(20), np.ones((1, 20)))[0].tolist() == [True, True] + [False] * 18
    assert top_decile(np.arange(3.0), np.ones((1, 3)))[0].tolist() == [False, False, True]
    drawn = np.ones((1, 20))
    drawn[0, 19] = 2
    assert np.flatnonzero(top_decile(np.arange(20.0), drawn)[0]).tolist() == [19]
