"""Say what a run read and wrote as one OpenLineage event, which data catalogues draw their graphs from.

The event is COMPLETE, or FAIL when a gate failed: then nothing was published and there is no output. Its run UUID is derived from the
run's name, so that every system that hears of the run twice knows it is one; the only time in it is that of the event. Gates are the
run's tests. Nothing is sent anywhere: the file is the record.

Source: OpenLineage specification 2-0-2, and its facets at the versions named below.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pyarrow as pa

from pipeline.report.wording import gate_value

NAMESPACE = "sinkaudit"
SPEC = "https://openlineage.io/spec"
EVENT = f"{SPEC}/2-0-2/OpenLineage.json#/$defs/RunEvent"
VERSIONS = {
    "ColumnLineageDatasetFacet": "1-2-0",
    "DataQualityMetricsInputDatasetFacet": "1-0-3",
    "DatasetVersionDatasetFacet": "1-0-1",
    "DocumentationJobFacet": "1-1-0",
    "ErrorMessageRunFacet": "1-0-1",
    "JobTypeJobFacet": "2-0-4",
    "OutputStatisticsOutputDatasetFacet": "1-0-2",
    "ParentRunFacet": "1-2-0",
    "ProcessingEngineRunFacet": "1-1-1",
    "SchemaDatasetFacet": "1-2-0",
    "TestRunFacet": "1-0-1",
}
STATUS = {"pass": "pass", "warn": "fail", "fail": "fail", "waived": "fail", "not_measured": "skip"}


@dataclass(frozen=True)
class LineageInputs:
    """Hold what an event is made of beyond the summary.

    inputs: paths or URLs of the corpus as the user gave them; references: of the corpora it was compared with, names where it was a run.
    output: folder of the published data. user_schema, schema: of the rows in and out; schema is None if nothing was written.
    text_column: from which decisions follow. num_bytes, num_files: of what was written. parent: the run that this one decides anew.
    """

    inputs: Sequence[str]
    references: Sequence[str]
    output: str
    user_schema: pa.Schema
    schema: pa.Schema | None
    text_column: str
    num_bytes: int
    num_files: int
    parent: str | None = None


def lineage_event(summary: Mapping[str, Any], inputs: LineageInputs) -> dict[str, Any]:
    """Return openlineage.json of a finished run as JSON values."""
    is_failed, producer = summary["gates"]["verdict"] == "fail", _producer(summary)
    corpus = [_place(path) for path in inputs.inputs]
    sources = [
        {**place, "facets": _facets(producer, **_corpus(summary, inputs)), **_counted(summary, inputs, producer)} for place in corpus
    ]
    sources += [{**_place(path), "facets": {}} for path in inputs.references]
    return {
        "eventTime": summary["timing"]["finished"],
        "eventType": "FAIL" if is_failed else "COMPLETE",
        "producer": producer,
        "schemaURL": EVENT,
        "run": {"runId": run_uuid(summary["run"]), "facets": _facets(producer, **_run(summary, inputs))},
        "job": {"namespace": NAMESPACE, "name": summary["name"], "facets": _facets(producer, **_job())},
        "inputs": sources,
        "outputs": [] if is_failed or inputs.schema is None else [_output(summary, inputs, corpus, producer)],
    }


def run_uuid(run: str) -> str:
    """Return the UUID of a run: version 5, from its name."""
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"urn:sinkaudit:run:{run}"))


def _producer(summary: Mapping[str, Any]) -> str:
    return f"urn:sinkaudit:{summary['reproduce']['environment'].get('packages', {}).get('sinkaudit', 'unknown')}"


def _facets(producer: str, **facets: tuple[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return facets, each given as its type and values, with the producer and schema that every one must name."""
    return {
        name: {"_producer": producer, "_schemaURL": f"{SPEC}/facets/{VERSIONS[kind]}/{kind}.json#/$defs/{kind}", **values}
        for name, (kind, values) in facets.items()
    }


def _place(path: str) -> dict[str, str]:
    """Name a dataset the way OpenLineage does: the store, and the path in it."""
    parts = urlsplit(path)
    if parts.scheme and parts.netloc:
        return {"namespace": f"{parts.scheme}://{parts.netloc}", "name": parts.path.strip("/") or "/"}
    return {"namespace": "file", "name": parts.path if parts.scheme == "file" else path}


def _corpus(summary: Mapping[str, Any], inputs: LineageInputs) -> dict[str, Any]:
    version = summary["reproduce"]["digests"].get("input")
    versioned = {"version": ("DatasetVersionDatasetFacet", {"datasetVersion": version})} if version else {}
    return {"schema": ("SchemaDatasetFacet", {"fields": _fields(inputs.user_schema)}), **versioned}


