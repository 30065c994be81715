"""Threads: results come in order, few are held at a time, and a fault ends the work."""

from __future__ import annotations

import operator
import threading
import time
from collections.abc import Iterator

import pytest

from pipeline.parallel import Counted, in_order, in_threads


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_results_come_in_the_items_order(workers: int) -> None:
    """However long each takes."""

    def wait(item: int) -> int:
        time.sleep(0.002 * (item % 3))
        return item * item

    assert list(in_order(wait, range(20), workers)) == [item * item for item in range(20)]


def test_items_are_drawn_no_further_ahead_than_there_are_workers() -> None:
    """Of a stream of large items only a few are in memory."""
    drawn = 0

    def items() -> Iterator[int]:
        nonlocal drawn
        for item in range(50):
            drawn += 1
            yield item

    for done, _ in enumerate(in_order(lambda item: item, items(), 3), 1):
        assert drawn <= done + 3


def test_two_workers_work_at_once() -> None:
    """Two calls that wait for each other both come to an end."""
    meeting = threading.Barrier(2, timeout=10)
    assert len(list(in_order(lambda _: meeting.wait(), range(2), 2))) == 2


def test_a_fault_is_raised_and_nothing_further_begins() -> None:
    """What fails in a thread fails where the results are taken."""
    begun: list[int] = []

    def fail(item: int) -> int:
        begun.append(item)
        if item == 2:
            raise ValueError("item 2")
        return item

    with pytest.raises(ValueError, match="item 2"):
        list(in_order(fail, range(100), 2))
    assert max(begun) <= 6


def test_items_that_are_made_one_by_one_can_be_counted() -> None:
    """A mapper may ask how many there will be without drawing any."""
    numbers = iter(range(3))
    items = Counted((next(numbers) for _ in range(3)), 3)
    assert len(items) == 3
    assert operator.length_hint(numbers) == 3
    assert list(in_threads(2)(str, items)) == ["0", "1", "2"]
