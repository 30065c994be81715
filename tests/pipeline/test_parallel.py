"""Threads: results come in order, few are held at a time, and a fault ends the work."""

from __future__ import annotations

import operator
import threading
import time
from collections.abc import Generator, Iterator

import pytest

from pipeline.parallel import Counted, ahead, in_order, in_threads


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


def test_the_next_item_is_drawn_while_one_is_worked_on_and_no_further() -> None:
    """Drawing and working wait for each other's first deed, and both come to an end; a third item is not in memory."""
    drawn: list[int] = []
    is_drawn = threading.Condition()

    def items() -> Iterator[int]:
        for item in range(4):
            with is_drawn:
                drawn.append(item)
                is_drawn.notify_all()
            yield item

    taken = []
    for item in ahead(items()):
        taken.append(item)
        with is_drawn:
            assert is_drawn.wait_for(lambda: len(drawn) >= min(len(taken) + 1, 4), timeout=10)
            assert len(drawn) <= len(taken) + 1
    assert taken == [0, 1, 2, 3]


def test_what_drawing_ahead_raises_is_raised_in_its_turn() -> None:
    """Everything before the fault comes first."""

    def items() -> Iterator[int]:
        yield 0
        raise ValueError("item 1")

    drawn = ahead(items())
    assert next(drawn) == 0
    with pytest.raises(ValueError, match="item 1"):
        next(drawn)


def test_closing_what_draws_ahead_waits_for_what_is_being_drawn() -> None:
    """So that what it draws from can be closed next, which a generator at work cannot."""
    go_on, is_closed = threading.Event(), threading.Event()

    def items() -> Generator[int, None, None]:
        try:
            yield 0
            assert go_on.wait(10)
            yield 1
        finally:
            is_closed.set()

    source = items()
    drawn = ahead(source)
    assert next(drawn) == 0
    threading.Timer(0.1, go_on.set).start()
    drawn.close()
    source.close()
    assert is_closed.is_set()
