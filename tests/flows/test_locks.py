"""Locks: exclusive while their process lives, gone with it, and told by whom they are held."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import fsspec
import psutil
import pytest

from flows import leases
from flows.holders import Holder
from flows.ledger import once
from flows.locks import claimed, locked
from pipeline import store
from pipeline.errors import BusyError, StorageError
from pipeline.places import locate

HOLDS = "import sys, time; from flows.locks import locked\nwith locked(sys.argv[1]): print('held', flush=True); time.sleep(600)"


@pytest.fixture(params=["local", "s3", "memory"])
def path(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(leases, "RENEWED", 0.2)
    monkeypatch.setattr(leases, "EXPIRES", 1.0)
    monkeypatch.setattr(leases, "LOOKED", 0.1)
    if request.param == "local":
        yield str(tmp_path / "place" / ".lock-run")
    elif request.param == "s3":
        yield f"{request.getfixturevalue('s3')}/{tmp_path.name}/.lock-run"
    else:
        yield f"memory://{tmp_path.name}/.lock-run"
        fsspec.filesystem("memory").store.clear()


@contextmanager
def held_by_a_process(path: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", HOLDS, path], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


def test_a_second_holder_is_refused_and_told_who_is_at_it(path: str) -> None:
    """Process, machine and time are named, and what to do; afterwards the lock is free and leaves nothing."""
    with locked(path) as check:
        with pytest.raises(BusyError, match=rf"got process {os.getpid()} on .*, since 20.*what to do: wait until it is done"), locked(path):
            pass
        check()
    with locked(path):
        pass
    filesystem, plain = locate(path)
    assert not filesystem.exists(plain)


def test_who_is_patient_gets_it_next(path: str) -> None:
    """A waiting thread goes on when the first lets go, and not before."""
    order: list[str] = []

    def wait() -> None:
        with locked(path, is_patient=True):
            order.append("second")

    thread = threading.Thread(target=wait)
    with locked(path):
        thread.start()
        time.sleep(0.5)
        order.append("first")
    thread.join(20)
    assert order == ["first", "second"]


@pytest.mark.parametrize("path", ["local", "s3"], indirect=True)
def test_no_lock_survives_a_kill(path: str) -> None:
    """After SIGKILL the same lock is free at once on this machine, file or object left or not."""
    with held_by_a_process(path) as process:
        with pytest.raises(BusyError, match=f"process {process.pid}"), locked(path):
            pass
        process.send_signal(signal.SIGKILL)
        process.wait()
        start = time.monotonic()
        with locked(path):
            assert time.monotonic() - start < 1.0


def _foreign() -> Holder:
    return Holder(pid=1, started=0.0, host="elsewhere", machine="another boot", token="theirs")


@pytest.mark.parametrize("path", ["s3", "memory"], indirect=True)
def test_a_lease_of_another_machine_is_taken_once_it_is_not_renewed(path: str) -> None:
    """It is watched for as long as a lease holds, whatever its clock says."""
    filesystem, plain = locate(path)
    filesystem.pipe_file(plain, _foreign().to_bytes())
    start = time.monotonic()
    with locked(path):
        assert time.monotonic() - start >= leases.EXPIRES


@pytest.mark.parametrize("path", ["s3", "memory"], indirect=True)
def test_a_lease_that_is_renewed_elsewhere_is_left_alone(path: str) -> None:
    """Its holder lives, and is named."""
    filesystem, plain = locate(path)
    over = threading.Event()

    def renew() -> None:
        holder = _foreign()
        while not over.wait(0.05):
            holder = holder.renewed()
            filesystem.pipe_file(plain, holder.to_bytes())

    thread = threading.Thread(target=renew)
    filesystem.pipe_file(plain, _foreign().to_bytes())
    thread.start()
    try:
        with pytest.raises(BusyError, match="process 1 on elsewhere"), locked(path):
            pass
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("path", ["s3", "memory"], indirect=True)
def test_a_lease_is_renewed_and_a_lost_one_is_noticed(path: str) -> None:
    """Held for longer than it expires it stays one's own; once another has it, going on is refused and theirs is left standing."""
    filesystem, plain = locate(path)
    with ExitStack() as stack:
        check = stack.enter_context(locked(path))
        time.sleep(leases.EXPIRES + 0.5)
        check()
        filesystem.pipe_file(plain, _foreign().to_bytes())
        with pytest.raises(BusyError, match="lost its lease"):
            check()
    assert Holder.from_bytes(filesystem.cat_file(plain)).token == "theirs"


def test_of_several_that_take_over_one_wins(s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight threads find the lease of a dead process; at no time do two hold it."""
    monkeypatch.setattr(leases, "LOOKED", 0.05)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    started = psutil.Process(dead.pid).create_time()
    dead.wait()
    path = f"{s3}/contended/.lock-run"
    store.write_bytes(path, Holder(pid=dead.pid, started=started).to_bytes())
    inside, most, lock = 0, 0, threading.Lock()

    def enter() -> None:
        nonlocal inside, most
        with locked(path, is_patient=True):
            with lock:
                inside, most = inside + 1, max(most, inside + 1)
            time.sleep(0.02)
            with lock:
                inside -= 1

    threads = [threading.Thread(target=enter) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert (inside, most) == (0, 1)


def test_a_claim_covers_every_place_of_a_run(tmp_path: Path) -> None:
    """Equal runs that share the reports alone exclude each other; others do not."""
    with claimed((str(tmp_path / "a"), str(tmp_path / "reports"), str(tmp_path / "a")), "run-1"):
        with pytest.raises(BusyError, match=r"reports/\.lock-run-1"), claimed((str(tmp_path / "b"), str(tmp_path / "reports")), "run-1"):
            pass
        with claimed((str(tmp_path / "a"), str(tmp_path / "reports")), "run-2"):
            pass
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_two_runs_make_a_shared_stage_once(tmp_path: Path) -> None:
    """The second waits for the first and takes what it made."""
    folder, made = str(tmp_path / "stages" / "clusters" / "key"), []

    def make(out: str) -> store.Artifact:
        made.append(out)
        time.sleep(0.5)
        return store.publish("clusters", out, [])

    found: list[bool] = []
    threads = [threading.Thread(target=lambda: found.append(once(folder, make)[1])) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (made, sorted(found)) == ([folder], [False, True, True])


def test_where_no_lock_can_be_written_nothing_is_begun(tmp_path: Path) -> None:
    """A file in the way of the folder is told as the place that cannot be written."""
    (tmp_path / "ledger").write_text("")
    with pytest.raises(StorageError, match=r"the place cannot be written; in .*ledger"), claimed([str(tmp_path / "ledger")], "run"):
        pass
