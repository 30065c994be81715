"""Two Ray nodes leave the ledger that one thread does, train by share of a GPU, and say what they lack."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.cluster import RayTrainers
from flows.copies import run_copies
from flows.runners import open_workers
from pipeline.config import ProxyConfig, RuntimeConfig
from pipeline.errors import ConfigError
from tests.flows.ray_cluster import two_nodes
from tests.flows.whole_ledger import files_of, settings

pytestmark = [
    pytest.mark.acceptance,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning", "ignore::FutureWarning"),
]
"""Ray leaves sockets open; it is no dependency of the default tests: 254 MB, and a minute of two cores for this file."""


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    with two_nodes() as address:
        yield address


def test_two_nodes_leave_the_same_bytes(by_one_thread: dict[str, str], corpus: Path, tmp_path: Path, cluster: str) -> None:
    """Every file of the ledger and of the filtered data is that of one thread."""
    import ray

    config = settings(tmp_path, corpus, runner="ray", workers=2, ray_address=cluster)
    run_copies(config, quiet=True)
    assert files_of(config) == by_one_thread
    assert not ray.is_initialized(), "the run has left the cluster"


def test_models_train_in_tasks_of_the_cluster(prefect_server: None, tmp_path: Path, cluster: str) -> None:
    """A call runs in another process and the same folder, an error comes back as it is, and a call for a GPU waits for one."""
    runtime = RuntimeConfig(runner="ray", ray_address=cluster, ledger=str(tmp_path))
    with open_workers(runtime) as workers, workers.trainers(ProxyConfig(), 2) as trainers:
        assert not workers.have_gpus()
        assert trainers.submit(os.getpid).result() != os.getpid()
        assert trainers.submit(os.getcwd).result() == str(Path.cwd())
        with pytest.raises(ZeroDivisionError):
            trainers.submit(divmod, 1, 0).result()
        waiting = RayTrainers({"num_cpus": 1.0, "num_gpus": 0.5})
        with pytest.raises(TimeoutError):
            waiting.submit(os.getpid).result(timeout=1)
        waiting.shutdown(cancel_futures=True)


def test_a_node_that_cannot_see_the_ledger_is_named(prefect_server: None, cluster: str) -> None:
    """Before any work begins, the message says which node, which folder, and which setting."""
    runtime = RuntimeConfig(runner="ray", ray_address=cluster, ledger="memory://ledger")
    with (
        pytest.raises(ConfigError, match=r"cannot see the ledger; in Ray node [0-9.]+; wanted memory://ledger, .*runtime.ledger"),
        open_workers(runtime) as workers,
    ):
        list(workers.mapper("work")(str, range(3)))


def test_a_cluster_that_is_not_there_is_told(prefect_server: None, tmp_path: Path) -> None:
    """The message names the address."""
    runtime = RuntimeConfig(runner="ray", ray_address="127.0.0.1:9", ledger=str(tmp_path))
    with (
        pytest.raises(ConfigError, match=r"there is no Ray cluster to work on; in runtime.ray_address 127.0.0.1:9"),
        open_workers(runtime) as workers,
    ):
        list(workers.mapper("work")(str, range(3)))
