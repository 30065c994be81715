"""One Prefect server for all flow tests: starting it costs seconds."""

from __future__ import annotations

import flows.settings  # noqa: F401  before prefect is imported

# isort: split
from collections.abc import Iterator

import pytest
from prefect.testing.utilities import prefect_test_harness


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """Serve Prefect's API from a database of its own while the flow tests run."""
    with prefect_test_harness(server_startup_timeout=120):
        yield
