"""The audit: read, deduplicate, score, release."""

from __future__ import annotations

import flows.settings  # noqa: F401  before prefect is imported

# isort: split
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from flows.announce import announce
from flows.deduplicate import deduplicate, read
from flows.discreet import flow
from flows.guard import guard
from flows.orphans import settle_servers
from flows.recall import tables_of
from flows.release import release
from flows.run import Run, running
from flows.runs import RUN_FILE, read_run, read_summary
from flows.score import score
from flows.series import Resolved, resolve
from pipeline import store
from pipeline.config import AuditConfig
from pipeline.errors import IntegrityError
from pipeline.planning import check_limit
from pipeline.release.manifest import verify_release
from pipeline.store import Artifact


@dataclass(frozen=True)
class RunResult:
    """Say how a run ended and where its results are."""

    run: str
    verdict: str
    report: str
    filtered: str
    rows_in: int
    rows_out: int

    def as_dict(self) -> dict[str, Any]:
        """Return the result as JSON values."""
        return asdict(self)

    def text(self) -> str:
        """Return the result as lines for a terminal."""
        data = "filtered data" if self.verdict != "FAIL" else "filtered data (held in staging: a gate failed)"
        return "\n".join(
            (
                f"verdict: {self.verdict}",
                f"rows: {self.rows_in:,} in, {self.rows_out:,} out",
                f"report: {self.report}",
                f"{data}: {self.filtered}",
            )
        )


def run_audit(config: AuditConfig, *, quiet: bool = False) -> RunResult:
    """Run an audit as its Prefect flow, unless the very same one is finished already.

    Raises: whatever a stage raised; a failed gate is a result, not an exception.
    """
    # first: who was killed right after its last step left a server behind, and nothing else to do
    settle_servers()
    if (done := result_at_hand(resolve(config))) is not None:
        return done
    state = cast(State[RunResult], audit(config, quiet=quiet, return_state=True))
    return cast(RunResult, state.result(raise_on_failure=state.name != GATE_FAILED))


GATE_FAILED, NOTHING_NEW = "GateFailed", "NothingNew"


@flow(name="audit")
def audit(config: AuditConfig, quiet: bool = False) -> Any:
    """Audit a corpus and return a RunResult; a failed gate ends the flow in the state GateFailed, which still carries it."""
    resolved = resolve(config)
    if (done := result_at_hand(resolved)) is not None:
        if resolved.last is None:
            tell(resolved.config, done)
        return ended(done, is_new=resolved.last is None)
    config = resolved.config
    with running(config, resolved.input_digest, quiet=quiet, claim="run") as run:
        run.write_log("begin", run=run.run_id)
        documents = read(run)
        check_limit(config, documents.num_rows)
        copies = deduplicate(config, documents)
        guard(run, copies)
        scored = score(config, documents, copies)
        released = release(config, documents, copies, scored)
        result = RunResult(
            run.run_id, released.verdict, f"{run.reports}/index.html", released.filtered, documents.num_rows, released.num_rows
        )
        finish(run, result, tables_of(documents, copies, scored, released), released.parents, resolved.membership)
        tell(config, result)
    return ended(result)


def tell(config: AuditConfig, result: RunResult) -> None:
    """Tell Prefect, from within a flow, how a run ended."""
    announce(read_summary(read_run(result.run, config.runtime.ledger)), result.report, config.runtime.reports_url)


def ended(result: RunResult, *, is_new: bool = True) -> Any:
    """Return what a flow with this result ends as: a failed gate is a state of its own, and so is a night without new files."""
    if result.verdict == "FAIL":
        return Failed(name=GATE_FAILED, message="a gate failed; the report says which", data=result)
    return result if is_new else Completed(name=NOTHING_NEW, message=f"no new files since {result.run}", data=result)


def result_at_hand(resolved: Resolved) -> RunResult | None:
    """Return the result of this very audit if it is finished, and where there are no new files that of the last one of the series."""
    if resolved.last is not None:
        return RunResult(**read_run(resolved.last, resolved.config.runtime.ledger).result)
    with running(resolved.config, resolved.input_digest, quiet=True) as run:
        return finished(run)


def finished(run: Run) -> RunResult | None:
    """Return the result of this very run if it ended before, and all it left is still as it was."""
    try:
        raw = json.loads(store.read_bytes(f"{run.folder}/{RUN_FILE}"))
        result = RunResult(**raw["result"])
        if result.verdict != "FAIL":
            verify_release(result.filtered, "any")
        changed = [path for path, digest in raw["reports"].items() if store.file_digest(f"{run.reports}/{path}") != digest]
    except (IntegrityError, FileNotFoundError):
        return None
    return None if changed else result


def finish(run: Run, result: RunResult, tables: Mapping[str, Artifact], parents: Mapping[str, Any], membership: Mapping[str, Any]) -> None:
    """Write run.json, which makes a run count as finished: its result, tables, report's files, what it came from, of what series it is."""
    run.check_claim()
    run.write_log("end", verdict=result.verdict)
    names = ["index.html", "summary.json", "decisions.parquet", "clusters.parquet", "sink_scores.parquet"]
    names += ["overruled.parquet"] if "overruled" in tables else []
    described = {
        "result": result.as_dict(),
        "references": {reference.digest: reference.name for reference in run.references},
        "tables": {name: {"folder": table.folder, "digest": table.digest} for name, table in sorted(tables.items())},
        "parents": dict(parents),
        "membership": dict(membership),
        "reports": {name: store.file_digest(f"{run.reports}/{name}") for name in names},
    }
    store.write_bytes(f"{run.folder}/{RUN_FILE}", json.dumps(described, indent=1, sort_keys=True).encode())
