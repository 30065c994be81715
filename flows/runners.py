"""Who works: threads of this process, processes of this machine, or a Ray cluster, through Prefect's task runners.

The only place that knows which. Stages hand a mapper a function of a module and small records (`pipeline.parallel`); what is large lies
in the ledger. In threads a stage's items are worked on within its own Prefect task: a task for each would cost 7 ms (measured on a
busy machine) and share nothing that threads do not share anyway. Elsewhere items go in batches, a Prefect task each: that costs 0.2 s, so
there are a few for each worker and stage, and never many however large the corpus. Where batches end changes no byte.

Workers elsewhere start from Prefect's context of the flow that sends them work; the context names the API of the local server, else
every worker would start a server of its own.
"""

from __future__ import annotations

import flows.settings  # noqa: F401  before prefect is imported

# isort: split
import os
import pickle
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sized
from concurrent.futures import Executor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import copy_context
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from prefect.context import FlowRunContext, TaskRunContext
from prefect.futures import PrefectFuture
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.task_runners import ProcessPoolTaskRunner, TaskRunner

from flows.discreet import task
from flows.processes import settle_worker, worker_pool
from pipeline.config import ProxyConfig, RuntimeConfig
from pipeline.heap import give_back
from pipeline.parallel import Mapper, in_threads
from pipeline.proxy.driver import has_gpu_driver

T = TypeVar("T")
R = TypeVar("R")

BATCHES_PER_WORKER = 3
MOST_BATCHES = 48
"""Of one stage: with about eight stages that map items, a flow stays below four hundred tasks."""


class Workers:
    """Work in threads of this process, and train in processes of their own."""

    are_here = True
    """Whether workers share this process and its memory."""

    def __init__(self, runtime: RuntimeConfig) -> None:
        self.runtime = runtime

    def mapper(self, _name: str, /) -> Mapper:
        """Return what maps the items of one stage, whose tasks have a name."""
        return in_threads(self.runtime.workers)

    def have_gpus(self) -> bool:
        """Say whether there may be a GPU where models train."""
        return has_gpu_driver()

    def trainers(self, _config: ProxyConfig, workers: int, /) -> AbstractContextManager[Executor]:
        """Open what trains models: one process and one thread each; left by an exception, they end at once."""
        return worker_pool(workers)

    def close(self, _has_failed: bool, /) -> None:
        """End all workers; of a failed run at once, whatever they are at."""


class TaskWorkers(Workers, ABC):
    """Work in tasks of a Prefect task runner, which starts with the first of them."""

    are_here = False

    def __init__(self, runtime: RuntimeConfig) -> None:
        super().__init__(runtime)
        self._runner: TaskRunner[Any] | None = None

    @property
    def most_waiting(self) -> int:
        """Bound the batches that are under way or wait to be."""
        return self.runtime.workers

    def mapper(self, name: str, /) -> Mapper:
        """Return what maps the items of one stage in batches."""
        return partial(self._map, name)

    def close(self, _has_failed: bool, /) -> None:
        """End the task runner, if it ever began."""
        if self._runner is not None:
            self._runner.__exit__(None, None, None)
            self._runner = None

    def _begin(self) -> TaskRunner[Any]:
        if self._runner is None:
            self._runner = self._open()
        return self._runner

    @abstractmethod
    def _open(self) -> TaskRunner[Any]:
        """Start the task runner."""

    def _map(self, name: str, function: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
        under_way: deque[PrefectFuture[bytes]] = deque()
        for batch in batches(items, self.runtime.workers):
            under_way.append(self._submit(name, pickle.dumps((function, batch))))
            if len(under_way) >= self.most_waiting:
                yield from _unpacked(under_way.popleft().result())
        while under_way:
            yield from _unpacked(under_way.popleft().result())

    def _submit(self, name: str, payload: bytes) -> PrefectFuture[bytes]:
        submit = partial(self._begin().submit, work.with_options(name=name), {"payload": payload, "home": str(Path.cwd())})
        return copy_context().run(_outside_the_stage, submit)


class ProcessWorkers(TaskWorkers):
    """Work in processes of this machine."""

    @property
    def most_waiting(self) -> int:
        """Keep one batch ready for each process."""
        return 2 * self.runtime.workers

    def close(self, has_failed: bool, /) -> None:
        """End the processes; killed, they leave the parts that they were at, and the next run makes those again."""
        if has_failed and self._runner is not None:
            executor: Any = self._runner._executor  # type: ignore[attr-defined]
            for process in list((executor._processes or {}).values()) if executor is not None else ():
                process.kill()
        super().close(has_failed)

    def _open(self) -> TaskRunner[Any]:
        runner: TaskRunner[Any] = ProcessPoolTaskRunner(self.runtime.workers, initializer=settle_worker, initargs=(os.getpid(),))
        return runner.__enter__()

    def _submit(self, name: str, payload: bytes) -> PrefectFuture[bytes]:
        if self._runner is not None:
            # cached at the first task; the flow may have changed since, and tasks belong to the flow that sends them
            self._runner._cached_context = None  # type: ignore[attr-defined]
        return super()._submit(name, payload)


def work_on(payload: bytes, home: str) -> bytes:
    """Call a function for each item of a batch, in a worker; both come, and results go, as bytes that Prefect does not look into."""
    os.chdir(home)
    function, items = _unpacked(payload)
    results = pickle.dumps([function(item) for item in items])
    give_back()
    return results


work = task("work")(work_on)


def _unpacked(data: bytes) -> Any:
    return pickle.loads(data)  # noqa: S301  this run wrote it


def batches(items: Iterable[T], workers: int) -> Iterator[list[T]]:
    """Cut items, in order, into a few batches for each worker, as even as can be; each is drawn when it is asked for."""
    counted = items if isinstance(items, Sized) else list(items)
    left = max(1, min(len(counted), BATCHES_PER_WORKER * workers, MOST_BATCHES))
    size = -(-len(counted) // left)
    batch: list[T] = []
    for item in counted:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


@contextmanager
def open_workers(runtime: RuntimeConfig) -> Iterator[Workers]:
    """Open the workers that a configuration asks for; nothing starts before there is work for it.

    Raises: ConfigError when Ray is asked for and is not there.
    """
    workers = _find(runtime)
    try:
        yield workers
    except BaseException:
        workers.close(True)
        raise
    workers.close(False)


def _find(runtime: RuntimeConfig) -> Workers:
    if runtime.runner == "threads":
        return Workers(runtime)
    if runtime.runner == "processes":
        return ProcessWorkers(runtime)
    from flows.cluster import RayWorkers

    return RayWorkers(runtime)


def _outside_the_stage(submit: Callable[[], R]) -> R:
    """Submit as the flow, not as the stage's task, whose parameters would go with every batch."""
    TaskRunContext.__var__.set(None)  # type: ignore[arg-type]
    with _reachable_api():
        return submit()


def _reachable_api() -> AbstractContextManager[Any]:
    """Let the context that workers get name the API in use, the local server's too, which settings do not know."""
    context = FlowRunContext.get()
    if context is None or PREFECT_API_URL.value():
        return nullcontext()
    return temporary_settings(updates={PREFECT_API_URL: str(context.client.api_url)})
