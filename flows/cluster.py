"""Work on a Ray cluster: Prefect's Ray task runner for the stages, Ray tasks of one CPU each, and a share of a GPU, for training.

Every node needs this code in this very version, the ledger and the input under the same names (a shared folder, or URLs of an object
store), and, if there are several machines, a Prefect server that all of them reach. What is missing is said before any work begins.
"""

from __future__ import annotations

import flows.settings  # noqa: F401  before prefect is imported

# isort: split
import logging
import os
import socket
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from prefect.settings import PREFECT_API_URL
from prefect.task_runners import TaskRunner

from flows.ledger import Ledger
from flows.processes import THREAD_LIMITS
from flows.runners import TaskWorkers
from pipeline import store
from pipeline.config import ProxyConfig, RuntimeConfig
from pipeline.errors import ConfigError, IntegrityError, StorageError
from pipeline.versions import made_by

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
LOCAL = "local"
CONNECT_SECONDS = 10.0
CODE = ("corpus", "dedup", "proxy", "risk", "rows", "text", "store")


class RayWorkers(TaskWorkers):
    """Work in Ray tasks of one CPU each; training tasks take a share of a GPU where the cluster has any and settings allow it."""

    def __init__(self, runtime: RuntimeConfig) -> None:
        _ray()
        super().__init__(runtime)

    def have_gpus(self) -> bool:
        """Say whether the cluster has a GPU, wherever it stands."""
        self._begin()
        return _num_gpus() > 0

    def trainers(self, config: ProxyConfig, workers: int, /) -> AbstractContextManager[Executor]:
        """Open what trains models; Ray decides how many at a time, by the cluster's CPUs and GPUs."""
        self._begin()
        return _ray_trainers(config, workers)

    def _open(self) -> TaskRunner[Any]:
        from prefect_ray import RayTaskRunner

        address = self.runtime.ray_address or LOCAL
        limits = {"env_vars": dict.fromkeys(THREAD_LIMITS, "1")}
        settings: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "runtime_env": limits}
        if address == LOCAL:
            settings |= {"num_cpus": self.runtime.workers, "include_dashboard": False}
        try:
            _reach(address)
            runner: TaskRunner[Any] = RayTaskRunner(address, settings).__enter__()
        except (OSError, RuntimeError, ValueError) as error:
            raise ConfigError(
                "there is no Ray cluster to work on",
                where=f"runtime.ray_address {address}",
                got=str(error)[:300],
                do="start one with `ray start --head`, or leave runtime.ray_address out for one on this machine",
            ) from error
        try:
            check_nodes(Ledger(self.runtime.ledger, self.runtime.scratch))
        except BaseException:
            runner.__exit__(None, None, None)
            raise
        return runner


def _reach(address: str) -> None:
    """Raise OSError where nobody listens: Ray itself tries for many minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdigit():
        with socket.create_connection((host, int(port)), CONNECT_SECONDS):
            pass


def check_nodes(ledger: Ledger) -> None:
    """Let every node say whether it sees the ledger and what passes through scratch files, has the same code, and reaches Prefect.

    Raises: ConfigError naming the node that does not.
    """
    ray = _ray()
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    name = f".seen-{uuid.uuid4().hex}"
    paths = {"ledger": f"{ledger.root}/{name}", "scratch": f"{ledger.passing_folder(ledger.root)}/{name}"}
    for path in paths.values():
        store.write_bytes(path, b"seen")
    try:
        nodes = [(node["NodeID"], node["NodeManagerAddress"]) for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU")]
        looks = [
            ray.remote(look_around)
            .options(num_cpus=1, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False))
            .remote(paths, str(Path.cwd()))
            for node, _ in nodes
        ]
        for (_, address), (unseen, version) in zip(nodes, ray.get(looks), strict=True):
            _refuse(address, [paths[place].removesuffix(f"/{name}") for place in unseen], unseen, version)
    finally:
        for path in paths.values():
            store.remove(path)


def look_around(paths: Mapping[str, str], home: str) -> tuple[list[str], str]:
    """Say, on a node, which of the named files cannot be seen, and which code is there."""
    if Path(home).is_dir():
        os.chdir(home)
    return [name for name, path in paths.items() if not _is_seen(path)], made_by(*CODE)


def _is_seen(path: str) -> bool:
    try:
        return store.read_bytes(path) == b"seen"
    except (IntegrityError, StorageError):
        return False


def _refuse(address: str, folders: Sequence[str], unseen: Sequence[str], version: str) -> None:
    where = f"Ray node {address}"
    if unseen:
        raise ConfigError(
            f"a node of the Ray cluster cannot see the {unseen[0]}",
            where=where,
            wanted=f"{folders[0]}, seen from {Path.cwd()}",
            do=f"set runtime.{unseen[0]} to a folder that all nodes share" + (", or to a URL" if unseen[0] == "ledger" else ""),
        )
    if version != made_by(*CODE):
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
    num_gpus = _num_gpus() if config.device != "cpu" else 0.0
    trainers = RayTrainers({"num_cpus": 1.0, "num_gpus": min(1.0, num_gpus / workers)} if num_gpus else {"num_cpus": 1.0})
    try:
        yield trainers
    except BaseException:
        trainers.shutdown(cancel_futures=True)
        raise


def _num_gpus() -> float:
    return float(_ray().cluster_resources().get("GPU", 0.0))


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
