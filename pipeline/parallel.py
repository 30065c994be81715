"""One seam between a stage and who works for it: a mapper calls a function for every item and yields the results in the items' order.

A stage over many items takes a `Mapper` and does not know whether threads, processes or other machines stand behind it. So what it maps
is a function of a module, with `partial` for what all calls share; items and results are small records, and what is large goes through
files. The default works here, in threads: the kernels, Arrow and polars let go of the interpreter while they work.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum, auto
from functools import partial
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class _End(Enum):
    """Stand for the item after the last."""

    END = auto()


class Mapper(Protocol):
    """Call a function for every item; items may be drawn, and made, as late as workers are free for them."""

    def __call__(self, function: Callable[[T], R], items: Iterable[T], /) -> Iterator[R]:
        """Yield function(item) of every item, in order; raise what a call raised."""
        ...


@dataclass(frozen=True)
class Counted(Generic[T]):
    """Say how many items at most an iterator will make, one by one."""

    items: Iterable[T]
    count: int

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return self.count


def in_threads(workers: int) -> Mapper:
    """Return a mapper that works in so many threads of this process."""
    return partial(in_order, workers=workers)


def in_order(function: Callable[[T], R], items: Iterable[T], workers: int = 1) -> Generator[R, None, None]:
    """Yield function(item) of every item, in order; items are drawn in the calling thread, at most `workers` ahead of what was yielded.

    So at most `workers` + 1 items or results are held at a time. What a call raises is raised here; calls not begun by then never are.
    """
    waiting: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) > workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def ahead(items: Iterable[T]) -> Generator[T, None, None]:
    """Yield items, the next of which another thread draws meanwhile: who makes them and who waits for a disk do not wait for each other.

    Close it before what it draws from: until then the thread may be at work there. What drawing raised is raised here.
    """
    drawn = iter(items)
    with ThreadPoolExecutor(1) as pool:
        coming: Future[T | _End] = pool.submit(next, drawn, _End.END)
        while not isinstance(item := coming.result(), _End):
            coming = pool.submit(next, drawn, _End.END)
            yield item
