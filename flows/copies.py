"""Deduplication alone: read, find the copies and the repeated spans, write the rows that stay; nothing is trained or scored.

Stages come from the same ledger as an audit's, so `sinkaudit run` of the same configuration goes on from here.
"""

from __future__ import annotations

import flows.settings  # noqa: F401  before prefect is imported

# isort: split
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from flows.deduplicate import Deduplicated, deduplicate, read
from flows.discreet import flow
from flows.guard import guard
from flows.orphans import settle_servers
from flows.run import Run, running
from flows.series import resolve_new
from pipeline import store
from pipeline.config import AuditConfig
from pipeline.errors import IntegrityError
from pipeline.planning import check_limit
from pipeline.release.kept import keep_documents
from pipeline.release.manifest import clear_staging, reveal, staging_folder
from pipeline.store import Artifact, Part

SUMMARY = "dedup.json"


@dataclass(frozen=True)
class CopiesResult:
    """Hold what dedup.json says, and the folder it stands in."""

    reports: str
    values: Mapping[str, Any]

    def text(self) -> str:
        """Return the result as lines for a terminal."""
        rows, quality, spans = (self.values[name] for name in ("rows", "quality", "spans"))
        removed = f"{rows['exact']:,} exact and {rows['near']:,} near copies, {rows['empty']:,} empty"
        found = f"{spans['num_spans']:,} in {spans['num_span_documents']:,} documents" if spans else "not looked for"
        return "\n".join(
            (
                f"rows: {rows['in']:,} in, {rows['kept']:,} kept; left out: {removed}",
                *(f"{name} on planted copies: {_share(quality[name])}" for name in ("recall", "precision")),
                f"repeated spans: {found}",
                f"{'stage':<14}{'seconds':>9}{'MB/s':>9}{'peak MB':>9}",
                *map(_stage_line, self.values["stages"]),
                f"tables: {self.reports}",
                f"filtered data: {self.values['filtered']}",
            )
        )


def run_copies(config: AuditConfig, *, quiet: bool = False) -> CopiesResult:
    """Deduplicate as a Prefect flow, unless the very same deduplication is finished already.

    Raises: whatever a stage raised; GuardError when a guard that may abort is exceeded.
    """
    settle_servers()
    resolved = resolve_new(config)
    with running(resolved.config, resolved.input_digest, quiet=True) as run:
        if (done := finished(run)) is not None:
            return done
    return copies(config, quiet=quiet)


@flow(name="copies")
def copies(config: AuditConfig, quiet: bool = False) -> CopiesResult:
    """Deduplicate a corpus and return a CopiesResult."""
    resolved = resolve_new(config)
    config = resolved.config
    with running(config, resolved.input_digest, quiet=quiet, claim="run") as run:
        documents = read(run)
        check_limit(config, documents.num_rows)
        found = deduplicate(config, documents)
        guard(run, found)
        dropped = _dropped(found)
        with run.stage("filtering") as stage:
            staging = staging_folder(_filtered(run))
            clear_staging(staging)
            shards = keep_documents(documents, dropped, staging, config.release.rows_per_shard)
            reveal(staging, _filtered(run), shards)
            stage.count(documents.num_rows - len(dropped), sum(shard.num_bytes for shard in shards))
        with run.stage("tables") as stage:
            tables = _write_tables(run, found)
            stage.advance()
        files = {
            f"{folder}/{part.path}": part.digest for folder, parts in ((run.reports, tables), (_filtered(run), shards)) for part in parts
        }
        values = _describe(run, documents, found, len(dropped), files)
        run.write(SUMMARY, json.dumps(values, indent=1, sort_keys=True, allow_nan=False) + "\n")
        run.write_log("end")
    return CopiesResult(run.reports, values)


def finished(run: Run) -> CopiesResult | None:
    """Return the result of this very deduplication if it ended before, and all it left is still as it was."""
    try:
        values = json.loads(store.read_bytes(f"{run.reports}/{SUMMARY}"))
    except IntegrityError:
        return None
    try:
        changed = [path for path, digest in values["files"].items() if store.file_digest(path) != digest]
    except FileNotFoundError:
        return None
    return None if changed else CopiesResult(run.reports, values)


def _filtered(run: Run) -> str:
    """Return where the rows that stay go: beside the audit's own filtered data, which decides more."""
    return f"{run.filtered}-deduplicated"


def _dropped(found: Deduplicated) -> np.ndarray:
    """Return the ids of removed and of empty documents, rising."""
    empty = [part.filter("is_empty")["doc_id"] for part in store.iter_frames(found.profiles, ["doc_id", "is_empty"])]
    return pl.concat([store.read_frame(found.removals, ["doc_id"])["doc_id"], *empty]).unique().sort().to_numpy()


def _write_tables(run: Run, found: Deduplicated) -> list[Part]:
    """Write each table as one file, every row with the document's own id, a part of the documents in memory at a time."""
    written = []
    for artifact in (found.clusters, found.removals, found.spans):
        rows = store.read_frame(artifact)
        ids = rows["doc_id"].to_numpy()

        def named(rows: pl.DataFrame = rows, ids: np.ndarray = ids) -> Any:
            for names in store.iter_frames(found.profiles, ["doc_id", "source", "source_id"]):
                first, last = np.searchsorted(ids, names["doc_id"].to_numpy()[[0, -1]] + [0, 1])
                yield names.join(rows[int(first) : int(last)], on="doc_id", maintain_order="right").to_arrow()

        written.append(store.write_stream(run.reports, artifact.table, named()))
    return written


def _describe(run: Run, documents: Artifact, found: Deduplicated, num_dropped: int, files: Mapping[str, str]) -> dict[str, Any]:
    num_bytes, removed = documents.facts["bytes"], found.removals.facts
    quality = found.quality.facts
    return {
        "run": run.run_id,
        "rows": {
            "in": documents.num_rows,
            "exact": removed["num_exact"],
            "near": removed["num_near"],
            "empty": num_dropped - found.removals.num_rows,
            "kept": documents.num_rows - num_dropped,
        },
        "text_bytes": num_bytes,
        "quality": {name: quality[name] for name in ("recall", "pair_recall", "precision", "bins")},
        "sweep": quality["sweep"],
        "spans": dict(found.spans.facts),
        "facts": {
            artifact.table: dict(artifact.facts) for artifact in (found.candidates, found.duplicate_pairs, found.clusters, found.removals)
        },
        "stages": [timing.as_dict() for timing in run.meter.timings if not timing.was_cached],
        "peak_memory_bytes": max(timing.peak_memory_bytes for timing in run.meter.timings),
        "filtered": _filtered(run),
        "files": dict(sorted(files.items())),
    }


def _share(measure: Mapping[str, Any]) -> str:
    if measure["value"] is None:
        return "not measured"
    return f"{measure['value']:.3f} ({measure['low']:.3f} to {measure['high']:.3f}, {measure['n']} planted)"


def _stage_line(stage: Mapping[str, Any]) -> str:
    return f"{stage['stage']:<14}{stage['seconds']:>9.2f}{stage['megabytes_per_second'] or 0:>9.1f}{stage['peak_memory_bytes'] / 1e6:>9.0f}"
