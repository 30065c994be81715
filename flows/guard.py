"""Stop a run right after deduplication if it takes more than the user's guards let it."""

from __future__ import annotations

from flows.announce import emit_gates
from flows.deduplicate import Deduplicated
from flows.run import Run
from pipeline import store
from pipeline.release.guards import judge_guards, stop_if_exceeded
from pipeline.release.waivers import waive
from pipeline.tables import CLUSTERS, DUPLICATE_PAIRS, REMOVALS

COLUMNS = ("doc_id", "source", "content_hash", "row_hash", "is_empty")


def guard(run: Run, copies: Deduplicated) -> None:
    """Judge the guards if one of them may abort, waivers in force considered; the others are judged with the gates of the report.

    Raises: GuardError when one that may abort is exceeded.
    """
    section = run.config.release
    if "abort" not in section.guards.model_dump().values():
        return
    with run.stage("guards") as stage:
        guards = judge_guards(
            store.read_frame(copies.profiles, COLUMNS),
            CLUSTERS.check(store.read_frame(copies.clusters)),
            REMOVALS.check(store.read_frame(copies.removals)),
            DUPLICATE_PAIRS.check(store.read_frame(copies.duplicate_pairs)),
            copies.num_compared,
            copies.num_skipped,
            section,
        )
        guards = waive(guards, section.waivers, run.today)
        stage.advance()
    run.write_log("guards", **{gate.name: {"status": gate.status, "value": gate.value, "limit": gate.limit} for gate in guards})
    if any(gate.status == "fail" for gate in guards):
        # only those that hold the run up now: the others are judged, and told, with the report
        failed = [{**gate.to_dict(), "outcome": "fail"} for gate in guards if gate.status == "fail"]
        emit_gates(run.config.name, run.run_id, failed)
    stop_if_exceeded(guards, section)
