"""Hold a training back: an automation that pauses a deployment as soon as a gate of an audit fails."""

from __future__ import annotations

import flows.settings  # noqa: F401  before prefect is imported

# isort: split
from datetime import timedelta
from uuid import UUID

from prefect.automations import Automation
from prefect.client.orchestration import get_client
from prefect.events.actions import PauseDeployment
from prefect.events.schemas.automations import EventTrigger, Posture
from prefect.exceptions import ObjectNotFound
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.announce import WORDS, gate_resource
from flows.server import find_server
from pipeline.errors import ConfigError


def hold_back(deployment: str, corpus: str, gate: str = "*") -> str:
    """Create, or write anew, the automation that pauses a deployment when a gate of a corpus fails; return the automation's name.

    deployment: `FLOW/NAME`. gate: its name, or `*` for any. A gate that warns, is waived or was not measured pauses nothing.

    Raises: ConfigError when no server answers or there is no such deployment.
    """
    with temporary_settings({PREFECT_API_URL: find_server()}):
        wanted = pausing(deployment, _deployment_id(deployment), corpus, gate)
        with get_client(sync_client=True) as client:
            for standing in client.read_automations_by_name(wanted.name):
                client.delete_automation(standing.id)
        wanted.create()
    return wanted.name


def pausing(deployment: str, deployment_id: UUID, corpus: str, gate: str) -> Automation:
    """Return the automation: one failed gate is enough, and each pauses again."""
    which = "any gate" if gate == "*" else f"the gate {gate}"
    return Automation(
        name=f"pause {deployment} when {which} of {corpus} fails",
        description="sinkaudit: unpause it yourself when the audit has passed, or the gate is waived",
        trigger=EventTrigger(
            expect={f"sinkaudit.gate.{WORDS['fail']}"},
            match={"prefect.resource.id": gate_resource(corpus, gate)},
            posture=Posture.Reactive,
            threshold=1,
            within=timedelta(0),
        ),
        actions=[PauseDeployment(source="selected", deployment_id=deployment_id)],
    )


def _deployment_id(name: str) -> UUID:
    try:
        with get_client(sync_client=True) as client:
            return client.read_deployment_by_name(name).id
    except ObjectNotFound:
        raise ConfigError(
            "there is no such deployment", where=name, wanted="FLOW/NAME", do="`prefect deployment ls` lists what there is"
        ) from None
