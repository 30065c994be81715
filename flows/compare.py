"""Compare the decisions of two finished runs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from flows.runs import FinishedRun, read_config, read_run
from pipeline import store
from pipeline.errors import ConfigError
from pipeline.places import locate
from pipeline.report.differences import ComparedRun, compare_runs, differences_text, wanted_documents
from pipeline.report.excerpts import Mode
from pipeline.report.render import render_differences
from pipeline.rows import read_texts
from pipeline.tables import DECISIONS, OVERRULED, PROFILES, SINK_SCORES


@dataclass(frozen=True)
class Comparison:
    """Hold what differs between two runs, as JSON values, and the runs."""

    found: Mapping[str, Any]
    before: FinishedRun
    after: FinishedRun

    def to_json(self) -> str:
        """Return the differences as JSON."""
        return json.dumps(self.found, indent=1, allow_nan=False)

    def text(self) -> str:
        """Return the differences as lines for a terminal."""
        return differences_text(self.found)

    def write_page(self, path: str, mode: Mode) -> None:
        """Write the page about the differences, with as much of the listed rows' texts as the mode allows.

        Raises: ConfigError when the path is a file of one of the reports.
        """
        for run in (self.before, self.after):
            if _plain(path).rpartition("/")[0] == _plain(run.report_folder):
                raise ConfigError("a run's report is never written into", where=path, do="choose a path outside the report's folder")
        texts: dict[tuple[str, int], str] = {}
        for end, doc_ids in wanted_documents(self.found).items() if mode != "none" else ():
            run = self.before if end == "before" else self.after
            texts |= {(end, doc_id): text for doc_id, text in read_texts(run.tables("documents")["documents"], doc_ids)}
        store.write_bytes(path, render_differences(self.found, texts, mode).encode())


def _plain(path: str) -> str:
    return str(locate(path)[1]).rstrip("/")


def compare(before: str, after: str, ledger: str) -> Comparison:
    """Compare two finished runs, named by their names or folders in the ledger.

    Raises: InputError when there is no such run.
    """
    runs = read_run(before, ledger), read_run(after, ledger)
    return Comparison(compare_runs(_compared(runs[0]), _compared(runs[1])), *runs)


def _compared(finished: FinishedRun) -> ComparedRun:
    tables = finished.tables()
    return ComparedRun(
        run=finished.run,
        verdict=str(finished.result["verdict"]),
        ids=PROFILES.check(store.read_frame(tables["profiles"])),
        decisions=DECISIONS.check(store.read_frame(tables["decisions"])),
        scores=SINK_SCORES.check(store.read_frame(tables["sink_scores"])),
        overruled=OVERRULED.check(store.read_frame(tables["overruled"])) if "overruled" in tables else OVERRULED.empty(),
        config=read_config(finished).model_dump(mode="json"),
        input_digest=str(tables["documents"].facts.get("input_digest", "")),
        parent=finished.parents.get("parent"),
        code_versions=finished.parents.get("code_versions", {}),
    )
