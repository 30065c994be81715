"""Threads, processes and any number of workers leave the same ledger, and end with the run."""

from __future__ import annotations

import os
import signal
import time
from functools import partial
from itertools import chain
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.copies import run_copies
from flows.runners import BATCHES_PER_WORKER, MOST_BATCHES, batches, open_workers
from pipeline.config import RuntimeConfig
from pipeline.errors import ConfigError, InputError
from tests.flows.whole_ledger import files_of, settings


@given(st.integers(0, 10_000), st.integers(1, 64), st.booleans())
def test_items_become_a_few_even_batches_for_each_worker(count: int, workers: int, are_counted: bool) -> None:
    """None is lost, none out of order, and however many there are, the batches are bounded; sizes differ in the last alone."""
    items = range(count)
    cut = list(batches(items if are_counted else iter(items), workers))
    assert list(chain.from_iterable(cut)) == list(items)
    assert len(cut) <= min(MOST_BATCHES, BATCHES_PER_WORKER * workers)
    assert len(cut) == count or len(cut) >= min(count, workers, MOST_BATCHES) / 2
    assert len({len(batch) for batch in cut[:-1]}) <= 1


def _fail_at(number: int, item: int) -> int:
    if item == number:
        raise InputError("the row is odd", where=f"row {item}")
    return os.getpid()


def _wait(item: int) -> int:
    time.sleep(300)
    return item


@pytest.fixture
def processes() -> RuntimeConfig:
    return RuntimeConfig(runner="processes", workers=2)


def test_processes_work_tell_faults_as_they_are_and_end_when_interrupted(prefect_server: None, processes: RuntimeConfig) -> None:
    """Calls run in other processes, an error keeps its words on the way, and an interrupt does not wait for what workers are at."""
    where: set[int] = set()
    with pytest.raises(KeyboardInterrupt):
        _work_until_interrupted(processes, where)
    assert where
    assert os.getpid() not in where
    assert not any(psutil.pid_exists(pid) for pid in where)


def _work_until_interrupted(runtime: RuntimeConfig, where: set[int]) -> None:
    with open_workers(runtime) as workers:
        where.update(workers.mapper("say where")(partial(_fail_at, -1), range(4)))
        with pytest.raises(InputError, match=r"the row is odd; in row 3"):
            list(workers.mapper("fail")(partial(_fail_at, 3), range(4)))
        former = signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.alarm(1)
        try:
            list(workers.mapper("wait")(_wait, range(2)))
        finally:
            signal.signal(signal.SIGALRM, former)


@pytest.mark.parametrize(("runner", "workers"), [("threads", 2), ("threads", 4), ("processes", 2)])
def test_whoever_works_leaves_the_same_bytes(
    by_one_thread: dict[str, str], corpus: Path, tmp_path: Path, runner: str, workers: int
) -> None:
    """Every file of the ledger and of the filtered data is that of one thread."""
    config = settings(tmp_path, corpus, runner=runner, workers=workers)
    run_copies(config, quiet=True)
    assert files_of(config) == by_one_thread


def test_ray_that_is_not_installed_is_told_how_to_get(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message has the command."""
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    with (
        pytest.raises(ConfigError, match=r"Ray is not installed; in runtime.runner ray; .*pip install 'sinkaudit\[ray\]'"),
        open_workers(RuntimeConfig(runner="ray")),
    ):
        pass
    with pytest.raises(ValueError, match="ray_address is set but runner is not ray"):
        RuntimeConfig(ray_address="auto")
