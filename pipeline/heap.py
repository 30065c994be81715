"""The C library's heap: kept while a stage works, given back between stages.

Arrow and numpy take from one heap that is not given back piece by piece. A pass over a corpus lets go of as much memory as the corpus
has bytes, many times over, and to have each page of it mapped and cleared anew took a fifth of all time. Between two stages it is the
other way round: the next one asks for other sizes, and its own peak would stand on top of what the last one left.

Proxies gain most: batches of many shapes leave a heap full of holes, and a run that needs 400 MB held 1,100 MB at its end (measured).
Where the C library is not glibc nothing here does anything.
"""

from __future__ import annotations

import ctypes
import sys
from functools import cache

TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8
"""Settings of glibc's mallopt (malloc.h)."""
LARGEST_KEPT, MOST_KEPT = 256 << 20, 1 << 30
"""Bytes of one piece of memory that stays in the heap, and of the heap's free end."""


def keep_memory() -> None:
    """Keep what is let go, in one arena for all threads to come."""
    _set(ARENA_MAX, 1)
    _set(MMAP_THRESHOLD, LARGEST_KEPT)
    _set(TRIM_THRESHOLD, MOST_KEPT)


def limit_arenas(count: int) -> None:
    """Let the threads to come share so many arenas: at one each, reading held a seventh more memory and was no faster (measured)."""
    _set(ARENA_MAX, count)


def give_back() -> None:
    """Return the heap's free pages to the system, and those that Arrow keeps where the user has chosen it another allocator."""
    arrow = sys.modules.get("pyarrow")  # not imported for this: who never loaded it has nothing there
    if arrow is not None and (pool := arrow.default_memory_pool()).backend_name != "system":
        pool.release_unused()
    trim = _of_glibc("malloc_trim")
    if trim is not None:
        trim(0)


def _set(option: int, value: int) -> None:
    mallopt = _of_glibc("mallopt")
    if mallopt is not None:
        mallopt(option, value)


@cache
def _of_glibc(name: str) -> ctypes._NamedFuncPointer | None:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform == "linux" else None
