"""Find the Prefect server that schedules live on: a real one, because an ephemeral one ends with the command that started it."""

from __future__ import annotations

import flows.settings  # noqa: F401  before prefect is imported

# isort: split
import httpx
from prefect.settings import PREFECT_API_URL

from pipeline.errors import ConfigError

LOCAL = "http://127.0.0.1:4200/api"
TIMEOUT_SECONDS = 10.0


def find_server() -> str:
    """Return the address of the Prefect API that is configured, else of the local one, if it answers.

    Raises: ConfigError saying how to start one.
    """
    url = PREFECT_API_URL.value() or LOCAL
    try:
        httpx.get(f"{url}/health", timeout=TIMEOUT_SECONDS).raise_for_status()
    except httpx.HTTPError as error:
        raise ConfigError(
            "no Prefect server answers, and schedules need one that stays",
            where=url,
            got=type(error).__name__,
            do="start one in another terminal with `prefect server start`, or set PREFECT_API_URL to the one you have",
        ) from None
    return str(url)
