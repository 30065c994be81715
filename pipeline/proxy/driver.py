"""Is there a GPU driver at all: asked without torch, which costs seconds and a hundred megabytes to import."""

from __future__ import annotations

import ctypes
from functools import cache

LIBRARIES = ("libcuda.so.1", "nvcuda.dll", "libamdhip64.so")


@cache
def has_gpu_driver() -> bool:
    """Say whether a driver's library can be opened; whether torch can use it is for torch to say."""
    return any(map(_opens, LIBRARIES))


def _opens(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True
