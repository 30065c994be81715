"""What Prefect is told of an audit, and what acts on it."""

from __future__ import annotations

import flows.settings  # noqa: F401  before prefect is imported

# isort: split
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId, ArtifactFilterKey
from prefect.client.schemas.objects import State
from prefect.events import Event
from prefect.events.filters import EventFilter, EventNameFilter
from prefect.events.worker import EventsWorker

from flows.announce import gate_resource, render_risks, report_link
from flows.audit import GATE_FAILED, RunResult, audit
from flows.board import artifact_key
from flows.hold import hold_back
from flows.training import releases, train
from pipeline.config import AuditConfig, parse_config
from pipeline.errors import IntegrityError
from tests.flows.small_corpus import MARKER

PATIENCE_SECONDS = 30.0


def _until(found: Callable[[], Any], what: str) -> Any:
    """Return what is found as soon as the server has it: events and automations take a moment."""
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        if value := found():
            return value
        time.sleep(0.5)
    raise AssertionError(f"not within {PATIENCE_SECONDS} s: {what}")


def _events(corpus: str) -> dict[str, Event]:
    with get_client(sync_client=True) as client:
        wanted = EventFilter(event=EventNameFilter(prefix=["sinkaudit."]))
        raw = client.request("POST", "/events/filter", json={"filter": wanted.model_dump(mode="json"), "limit": 50}).json()["events"]
    found = [Event.model_validate(each) for each in raw]
    return {event.resource["sinkaudit.gate"]: event for event in found[::-1] if event.resource["sinkaudit.corpus"] == corpus}


@pytest.fixture(scope="module")
def failing(audited: tuple[AuditConfig, RunResult], tmp_path_factory: pytest.TempPathFactory) -> tuple[AuditConfig, State[RunResult], Any]:
    """Audit the small corpus under a gate that fails, one that warns and one that is waived, while a training is scheduled."""
    raw = audited[0].model_dump(mode="json")
    waiver = {"gate": "transitive_only", "until": "2999-01-31", "approver": "R. Roe", "reason": f"seen in {MARKER}"}
    release = {
        "max_source_loss": 0.0,
        "max_cluster_share": 0.0,
        "max_transitive_share": 0.0,
        "min_gate_rows": 1,
        "guards": {"source_loss": "fail"},
        "waivers": [waiver],
    }
    runtime = {**raw["runtime"], "reports": str(tmp_path_factory.mktemp("failing") / "reports")}
    config = parse_config({**raw, "name": "failing", "release": {**raw["release"], **release}, "runtime": runtime})
    with get_client(sync_client=True) as client:
        deployment = client.create_deployment(client.create_flow(train), "model")
        assert not client.read_deployment(deployment).paused
    hold_back("train/model", "failing")
    hold_back("train/model", "failing")
    state = cast(State[RunResult], audit(config, quiet=True, return_state=True))
    return config, state, deployment


def test_a_gate_tells_how_it_came_out(failing: tuple[AuditConfig, State[RunResult], Any]) -> None:
    """One event a gate, by corpus and gate; a gate that warns or is waived is told apart from one that holds or fails."""
    result = cast(RunResult, failing[1].result(raise_on_failure=False))
    assert (failing[1].name, result.verdict) == (GATE_FAILED, "FAIL")
    summary = json.loads((Path(result.report).parent / "summary.json").read_text())
    gates = {gate["name"]: gate for gate in summary["gates"]["gates"]}
    EventsWorker.instance().wait_until_empty()
    events = _until(lambda: found if len(found := _events("failing")) == len(gates) else None, "an event for each gate")
    told = {name: event.event.removeprefix("sinkaudit.gate.") for name, event in events.items()}
    assert (told["source_loss"], told["largest_cluster"], told["transitive_only"], told["rows_balance"]) == (
        "failed",
        "warned",
        "waived",
        "passed",
    )
    assert "not_measured" in told.values()
    assert events["source_loss"].resource["prefect.resource.id"] == gate_resource("failing", "source_loss")
    assert events["source_loss"].payload["value"] == gates["source_loss"]["value"]
    assert events["transitive_only"].payload["waived_until"] == "2999-01-31"
    assert any(related["prefect.resource.role"] == "flow-run" for related in events["source_loss"].related)


