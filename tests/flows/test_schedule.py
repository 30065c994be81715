"""The pins of prefect's own dependencies are real: flows run, and schedules yield runs."""

from __future__ import annotations

import flows.settings  # noqa: F401  before prefect is imported

# isort: split
import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import CronSchedule


@flow
def tiny(number: int) -> int:
    return number + 1


@pytest.mark.usefixtures("prefect_server")
def test_a_flow_runs() -> None:
    """A flow with a parameter runs: with fastapi 0.151 none does."""
    assert tiny(41) == 42


@pytest.mark.usefixtures("prefect_server")
def test_a_cron_deployment_yields_scheduled_runs() -> None:
    """The scheduler plans runs of a cron deployment: with sqlalchemy 2.1 it plans none and says nothing."""
    with get_client(sync_client=True) as client:
        flow_id = client.create_flow(tiny)
        nightly = DeploymentScheduleCreate(schedule=CronSchedule(cron="0 3 * * *", timezone="UTC"))
        deployment_id = client.create_deployment(flow_id, "nightly", schedules=[nightly], parameters={"number": 1})
        client.request("POST", "/deployments/{id}/schedule", path_params={"id": deployment_id}, json={"min_runs": 3})
        runs = [run for run in client.read_flow_runs() if run.deployment_id == deployment_id]
    assert len(runs) >= 3
    assert all(run.state is not None and run.state.name == "Scheduled" for run in runs)
    assert all(run.expected_start_time is not None and run.expected_start_time.hour == 3 for run in runs)
