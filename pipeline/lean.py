"""Start without what is never used: half a second and 100 MB of a process.

pyarrow asks of every list it is given whether it is one of pandas' own, and imports pandas to ask; numba imports scipy's linear algebra
and cffi the first time that any kernel is called, to see whether kernels could use them. None needs to be there, and both look only once.

Memory that was let go is kept: Arrow and numpy take from one heap that is not given back piece by piece. A pass over a corpus lets go of
as much memory as the corpus has bytes, many times over, and to have each page of it mapped and cleared anew took a fifth of all time.
Import this module before anything that imports pyarrow: which allocator it takes is settled then.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")

import numpy as np
import pyarrow as pa

from pipeline.text import padded_buffers

ARENA_MAX, MMAP_THRESHOLD, TRIM_THRESHOLD = -8, -3, -1
"""Settings of glibc's mallopt."""
LARGEST_KEPT, MOST_KEPT = 256 << 20, 1 << 30
"""Bytes of one piece of memory that stays in the heap, and of the heap's free end."""


def start_lean() -> None:
    """Let pyarrow and numba look for pandas, scipy and cffi now, and find none; whoever imports them later still gets them."""
    _keep_memory()
    with _refused({"pandas", "scipy.linalg", "cffi"} - set(sys.modules)):
        pa.array([])
        padded_buffers(pa.array(np.empty(0, object), pa.large_string()))


def _keep_memory() -> None:
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for option, value in ((ARENA_MAX, 1), (MMAP_THRESHOLD, LARGEST_KEPT), (TRIM_THRESHOLD, MOST_KEPT)):
            mallopt(option, value)


@contextmanager
def _refused(names: set[str]) -> Iterator[None]:
    class Refusal:
        @staticmethod
        def find_spec(name: str, *_: Any) -> None:
            if name in names:
                raise ImportError(f"{name} is not needed here")

    finder: Any = Refusal
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
