"""Decide again from the tables of a finished run, under other settings of the release or by persons' orders; compute nothing anew.

The result is a run of its own, with that one as its parent: what was published or signed is never rewritten. Its name follows from the
parent, the settings and what the overrides files hold, so the same command gives the same run.
"""

from __future__ import annotations

import flows.settings  # noqa: F401  before prefect is imported

# isort: split
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from prefect.client.schemas.objects import State

from flows.audit import GATE_FAILED, RunResult, ended, finish, finished, tell
from flows.discreet import flow
from flows.origin import find_origin
from flows.orphans import settle_servers
from flows.recall import recall, tables_of
from flows.release import release
from flows.run import running
from flows.runs import read_run, read_summary


@dataclass(frozen=True)
class ApplyResult:
    """Hold the new run's result and what its report says of where it came from."""

    result: RunResult
    applied: Mapping[str, Any]

    def as_dict(self) -> dict[str, Any]:
        """Return the result as JSON values; reviewers' notes stay in the report."""
        return {**self.result.as_dict(), **{key: value for key, value in self.applied.items() if key != "rows"}}

    def text(self) -> str:
        """Return the result as lines for a terminal."""
        lines = [f"run: {self.result.run}, decided again from {self.applied['parent']}"]
        if self.applied["files"]:
            changed = ", ".join(f"{row['former_action']} -> {row['action']} {row['rows']:,}" for row in self.applied["counts"]) or "none"
            outcomes = self.applied["outcomes"]
            lines.append(f"overruled: {changed}; confirmed {outcomes['confirmed']:,}, superseded {outcomes['superseded']:,}")
            lines.append(f"removed copies that stay out with a dropped row: {outcomes['followed']:,}")
        if self.applied["num_kept_copies"]:
            lines.append(
                f"look again: {self.applied['num_kept_copies']:,} kept row(s) have the text of a dropped one, and no order names them"
            )
        return "\n".join([*lines, self.result.text()])


def run_apply(run: str, overrides: Sequence[str], settings: Sequence[str], ledger: str, *, quiet: bool = False) -> ApplyResult:
    """Decide again as a Prefect flow, unless the very same is finished already; as `find_origin` takes its arguments.

    Raises: what `find_origin` does; IntegrityError when a table of the run is missing or was changed.
    """
    settle_servers()
    _, config, origin = find_origin(run, overrides, settings, ledger)
    with running(config, "", quiet=True, origin=origin) as again:
        done = finished(again)
    if done is None:
        state = cast(State[RunResult], apply(run, list(overrides), list(settings), ledger, quiet=quiet, return_state=True))
        done = cast(RunResult, state.result(raise_on_failure=state.name != GATE_FAILED))
    return ApplyResult(done, read_summary(read_run(done.run, config.runtime.ledger))["applied"])


@flow(name="apply")
def apply(run: str, overrides: list[str], settings: list[str], ledger: str = "data/runs", quiet: bool = False) -> Any:
    """Decide again about a finished run and return a RunResult; a failed gate ends the flow in the state GateFailed."""
    parent, config, origin = find_origin(run, overrides, settings, ledger)
    with running(config, "", quiet=quiet, origin=origin, claim="run") as again:
        again.write_log("begin", run=again.run_id, parent=origin.parent, overrides=[file["digest"] for file in origin.files])
        with again.stage("tables") as stage:
            documents, copies, scored = recall(parent)
            stage.settle(documents, True)
        released = release(config, documents, copies, scored)
        report = f"{again.reports}/index.html"
        result = RunResult(again.run_id, released.verdict, report, released.filtered, documents.num_rows, released.num_rows)
        finish(again, result, tables_of(documents, copies, scored, released), released.parents, parent.membership)
        tell(config, result)
    return ended(result)