def test_a_failed_gate_pauses_the_training(failing: tuple[AuditConfig, State[RunResult], Any]) -> None:
    """The automation, of which the second command left one alone, pauses the deployment on the server; and the training itself refuses."""
    with get_client(sync_client=True) as client:
        assert len(client.read_automations_by_name("pause train/model when any gate of failing fails")) == 1
        _until(lambda: client.read_deployment(failing[2]).paused, "the deployment is paused")
    with pytest.raises(IntegrityError, match="the corpus has no release"):
        releases("failing", failing[0].runtime.filtered)


def test_the_run_leaves_its_artifacts(failing: tuple[AuditConfig, State[RunResult], Any]) -> None:
    """Summary, gates, stages and the link, on the flow run's page; none names a source, an id or what an approver said."""
    result = cast(RunResult, failing[1].result(raise_on_failure=False))
    keys = [artifact_key("failing", name) for name in ("summary", "gates", "stages", "report")]
    with get_client(sync_client=True) as client:
        # other tests' audits may bear the same name
        own = ArtifactFilterFlowRunId(any_=[failing[1].state_details.flow_run_id])
        found = client.read_artifacts(artifact_filter=ArtifactFilter(key=ArtifactFilterKey(any_=keys), flow_run_id=own))
    known = {artifact.key: artifact for artifact in found}
    assert known.keys() == set(keys)
    assert all(artifact.flow_run_id == failing[1].state_details.flow_run_id for artifact in found)
    assert str(known["failing-summary"].data).startswith("# FAIL: failing")
    assert f"[{result.run}]({Path(result.report).absolute().as_uri()})" in str(known["failing-report"].data)
    rows = {row["gate"]: row for row in json.loads(str(known["failing-gates"].data))}
    assert (rows["source_loss"]["outcome"], rows["transitive_only"]["waiver"]) == ("fail", "in force, until 2999-01-31")
    stages = {row["stage"]: row for row in json.loads(str(known["failing-stages"].data))}
    assert stages["documents (in the ledger already)"]["rows/s"] == ""
    assert stages["report"]["peak memory"].endswith(" MB")
    assert MARKER not in "".join(str(artifact.data) for artifact in found)
    assert "planted" not in "".join(str(artifact.data) for artifact in found)


def test_a_training_takes_what_belongs_together(audited: tuple[AuditConfig, RunResult], capfd: pytest.CaptureFixture[str]) -> None:
    """It verifies the newest release and hands its folder on."""
    filtered = audited[0].runtime.filtered
    assert train("small", ["echo", "trains on"], filtered, "warn") in [Path(folder).name for folder in releases("small", filtered)]
    assert f"trains on {releases('small', filtered)[0]}" in capfd.readouterr().err


def test_the_link_leads_where_readers_are() -> None:
    """To the address where reports are served, below a bucket as it is, else to the file."""
    assert report_link("reports/run-1/index.html", "https://audits.example/r/") == "https://audits.example/r/run-1/index.html"
    assert report_link("s3://bucket/reports/run-1/index.html", None) == "s3://bucket/reports/run-1/index.html"
    assert report_link("reports/run-1/index.html", None).startswith("file:///")


def test_the_summary_tells_rows_and_risk() -> None:
    """Of the committed example: verdict, what became of the rows, and the expected number that is memorized, with its interval."""
    text = render_risks(json.loads(Path("reports/example/summary.json").read_text()))
    assert text.startswith("# PASS: demo")
    assert "| Rows in | 2,810 | 100.0% |" in text
    assert "10,000,000 parameters is expected to memorize" in text


def test_keys_of_artifacts_are_what_prefect_takes() -> None:
    """Lower-case letters, digits and dashes."""
    assert artifact_key("My.Corpus_2", "stage", "proxies") == "my-corpus-2-stage-proxies"
