"""`sinkaudit serve`: needs a server, and leaves nothing running."""

from __future__ import annotations

import flows.settings  # noqa: F401  before prefect is imported

# isort: split
import os
import signal
import subprocess
import sys

import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.settings import PREFECT_API_URL

CONFIG = "flows/configs/walkthrough.yaml"


def _serve(url: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "flows.cli", "serve", CONFIG, "--cron", "0 4 * * *"]
    return subprocess.Popen(command, env={**os.environ, "PREFECT_API_URL": url}, stderr=subprocess.PIPE, text=True)


def _read_until(said: str, served: subprocess.Popen[str]) -> str:
    """Return what the process has told by the line in which it says something."""
    told = ""
    assert served.stderr is not None
    for line in served.stderr:
        told += line
        if said in line:
            return told
    raise AssertionError(told)


@pytest.mark.usefixtures("prefect_server")
@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "Ctrl-C"])
def test_it_serves_until_it_is_told_to_end(ending: signal.Signals) -> None:
    """The nightly deployment yields scheduled runs; told to end, the process ends well, its schedules are paused, no child stays."""
    with get_client(sync_client=True) as client:
        served = _serve(str(PREFECT_API_URL.value()))
        told = _read_until("serving from", served)
        nightly = client.read_deployment_by_name("audit/walkthrough-nightly")
        assert not nightly.paused
        client.request("POST", "/deployments/{id}/schedule", path_params={"id": nightly.id}, json={"min_runs": 2})
        planned = [run for run in client.read_flow_runs() if run.deployment_id == nightly.id and run.expected_start_time is not None]
        assert {run.expected_start_time.hour for run in planned if run.expected_start_time} == {4}
        children = psutil.Process(served.pid).children(recursive=True)
        served.send_signal(ending)
        told += served.communicate(timeout=60)[1]
        assert served.returncode == 0, told
        assert not psutil.wait_procs(children, timeout=5)[1]
        assert client.read_deployment(nightly.id).paused


def test_without_a_server_it_says_how_to_start_one() -> None:
    """Exit code 2, the address that was tried, and the command."""
    served = _serve("http://127.0.0.1:9/api")
    told = served.communicate(timeout=60)[1]
    assert served.returncode == 2
    assert "no Prefect server answers" in told
    assert "http://127.0.0.1:9/api" in told
    assert "prefect server start" in told
