"""One Prefect server and one small audit for all flow tests: starting and training cost seconds."""

from __future__ import annotations

import flows.settings  # noqa: F401  before prefect is imported

# isort: split
from collections.abc import Iterator

import pytest
from prefect.testing.utilities import prefect_test_harness

from flows.audit import RunResult, run_audit
from pipeline.config import AuditConfig
from tests.flows.small_corpus import config, rows, write


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
