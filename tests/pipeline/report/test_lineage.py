"""OpenLineage's own classes take the event, facet for facet."""

from __future__ import annotations

import importlib
import uuid
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import attr
import pyarrow as pa
import pytest
from openlineage.client import event_v2
from openlineage.client.serde import Serde

from pipeline.report.lineage import VERSIONS, LineageInputs, lineage_event, run_uuid
from pipeline.report.summary import build_summary

if TYPE_CHECKING:
    from tests.pipeline.report.conftest import MakeInputs

MODULES = {
    "ColumnLineageDatasetFacet": "column_lineage_dataset",
    "DataQualityMetricsInputDatasetFacet": "data_quality_metrics_input_dataset",
    "DatasetVersionDatasetFacet": "dataset_version_dataset",
    "DocumentationJobFacet": "documentation_job",
    "ErrorMessageRunFacet": "error_message_run",
    "JobTypeJobFacet": "job_type_job",
    "OutputStatisticsOutputDatasetFacet": "output_statistics_output_dataset",
    "ParentRunFacet": "parent_run",
    "ProcessingEngineRunFacet": "processing_engine_run",
    "SchemaDatasetFacet": "schema_dataset",
    "TestRunFacet": "test_run",
}
FINISHED = "2027-01-31T12:00:00+00:00"
INPUTS = LineageInputs(
    inputs=["data/raw/*.parquet"],
    references=["s3://bench/questions.jsonl", "night-0123456789"],
    output="data/filtered/demo/demo-1",
    user_schema=pa.schema([("id", pa.string()), ("text", pa.large_string())]),
    schema=pa.schema([("id", pa.string()), ("text", pa.large_string()), ("sink_weight", pa.float64())]),
    text_column="text",
    num_bytes=1_234,
    num_files=2,
    parent="demo-0",
)


@pytest.fixture(scope="module")
def summaries(make_inputs: MakeInputs) -> dict[str, dict[str, Any]]:
    """Return the summary of a run that passed and of one that failed."""
    inputs = replace(make_inputs(300), finished=FINISHED)
    gate = {"name": "filtered_rows", "value": 0, "limit": 0, "severity": "error", "status": "fail", "meaning": "rows"}
    waiver = {"until": "2027-01-31", "approver": "R. Roe", "reason": "known", "state": "in_force", "waived": "warn"}
    waived = {"name": "source_loss", "value": 0.9, "limit": 0.8, "severity": "warn", "status": "waived", "meaning": "m", "waiver": waiver}
    return {
        "COMPLETE": build_summary(replace(inputs, gates=[waived])),
        "FAIL": build_summary(replace(inputs, gates=[gate, waived])),
    }


def _typed(facets: dict[str, Any]) -> dict[str, Any]:
    """Build each facet with the class that its schema names; an unknown or missing value is a TypeError."""
    made = {}
    for name, facet in facets.items():
        kind = facet["_schemaURL"].rpartition("/")[2]
        cls = getattr(importlib.import_module(f"openlineage.client.generated.{MODULES[kind]}"), kind)
        assert facet["_schemaURL"] == cls._get_schema()
        known = {field.name for field in attr.fields(cls)}
        values = {key: value for key, value in facet.items() if not key.startswith("_")}
        assert values.keys() <= known
        made[name] = cls(**values, producer=facet["_producer"])
    return made


@pytest.mark.parametrize("kind", ["COMPLETE", "FAIL"])
def test_the_event_is_what_openlineage_says(summaries: dict[str, dict[str, Any]], kind: str) -> None:
    """Rebuilt from its parts through the client's classes, it serialises to the same values."""
    event = lineage_event(summaries[kind], INPUTS)
    rebuilt = event_v2.RunEvent(
        eventTime=event["eventTime"],
        eventType=event_v2.RunState[event["eventType"]],
        producer=event["producer"],
        run=event_v2.Run(event["run"]["runId"], _typed(event["run"]["facets"])),
        job=event_v2.Job(event["job"]["namespace"], event["job"]["name"], _typed(event["job"]["facets"])),
        inputs=[
            event_v2.InputDataset(
                data["namespace"], data["name"], facets=_typed(data["facets"]), inputFacets=_typed(data.get("inputFacets", {}))
            )
            for data in event["inputs"]
        ],
        outputs=[
            event_v2.OutputDataset(
                data["namespace"], data["name"], facets=_typed(data["facets"]), outputFacets=_typed(data["outputFacets"])
            )
            for data in event["outputs"]
        ],
    )
    again = Serde.to_dict(rebuilt)
    assert event["schemaURL"] == again["schemaURL"]
    for part in ("eventTime", "eventType", "run", "job", "outputs"):
        assert _plain(again[part]) == _plain(event[part])
    assert [_plain(data) for data in again["inputs"]] == [_plain({"inputFacets": {}, **data}) for data in event["inputs"]]


