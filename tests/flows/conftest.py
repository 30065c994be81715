"""One Prefect server and one small audit for all flow tests: starting and training cost seconds."""

from __future__ import annotations

import flows.settings  # noqa: F401  before prefect is imported

# isort: split
from collections.abc import Iterator
from pathlib import Path

import pytest
from prefect.testing.utilities import prefect_test_harness

from flows.audit import RunResult, run_audit
from flows.copies import run_copies
from pipeline.config import AuditConfig
from tests.flows.small_corpus import config, rows, write
from tests.flows.whole_ledger import files_of, settings


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """Serve Prefect's API from a database of its own while the flow tests run."""
    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture(scope="session")
def audited(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[AuditConfig, RunResult]:
    """Audit the small corpus, its rows in two files."""
    folder = tmp_path_factory.mktemp("audit")
    every = rows()
    settings = config(folder, write(folder / "corpus", [every[:250], every[250:]]))
    return settings, run_audit(settings, quiet=True)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the small corpus in three files."""
    every = rows()
    return write(tmp_path_factory.mktemp("runners") / "corpus", [every[:150], every[150:250], every[250:]])


@pytest.fixture(scope="session")
def by_one_thread(prefect_server: None, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the files that a deduplication by one thread leaves, of many parts and shards."""
    one = settings(tmp_path_factory.mktemp("one"), corpus, workers=1)
    stages = {stage["stage"] for stage in run_copies(one, quiet=True).values["stages"]}
    assert not stages & {"profiles", "signatures"}, "reading made these, and they are found again"
    found = files_of(one)
    parts = [Path(name).name for name in found if "/documents/" in name and Path(name).name.startswith("part-")]
    assert len(parts) > 20
    assert len({part.split("-")[1] for part in parts}) > 2
    return found
