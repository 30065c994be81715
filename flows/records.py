"""Write the records of a run that other systems read: JUnit for CI, Croissant for catalogues of data, OpenLineage for lineage."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from flows.run import Run
from pipeline import store
from pipeline.release.croissant import CROISSANT
from pipeline.release.filtering import FilteredData
from pipeline.report.junit import render_junit
from pipeline.report.lineage import LineageInputs, lineage_event
from pipeline.rows import user_schema
from pipeline.store import Artifact

JUNIT, LINEAGE = "gates.junit.xml", "openlineage.json"


def write_records(run: Run, documents: Artifact, filtered: FilteredData, summary: Mapping[str, Any], parents: Mapping[str, Any]) -> None:
    """Write the records beside the report; croissant.json is the dataset's own, byte for byte, and its paths are from there."""
    config = run.config
    inputs = LineageInputs(
        inputs=[config.input.dataset] if config.input.dataset else list(config.input.paths),
        references=[*config.reference.paths, *config.reference.runs],
        output=run.filtered,
        user_schema=user_schema(documents),
        schema=filtered.schema if filtered.shards else None,
        text_column=documents.facts["text_column"],
        num_bytes=sum(shard.num_bytes for shard in filtered.shards),
        num_files=len(filtered.shards),
        parent=parents.get("parent"),
    )
    run.write(JUNIT, render_junit(summary))
    run.write(LINEAGE, json.dumps(lineage_event(summary, inputs), indent=1, sort_keys=True, allow_nan=False) + "\n")
    run.write(CROISSANT, store.read_bytes(f"{filtered.folder}/{CROISSANT}").decode())
