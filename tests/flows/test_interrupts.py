"""A few kills, a TERM, and disks that take no more; `tests/acceptance/test_kills.py` kills at every boundary and at many moments."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flows.copies import run_copies
from flows.holders import machine
from flows.orphans import EPHEMERAL, MARK
from pipeline.config import AuditConfig, parse_config
from pipeline.errors import StorageError
from pipeline.places import Unfinished
from tests.flows.interrupting import differing, end, servers, start, terminate, wait_for


def _config(folder: Path, corpus: Path) -> AuditConfig:
    places = {name: str(folder / name) for name in ("ledger", "filtered", "reports")}
    return parse_config({"name": "cut", "input": {"paths": [str(corpus)]}, "dedup": {"num_plants": 20}, "runtime": places})


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    texts = [" ".join(f"word{number * 50 + word}" for word in range(80)) for number in range(300)]
    path = tmp_path_factory.mktemp("corpus") / "few.parquet"
    pl.DataFrame({"id": [f"own-{row}" for row in range(600)], "text": [*texts, *texts]}).write_parquet(path)
    return path


@pytest.fixture(scope="module")
def whole(prefect_server: None, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> AuditConfig:
    """Deduplicate undisturbed."""
    config = _config(tmp_path_factory.mktemp("whole"), corpus)
    run_copies(config, quiet=True)
    return config


def test_a_run_that_is_killed_and_ended_comes_to_the_same_bytes(whole: AuditConfig, corpus: Path, tmp_path: Path) -> None:
    """After a SIGKILL its own server is ended by the next run; TERM leaves with 130 and no process; at last the bytes are the same."""
    home = tmp_path / "prefect"
    cut = _config(tmp_path / "cut", corpus)
    assert end(cut, start(cut, "deduplicate", "stage:3:before", home))[0] == -9
    (orphan,) = servers(home)
    process = start(cut, "deduplicate", "never", home)
    wait_for(cut, '"stage": "clusters"', process)
    assert orphan not in servers(home)
    code, said, left = terminate(cut, process)
    assert (code, left) == (130, [])
    assert "the same command resumes" in said
    assert servers(home) == []
    assert end(cut, start(cut, "deduplicate", "write:9", home))[0] == -9
    assert end(cut, start(cut, "deduplicate", "never", home))[0] == 0
    assert differing(whole, cut) == []
    assert list((tmp_path / "cut" / "ledger").rglob("*.tmp")) == []
    # killed right after its last step: nothing is left to do, and yet its server is ended
    gone = subprocess.Popen(["true"])
    gone.wait()
    marked = {**os.environ, EPHEMERAL: "1", MARK: f"{gone.pid} 1.0 {machine()}", "PREFECT_HOME": str(home)}
    with subprocess.Popen(["cat"], env=marked, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as orphaned:
        assert orphaned.stdin is not None
        assert orphaned.stdout is not None
        # a process that has only just been started shows no environment yet; one that answers does
        orphaned.stdin.write(b"?")
        orphaned.stdin.flush()
        assert orphaned.stdout.read(1) == b"?"
        assert servers(home) == [orphaned.pid]
        assert end(cut, start(cut, "deduplicate", "never", home))[0] == 0
        assert orphaned.wait(10) == -signal.SIGTERM


@pytest.mark.parametrize(("number", "said"), [(errno.ENOSPC, "there is no space left"), (errno.EROFS, "the place cannot be written")])
@pytest.mark.parametrize("written", [5_000, 60_000, 120_000])
def test_a_disk_that_takes_no_more_is_told_and_nothing_is_half_published(
    whole: AuditConfig, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, said: str, written: int
) -> None:
    """What, where and what to do, exit code 2; readers find no data; once the disk takes more, the same command comes to the same bytes."""
    config, taken, write = _config(tmp_path, corpus), 0, Unfinished.write

    def refusing(file: Unfinished, data: Any) -> None:
        nonlocal taken
        taken += memoryview(data).nbytes
        if taken > written:
            raise OSError(number, os.strerror(number))
        write(file, data)

    with monkeypatch.context() as patch:
        patch.setattr(Unfinished, "write", refusing)
        with pytest.raises(StorageError, match=rf"{said}; in {tmp_path}/.*the same command goes on") as caught:
            run_copies(config, quiet=True)
    assert caught.value.exit_code == 2
    published = [path for path in Path(config.runtime.filtered).rglob("*") if not any(".staging" in name for name in path.parts)]
    assert [path for path in published if path.is_file()] == []
    assert not list(tmp_path.rglob("*.tmp"))
    run_copies(config, quiet=True)
    assert differing(whole, config) == []
