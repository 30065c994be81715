"""Run proxies in processes of their own: one torch thread each, spawned, and gone when their parent is.

Threads will not do: seeds shared between threads gave different losses on every run, and torch's intra-op threads fight over two cores.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any

from pipeline.heap import keep_memory

FOLLOW_SECONDS = 1.0
THREAD_LIMITS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS")


@contextmanager
def worker_pool(workers: int) -> Iterator[ProcessPoolExecutor]:
    """Open a pool of spawned single-threaded worker processes that die with this one, even when it is killed.

    Leaving the block by an exception (Ctrl-C, TERM, a failed run) ends the workers at once instead of waiting for what they are at:
    what they have not stored is made again by the next run.
    """
    pool = ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=settle_worker, initargs=(os.getpid(),))
    try:
        yield pool
    except BaseException:
        for process in list((pool._processes or {}).values()):
            process.kill()
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown()


def call(module: str, function: str, *arguments: Any) -> Any:
    """Call a function by name: submitted like this, its module (and torch with it) is imported in the worker only."""
    return getattr(importlib.import_module(module), function)(*arguments)


def call_timed(module: str, function: str, *arguments: Any) -> tuple[Any, float, float]:
    """Do what `call` does; return the CPU seconds and the seconds on the wall that it took as well, imports not counted."""
    target = getattr(importlib.import_module(module), function)
    start, computed = time.perf_counter(), time.process_time()
    result = target(*arguments)
    return result, time.process_time() - computed, time.perf_counter() - start


def settle_worker(parent: int) -> None:
    """Settle a worker process: one thread, one heap that is kept, signals left to the parent, and gone when the parent is."""
    keep_memory()
    os.environ |= dict.fromkeys(THREAD_LIMITS, "1")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle; it ends its workers
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_follow, args=(parent,), daemon=True).start()


def _follow(parent: int) -> None:
    """End this process when its parent has ended; PR_SET_PDEATHSIG would fire when the parent's spawning *thread* ends."""
    while os.getppid() == parent:
        time.sleep(FOLLOW_SECONDS)
    os._exit(1)
