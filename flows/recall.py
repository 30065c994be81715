"""Which tables of a run are kept by name in run.json, and how a later flow takes them up again."""

from __future__ import annotations

from collections.abc import Mapping

from flows.deduplicate import Deduplicated
from flows.release import Released
from flows.runs import FinishedRun, intact_tables
from flows.score import Scored
from pipeline.store import Artifact

SCORED = {
    "tokenizer": "tokenizer",
    "samples": "samples",
    "splits": "proxy_splits",
    "document_signals": "document_signals",
    "scores": "sink_scores",
}
"""Where a field of Scored is kept; what is in none of the other places is one of its runs."""


def tables_of(documents: Artifact, copies: Deduplicated, scored: Scored, released: Released) -> dict[str, Artifact]:
    """Return all tables of a run by the name under which run.json keeps them."""
    return {
        "documents": documents,
        "decisions": released.decisions,
        **({"overruled": released.overruled} if released.overruled is not None else {}),
        **{name: getattr(copies, name) for name in Deduplicated.__dataclass_fields__},
        **{name: getattr(scored, field) for field, name in SCORED.items()},
        **scored.runs,
    }


def recall(finished: FinishedRun) -> tuple[Artifact, Deduplicated, Scored]:
    """Return what a finished run decided on, every byte of it as it was.

    Raises: IntegrityError naming a table that is missing or was changed.
    """
    known = {*Deduplicated.__dataclass_fields__, *SCORED.values(), "documents"}
    tables = intact_tables(finished, *known, *(name for name in finished.folders if name not in (*known, "decisions", "overruled")))
    copies = Deduplicated(**{name: tables[name] for name in Deduplicated.__dataclass_fields__})
    runs: Mapping[str, Artifact] = {name: table for name, table in tables.items() if name not in known}
    return tables["documents"], copies, Scored(runs=runs, **{field: tables[name] for field, name in SCORED.items()})
