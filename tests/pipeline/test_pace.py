"""A machine's pace is measured on work that is the same everywhere, by CPU seconds and not by the clock on the wall."""

from __future__ import annotations

import time

import numpy as np
import pytest

from pipeline import pace
from pipeline.pace import REFERENCE_SECONDS, measure_pace


def test_the_pace_is_the_median_piece_beside_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces that take twice the reference's CPU seconds, one of them disturbed, make a pace of two."""
    clock = iter(np.cumsum([0.0, 9.0] + [0.0, 2 * REFERENCE_SECONDS] * 8 + [0.0, 50.0]).tolist())
    monkeypatch.setattr(time, "process_time", lambda: next(clock))
    assert measure_pace() == pytest.approx(2.0)


def test_every_machine_does_the_same_piece() -> None:
    """What is hashed, gathered and compressed is drawn by a fixed seed, and a piece takes CPU seconds."""
    first, second = pace._Work.draw(), pace._Work.draw()
    assert np.array_equal(first.data, second.data)
    assert first.words.equals(second.words)
    assert first.gathered.equals(second.gathered)
    assert first.do() > 0
