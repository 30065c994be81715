"""Serve the deployments of one configuration from this process: schedules without a work pool, for a first look or a single machine."""

from __future__ import annotations

import flows.settings  # noqa: F401  before prefect is imported

# isort: split
import asyncio
import signal
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any, cast

import click
import psutil
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import RunnerDeployment
from prefect.runner import Runner
from prefect.settings import PREFECT_API_URL, PREFECT_LOGGING_LEVEL, PREFECT_LOGGING_TO_API_ENABLED, temporary_settings

from flows.audit import audit
from flows.deployments import LIMIT, NIGHTLY, describe_deployments
from pipeline.config import AuditConfig
from pipeline.errors import ConfigError

GRACE_SECONDS = 30.0
"""How long a run that is told to end may take to say so to the server."""


class AuditRunner(Runner):
    """End the runs under way before ending: Prefect's own runner kills them, and the server would show them as running for ever."""

    async def __aenter__(self) -> AuditRunner:
        """Begin, and say so: from here on a signal ends it well."""
        await super().__aenter__()
        click.echo(f"serving from {PREFECT_API_URL.value()}; Ctrl-C ends it", err=True)
        return self

    async def serve(self) -> None:
        """Serve until one of the signals arrives."""
        serving = asyncio.current_task()
        assert serving is not None
        self._leave = partial(serving.get_loop().call_soon_threadsafe, serving.cancel)
        signal.signal(signal.SIGINT, self.handle_interrupt)
        with suppress(asyncio.CancelledError):  # how a signal ends it, after what Prefect does on its way out: pausing schedules
            await self.start()

    def handle_sigterm(self, *_: Any, **__: Any) -> None:
        """End on SIGTERM, which only this process was sent."""
        for child in psutil.Process().children():
            child.terminate()
        self.handle_interrupt()

    def handle_interrupt(self, *_: Any) -> None:
        """End on Ctrl-C, which has reached the runs, too: wait until they have told the server."""
        psutil.wait_procs(psutil.Process().children(), timeout=GRACE_SECONDS)
        self._leave()


def serve_audits(config: AuditConfig, url: str, cron: str = NIGHTLY) -> None:
    """Serve the corpus's deployments from the Prefect API at a URL, one run at a time, until interrupted; their schedules are paused then.

    Raises: ConfigError when `cron` is none.
    """
    deployments = to_deployments(config, cron)
    # whoever looks at a run on the server finds its log there, as with a worker
    told = {PREFECT_LOGGING_TO_API_ENABLED: True, PREFECT_LOGGING_LEVEL: "INFO"}
    with temporary_settings({PREFECT_API_URL: url, **told}):
        runner = AuditRunner(limit=1, pause_on_shutdown=True)
        for deployment in deployments:
            runner.add_deployment(deployment)
            click.echo(f"deployment: audit/{deployment.name}", err=True)
        asyncio.run(runner.serve())


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