def _plain(value: Any) -> Any:
    """Drop what only one of two writers says: private keys of classes and empty defaults."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items() if key not in ("_deleted", "_producer") and item not in ({}, [], None)}
    return [_plain(item) for item in value] if isinstance(value, list) else value


def test_every_facet_version_is_the_clients() -> None:
    """The versions we name are those of the installed client."""
    for kind, version in VERSIONS.items():
        cls = getattr(importlib.import_module(f"openlineage.client.generated.{MODULES[kind]}"), kind)
        assert f"/{version}/{kind}.json" in cls._get_schema()


def test_a_failed_run_has_no_output_and_names_its_gates(summaries: dict[str, dict[str, Any]]) -> None:
    """Nothing was published; what failed stands in the error message, and a waived gate does not."""
    event = lineage_event(summaries["FAIL"], INPUTS)
    assert (event["eventType"], event["outputs"]) == ("FAIL", [])
    message = event["run"]["facets"]["errorMessage"]["message"]
    assert "filtered_rows" in message
    assert "source_loss" not in message
    assert "errorMessage" not in lineage_event(summaries["COMPLETE"], INPUTS)["run"]["facets"]


def test_gates_are_tests_with_their_waivers(summaries: dict[str, dict[str, Any]]) -> None:
    """A waived gate found something and blocks nothing."""
    (test,) = lineage_event(summaries["COMPLETE"], INPUTS)["run"]["facets"]["test"]["tests"]
    assert (test["name"], test["status"], test["severity"]) == ("source_loss", "fail", "warn")
    assert test["params"]["waiver"]["approver"] == "R. Roe"


def test_columns_come_from_the_corpus(summaries: dict[str, dict[str, Any]]) -> None:
    """The user's pass untouched, ours follow from the text, and the whole was filtered by it."""
    event = lineage_event(summaries["COMPLETE"], INPUTS)
    (output,) = event["outputs"]
    fields = output["facets"]["columnLineage"]["fields"]
    kinds = {
        name: (field["inputFields"][0]["field"], field["inputFields"][0]["transformations"][0]["subtype"]) for name, field in fields.items()
    }
    assert kinds == {"id": ("id", "IDENTITY"), "text": ("text", "IDENTITY"), "sink_weight": ("text", "TRANSFORMATION")}
    assert output["outputFacets"]["outputStatistics"]["rowCount"] == summaries["COMPLETE"]["flow"]["steps"][-1]["rows"]
    places = [(data["namespace"], data["name"]) for data in event["inputs"]]
    assert places == [("file", "data/raw/*.parquet"), ("s3://bench", "questions.jsonl"), ("file", "night-0123456789")]
    assert event["inputs"][0]["inputFacets"]["dataQualityMetrics"]["rowCount"] == 300


def test_the_runs_uuid_follows_from_its_name(summaries: dict[str, dict[str, Any]]) -> None:
    """Telling of a run twice names the same run; its parent, too."""
    event = lineage_event(summaries["COMPLETE"], INPUTS)
    assert event == lineage_event(summaries["COMPLETE"], INPUTS)
    assert uuid.UUID(event["run"]["runId"]).version == 5
    assert event["run"]["facets"]["parent"]["run"]["runId"] == run_uuid("demo-0") != event["run"]["runId"] == run_uuid(event_run(summaries))


def event_run(summaries: dict[str, dict[str, Any]]) -> str:
    """Return the name of the run."""
    return str(summaries["COMPLETE"]["run"])
