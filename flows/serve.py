"""Serve the deployments of one configuration from this process: schedules without a work pool, for a first look or a single machine."""

from __future__ import annotations

import flows.settings  # noqa: F401  before prefect is imported

# isort: split
from collections.abc import Sequence
from typing import Any, cast

from prefect import serve
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import RunnerDeployment
from prefect.settings import PREFECT_API_URL, PREFECT_LOGGING_LEVEL, PREFECT_LOGGING_TO_API_ENABLED, temporary_settings

from flows.audit import audit
from flows.deployments import LIMIT, NIGHTLY, describe_deployments
from flows.server import find_server
from pipeline.config import AuditConfig
from pipeline.errors import ConfigError


def serve_audits(config: AuditConfig, cron: str = NIGHTLY) -> None:
    """Serve the corpus's deployments, one run at a time, until interrupted; their schedules are paused then.

    Raises: ConfigError when no server answers or `cron` is none.
    """
    deployments = to_deployments(config, cron)
    # whoever looks at a run on the server finds its log there, as with a worker
    told = {PREFECT_LOGGING_TO_API_ENABLED: True, PREFECT_LOGGING_LEVEL: "INFO"}
    with temporary_settings({PREFECT_API_URL: find_server(), **told}):
        serve(*deployments, limit=1, print_starting_message=True)


def to_deployments(config: AuditConfig, cron: str) -> Sequence[RunnerDeployment]:
    """Return the corpus's deployments as Prefect serves them.

    Raises: ConfigError when `cron` is none.
    """
    limit = ConcurrencyLimitConfig(limit=LIMIT["limit"], collision_strategy=ConcurrencyLimitStrategy(LIMIT["collision_strategy"]))
    made = []
    for entry in describe_deployments(config, cron):
        when: dict[str, Any] = {"cron": entry["schedules"][0]["cron"]} if entry["schedules"] else {}
        try:
            options = {**when, "parameters": entry["parameters"], "description": entry["description"], "concurrency_limit": limit}
            made.append(cast(RunnerDeployment, audit.to_deployment(entry["name"], **options)))
        except ValueError as error:
            raise ConfigError("the schedule is not one", where="--cron", wanted="five fields, such as '0 3 * * *'", got=cron) from error
    return made
