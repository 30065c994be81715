"""Work on a Ray cluster: Prefect's Ray task runner for the stages, Ray tasks of one CPU each, and a share of a GPU, for training.

Every node needs this code in this very version, the ledger and the input under the same names (a shared folder, or URLs of an object
store), and, if there are several machines, a Prefect server that all of them reach. What is missing is said before any work begins.
"""

from __future__ import annotations

import flows.settings  # noqa: F401  before prefect is imported

# isort: split
import logging
import os
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from prefect.settings import PREFECT_API_URL
from prefect.task_runners import TaskRunner

from flows.processes import THREAD_LIMITS
from flows.runners import TaskWorkers
from pipeline import store
from pipeline.config import ProxyConfig, RuntimeConfig
from pipeline.errors import ConfigError, IntegrityError, StorageError

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
LOCAL = "local"
CODE = ("corpus", "dedup", "proxy", "risk", "rows", "text", "store")


class RayWorkers(TaskWorkers):
    """Work in Ray tasks of one CPU each; training tasks take a share of a GPU where the cluster has any and settings allow it."""

    def __init__(self, runtime: RuntimeConfig) -> None:
        _ray()
        super().__init__(runtime)

    def trainers(self, config: ProxyConfig, workers: int, /) -> AbstractContextManager[Executor]:
        """Open what trains models; Ray decides how many at a time, by the cluster's CPUs and GPUs."""
        if self._runner is None:
            self._runner = self._open()
        return _ray_trainers(config, workers)

    def _open(self) -> TaskRunner[Any]:
        from prefect_ray import RayTaskRunner

        address = self.runtime.ray_address or LOCAL
        limits = {"env_vars": dict.fromkeys(THREAD_LIMITS, "1")}
        settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "runtime_env": limits}
        if address == LOCAL:
            settings |= {"num_cpus": self.runtime.workers, "include_dashboard": False}
        try:
            runner: TaskRunner[Any] = RayTaskRunner(address, settings).__enter__()
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ConfigError(
                "there is no Ray cluster to work on",
                where=f"runtime.ray_address {address}",
                got=str(error)[:300],
                do="start one with `ray start --head`, or leave runtime.ray_address out for one on this machine",
            ) from error
        try:
            check_nodes(self.runtime.ledger)
        except BaseException:
            runner.__exit__(None, None, None)
            raise
        return runner


def check_nodes(ledger: str) -> None:
    """Let every node say whether it sees the ledger, has the same code, and reaches Prefect.

    Raises: ConfigError naming the node that does not.
    """
    ray = _ray()
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    path = f"{ledger}/.seen-{uuid.uuid4().hex}"
    store.write_bytes(path, b"seen")
    try:
        nodes = [(node["NodeID"], node["NodeManagerAddress"]) for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
        looks = [
            ray.remote(look_around)
            .options(num_cpus=1, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False))
            .remote(path, str(Path.cwd()))
            for node, _ in nodes
        ]
        for (_, address), (sees_ledger, version) in zip(nodes, ray.get(looks), strict=True):
            _refuse(address, ledger, sees_ledger, version)
    finally:
        store.remove(path)


def look_around(path: str, home: str) -> tuple[bool, str]:
    """Say, on a node, whether a file of the ledger can be seen and which code is there."""
    if not Path(home).is_dir():
        return False, store.code_version(*CODE)
    os.chdir(home)
    try:
        store.read_bytes(path)
    except (IntegrityError, StorageError):
        return False, store.code_version(*CODE)
    return True, store.code_version(*CODE)


def _refuse(address: str, ledger: str, sees_ledger: bool, version: str) -> None:
    where = f"Ray node {address}"
    if not sees_ledger:
        raise ConfigError(
            "a node of the Ray cluster cannot see the ledger",
            where=where,
            wanted=f"{ledger}, seen from {Path.cwd()}",
            do="set runtime.ledger to a folder that all nodes share, or to a URL such as s3://bucket/ledger",
        )
    if version != store.code_version(*CODE):
        raise ConfigError("a node of the Ray cluster has other code", where=where, do="install the same version of sinkaudit on every node")
    is_far = address not in ("127.0.0.1", _own_address())
    if is_far and not PREFECT_API_URL.value():
        raise ConfigError(
            "nodes of the Ray cluster cannot reach the Prefect server of this machine",
            where=where,
            do="run `prefect server start --host 0.0.0.0` and set PREFECT_API_URL to its address, as for a deployment",
        )


def _own_address() -> str:
    return str(_ray().util.get_node_ip_address())


@contextmanager
def _ray_trainers(config: ProxyConfig, workers: int) -> Iterator[Executor]:
    num_gpus = _ray().cluster_resources().get("GPU", 0.0) if config.device != "cpu" else 0.0
    trainers = RayTrainers({"num_cpus": 1, "num_gpus": min(1.0, num_gpus / workers)} if num_gpus else {"num_cpus": 1})
    try:
        yield trainers
    except BaseException:
        trainers.shutdown(cancel_futures=True)
        raise


class RayTrainers(Executor):
    """Call functions in Ray tasks that hold some resources each."""

    def __init__(self, resources: dict[str, float]) -> None:
        self.resources = resources
        self._refs: list[Any] = []

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **_: Any) -> Future[Any]:
        """Send one call to the cluster."""
        self._refs.append(_ray().remote(call_from).options(**self.resources).remote(str(Path.cwd()), function, *arguments))
        future: Future[Any] = self._refs[-1].future()
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: ARG002  as executors have it
        """End, if asked for, what has not ended."""
        for ref in self._refs if cancel_futures else ():
            _ray().cancel(ref, force=True)


def call_from(home: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function in the folder that relative names start from."""
    os.chdir(home)
    return function(*arguments)


def _ray() -> Any:
    """Return the module, whose types are half there."""
    try:
        import prefect_ray  # noqa: F401
        import ray
    except ImportError as error:
        raise ConfigError(
            "Ray is not installed", where="runtime.runner ray", got=str(error), do="pip install 'sinkaudit[ray]', on every node"
        ) from error
    return ray
