"""Keep the C library's heap small: it grows one arena for each thread and keeps what was freed, so that peaks of stages would add up."""

from __future__ import annotations

import ctypes
from functools import cache

import pyarrow as pa

from pipeline.proxy.memory import release_memory

M_ARENA_MAX = -8
"""Of glibc's malloc.h."""


def limit_arenas(count: int) -> None:
    """Let the threads to come share so many arenas: at one each, reading held a seventh more memory and was no faster (measured)."""
    mallopt = _mallopt()
    if mallopt is not None:
        mallopt(M_ARENA_MAX, count)


def give_back() -> None:
    """Return to the system what was freed: the next stage asks for other sizes, and its own peak would stand on top."""
    pa.default_memory_pool().release_unused()
    release_memory()


@cache
def _mallopt() -> ctypes._NamedFuncPointer | None:
    return getattr(ctypes.CDLL(None), "mallopt", None)
