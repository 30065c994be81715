"""Start without what is never used: half a second and 100 MB of a process.

pyarrow asks of every list it is given whether it is one of pandas' own, and imports pandas to ask; numba imports scipy's linear algebra
and cffi the first time that any kernel is called, to see whether kernels could use them. None needs to be there, and both look only once.

Arrow takes its memory from the heap that `heap` keeps, and polars, which has one of its own, gives back at once what it lets go: 40 to 120
MB less after clusters and removals of 268,000 documents, at no cost that could be told from noise. Import this module before anything
that imports either: which allocators they take, and how, is settled then.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
os.environ.setdefault("_RJEM_MALLOC_CONF", "dirty_decay_ms:0,muzzy_decay_ms:0")

import numpy as np
import pyarrow as pa

from pipeline.heap import keep_memory
from pipeline.text import padded_buffers


def start_lean() -> None:
    """Let pyarrow and numba look for pandas, scipy and cffi now, and find none; whoever imports them later still gets them."""
    keep_memory()
    with _refused({"pandas", "scipy.linalg", "cffi"} - set(sys.modules)):
        pa.array([])
        padded_buffers(pa.array(np.empty(0, object), pa.large_string()))


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
