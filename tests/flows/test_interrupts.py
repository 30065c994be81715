"""A few kills and a TERM; `tests/acceptance/test_kills.py` does the same at every boundary and at many moments."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from flows.copies import run_copies
from pipeline.config import AuditConfig, parse_config
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


@pytest.mark.usefixtures("prefect_server")
def test_a_run_that_is_killed_and_ended_comes_to_the_same_bytes(corpus: Path, tmp_path: Path) -> None:
    """After a SIGKILL its own server is ended by the next run; TERM leaves with 130 and no process; at last the bytes are the same."""
    home = tmp_path / "prefect"
    whole, cut = _config(tmp_path / "whole", corpus), _config(tmp_path / "cut", corpus)
    run_copies(whole, quiet=True)
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