def _counted(summary: Mapping[str, Any], inputs: LineageInputs, producer: str) -> dict[str, Any]:
    """Count the corpus's rows if it is one dataset: of several paths only the sum is known."""
    if len(inputs.inputs) != 1:
        return {}
    scope = summary["scope"]
    nulls = scope["num_null_texts"]
    text = {} if nulls is None else {"count": scope["num_documents"] - nulls, "nullCount": nulls}
    values = {"rowCount": scope["num_documents"], "bytes": scope["num_bytes"], "columnMetrics": {inputs.text_column: text}}
    values |= {} if scope["num_files"] is None else {"fileCount": scope["num_files"]}
    return {"inputFacets": _facets(producer, dataQualityMetrics=("DataQualityMetricsInputDatasetFacet", values))}


def _run(summary: Mapping[str, Any], inputs: LineageInputs) -> dict[str, Any]:
    gates = summary["gates"]["gates"]
    version = summary["reproduce"]["environment"].get("packages", {}).get("sinkaudit", "unknown")
    facets: dict[str, Any] = {
        "processing_engine": ("ProcessingEngineRunFacet", {"name": "sinkaudit", "version": version}),
        "test": ("TestRunFacet", {"tests": [_test(gate) for gate in gates]}),
    }
    if failed := [gate["name"] for gate in gates if gate["outcome"] == "fail"]:
        message = f"{len(failed)} gate(s) failed: {', '.join(failed)}; the filtered data was held back"
        facets["errorMessage"] = ("ErrorMessageRunFacet", {"message": message, "programmingLanguage": "python"})
    if inputs.parent:
        job = {"namespace": NAMESPACE, "name": summary["name"]}
        facets["parent"] = ("ParentRunFacet", {"run": {"runId": run_uuid(inputs.parent)}, "job": job})
    return facets


def _test(gate: Mapping[str, Any]) -> dict[str, Any]:
    said = {"description": gate["meaning"]}
    if gate["value"] is not None:
        said["actual"] = gate_value(gate["value"], gate["unit"])
    if gate["limit"] is not None:
        said["expected"] = gate_value(gate["limit"], gate["unit"])
    params = {"outcome": gate["outcome"], **({"waiver": dict(gate["waiver"])} if gate["waiver"] else {})}
    severity = "error" if gate["outcome"] == "fail" else "warn"
    return {"name": gate["name"], "status": STATUS[gate["outcome"]], "severity": severity, "type": "gate", **said, "params": params}


def _job() -> dict[str, Any]:
    described = "Audits a text corpus before training: near-duplicates, memorization risk, decisions, filtered data."
    return {
        "documentation": ("DocumentationJobFacet", {"description": described}),
        "jobType": ("JobTypeJobFacet", {"processingType": "BATCH", "integration": "SINKAUDIT", "jobType": "AUDIT"}),
    }


def _output(summary: Mapping[str, Any], inputs: LineageInputs, corpus: Sequence[Mapping[str, str]], producer: str) -> dict[str, Any]:
    assert inputs.schema is not None
    kept = next(step["rows"] for step in summary["flow"]["steps"] if step["step"] == "kept")
    counted = {"rowCount": kept, "size": inputs.num_bytes, "fileCount": inputs.num_files}
    lineage = {
        "fields": {column.name: {"inputFields": _origins(column.name, summary, inputs, corpus)} for column in inputs.schema},
        "dataset": _from(corpus, inputs.text_column, "INDIRECT", "FILTER"),
    }
    facets = _facets(
        producer,
        schema=("SchemaDatasetFacet", {"fields": _fields(inputs.schema)}),
        version=("DatasetVersionDatasetFacet", {"datasetVersion": summary["run"]}),
        columnLineage=("ColumnLineageDatasetFacet", lineage),
    )
    return {
        **_place(inputs.output),
        "facets": facets,
        "outputFacets": _facets(producer, outputStatistics=("OutputStatisticsOutputDatasetFacet", counted)),
    }


def _origins(column: str, summary: Mapping[str, Any], inputs: LineageInputs, corpus: Sequence[Mapping[str, str]]) -> list[dict[str, Any]]:
    """Say where a column of the filtered data comes from: the user's own pass untouched but for trimmed text, ours follow from the text."""
    is_cut = column == inputs.text_column and summary["decisions"]["policy"]["spans"] == "trim"
    if is_cut or column not in inputs.user_schema.names:
        return _from(corpus, inputs.text_column, "DIRECT", "TRANSFORMATION")
    return _from(corpus, column, "DIRECT", "IDENTITY")


def _from(corpus: Sequence[Mapping[str, str]], column: str, kind: str, subtype: str) -> list[dict[str, Any]]:
    transformations = [{"type": kind, "subtype": subtype, "masking": False}]
    return [{**place, "field": column, "transformations": transformations} for place in corpus]


def _fields(schema: pa.Schema) -> list[dict[str, str]]:
    return [{"name": column.name, "type": str(column.type)} for column in schema]
