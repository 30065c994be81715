"""Look at what a run left: why a document was decided on as it was, and whether a dataset is still what was released."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any, Literal, cast

import polars as pl

from flows.runs import FinishedRun, read_config, read_run
from pipeline import store
from pipeline.config import AuditConfig
from pipeline.dedup.policy import rank_members, read_members
from pipeline.release.decisions import placed_spans
from pipeline.release.explanation import Explanation, explain
from pipeline.release.lookup import find_document
from pipeline.release.manifest import verify_release
from pipeline.release.overruling import removals_in_force
from pipeline.store import Artifact
from pipeline.tables import (
    CANDIDATE_PAIRS,
    CLUSTERS,
    DECISIONS,
    DUPLICATE_PAIRS,
    OVERRULED,
    REMOVALS,
    REPEATED_SPANS,
    SINK_SCORES,
    Removals,
    RepeatedSpans,
)


def explain_document(run: str, doc: str, ledger: str) -> Explanation:
    """Explain one document of a run, named by its name or its folder in the ledger.

    Of each table only the rows of the document's cluster, and of what was proposed with it, are held in memory.

    Raises: InputError when there is no such run or document, or several documents are meant.
    """
    finished = read_run(run, ledger)
    tables, config = _read_run(finished)
    doc_id = find_document(doc, store.iter_frames(tables["profiles"], ["doc_id", "source", "source_id"]))
    (own,) = store.read_rows(tables["clusters"], pl.col("doc_id") == doc_id).rows(named=True)
    clusters = CLUSTERS.check(store.read_rows(tables["clusters"], pl.col("cluster_id") == own["cluster_id"]))
    members = clusters["doc_id"].implode()
    ends = pl.col("doc_id_a").is_in(members) | pl.col("doc_id_b").is_in(members)
    candidates = CANDIDATE_PAIRS.check(store.read_rows(tables["candidates"], ends))
    spans = _read_spans(tables, doc_id)
    named = pl.concat([clusters["doc_id"], candidates["doc_id_a"], candidates["doc_id_b"], spans["doc_id"]]).unique().implode()
    removals = REMOVALS.check(store.read_rows(tables["removals"], pl.col("doc_id").is_in(members)))
    ids = store.read_rows(tables["profiles"], pl.col("doc_id").is_in(named))
    decisions = DECISIONS.check(store.read_rows(tables["decisions"], pl.col("doc_id").is_in(named)))
    overruled = None
    if "overruled" in tables:
        overruled = OVERRULED.check(store.read_rows(tables["overruled"], pl.col("doc_id") == doc_id))
        removals = removals_in_force(removals, decisions)
    return explain(
        doc_id,
        ids=ids,
        clusters=clusters,
        removals=removals,
        duplicate_pairs=DUPLICATE_PAIRS.check(store.read_rows(tables["duplicate_pairs"], ends)),
        scores=SINK_SCORES.check(store.read_rows(tables["sink_scores"], pl.col("doc_id") == doc_id)),
        decisions=decisions,
        spans=spans,
        placed=placed_spans(ids, decisions, spans, config.release) if config.release.spans != "report" else None,
        candidate_pairs=candidates,
        order=rank_members(read_members(tables["documents"], clusters, config.dedup, ids), config.dedup) if clusters.height > 1 else None,
        references=_read_references(finished, tables, named, removals, ids),
        overruled=overruled,
    )


def verify_dataset(folder: str, require: str, today: date | None = None) -> dict[str, Any]:
    """Verify a released dataset and return what was found, with the gates that are waived; today: on which waivers must be in force.

    Raises: IntegrityError naming each file that differs, or the verdict that is not good enough.
    """
    result = verify_release(folder.rstrip("/"), cast(Literal["pass", "warn", "any"], require), today)
    waived = {gate["name"]: gate["waiver"]["until"] for gate in result.manifest.gates if gate["status"] == "waived"}
    found = {"verdict": result.manifest.verdict, "num_files": result.num_files, "num_rows": result.num_rows}
    return {"folder": folder, **found, "waived": waived}


def _read_run(finished: FinishedRun) -> tuple[dict[str, Artifact], AuditConfig]:
    """Return a finished run's tables, and its settings as its report holds them."""
    return finished.tables(), read_config(finished)


def _read_references(
    finished: FinishedRun, tables: Mapping[str, Artifact], named: pl.Expr | pl.Series, removals: Removals, ids: pl.DataFrame
) -> pl.DataFrame | None:
    """Read the reference documents that are named, or have the very text of one that is, with their corpora's names."""
    if "references" not in tables:
        return None
    is_wanted = pl.col("doc_id").is_in(named) | pl.col("doc_id").is_in(removals["kept_doc_id"].implode())
    found = store.read_rows(tables["references"], is_wanted | pl.col("content_hash").is_in(ids["content_hash"].implode()))
    names = [finished.references.get(digest, "reference") for digest in found["reference"]]
    return found.with_columns(reference=pl.Series(names, dtype=pl.String))


def _read_spans(tables: Mapping[str, Artifact], doc_id: int) -> RepeatedSpans:
    """Read the repeated spans of a document, and all that the same documents hold."""
    if "spans" not in tables:
        return REPEATED_SPANS.empty()
    own = store.read_rows(tables["spans"], pl.col("doc_id") == doc_id)
    return REPEATED_SPANS.check(store.read_rows(tables["spans"], pl.col("holders").is_in(own["holders"].implode())))
