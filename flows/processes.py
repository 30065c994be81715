"""Run proxies in processes of their own: one torch thread each, spawned, and gone when their parent is.

Threads will not do: seeds shared between threads gave different losses on every run, and torch's intra-op threads fight over two cores.
"""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from concurrent.futures import ProcessPoolExecutor

PR_SET_PDEATHSIG = 1
THREAD_LIMITS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def worker_pool(workers: int) -> ProcessPoolExecutor:
    """Return a pool of spawned single-threaded worker processes that die with this one, even when it is killed."""
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=_settle, initargs=(os.getpid(),))


def _settle(parent: int) -> None:
    for name in THREAD_LIMITS:
        os.environ[name] = "1"
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle; it ends its workers
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:  # it died before we asked to be told
            os._exit(1)
