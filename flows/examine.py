"""Look at the texts once more for the report: which languages they are in, and which secrets released rows of high risk hold."""

from __future__ import annotations

import flows.settings  # noqa: F401  before prefect is imported

# isort: split
from dataclasses import dataclass
from functools import partial

from flows import tasks
from flows.deduplicate import Deduplicated
from flows.run import Run
from flows.score import Scored
from pipeline import store
from pipeline.store import Artifact

LANGUAGE_CODE = ("risk/languages",)
SENSITIVE_CODE = ("risk/sensitive", "risk/secrets", "risk/personal", "release/high_risk", "rows")


@dataclass(frozen=True)
class Examined:
    """Name the tables that looking at the texts made."""

    languages: Artifact
    sensitive: Artifact


def examine(run: Run, documents: Artifact, copies: Deduplicated, scored: Scored, decisions: Artifact) -> Examined:
    """Guess languages, part by part, and search the rows of high risk; called from a flow."""
    release, report = run.config.release, run.config.report
    folder = run.ledger.folder("languages", LANGUAGE_CODE, None, documents.digest)
    names = list(store.part_names(len(documents.parts)))
    with run.stage("languages", len(names)) as stage:
        guess, mapper = partial(tasks.guess_part, documents=documents), stage.watched(run.workers.mapper("guess languages"))
        pieces = [(number, f"{folder}/{name}") for number, name in enumerate(names)]
        languages = stage.gather("languages", folder, tasks.make_parts(guess, pieces, mapper))
    with run.stage("sensitive") as stage:
        tables = (documents, copies.profiles, scored.scores, decisions)
        settings = (report.sensitive_rows, report.max_sensitive_rows, report.phone_region)
        folder = run.ledger.folder("sensitive_patterns", SENSITIVE_CODE, release, settings, *(table.digest for table in tables))
        sensitive = stage.settle(*tasks.search_sensitive(*tables, folder, release, report))
    return Examined(languages, sensitive)
