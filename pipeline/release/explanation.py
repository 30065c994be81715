"""Say why one row stayed or went, from the ledger's tables, without showing any text.

The explanation is direct: a removed row names the kept copy it was compared with, and a kept row names its nearest verified pairs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from pipeline.errors import InputError
from pipeline.tables import Clusters, Decisions, DuplicatePairs, Removals, SinkScores

MAX_NEIGHBOURS = 5

RULES: Mapping[str, str] = {
    "empty": "a document without text carries nothing to train on",
    "exact_duplicate": "its normalised text equals that of a kept document",
    "near_duplicate": "its shingles were compared with those of a kept document and agree at or above the threshold",
    "outside_support": "it is unlike everything the predictor was fitted on, so the predictor abstains and a person should look",
    "unique": "nothing in the corpus is a verified duplicate of it, and its sink score is below the threshold",
    "copy_cap": "it is a further copy of a kept document, inside the allowance of copies",
    "representative": "it is the copy that stays for its cluster",
    "sink_risk": "its sink score is at or above the threshold",
    "repeated_span": "it holds a span that many documents repeat",
    "overruled": "a person overruled the decision",
}
SPARED: Mapping[str, str] = {
    "downweight_unsure": "; it is not dropped because the interval of its score reaches below the drop threshold",
    "downweight_stands_for_copies": "; it is not dropped because it stands for copies that were removed",
    "downweight_drop_limit": "; it is not dropped because higher scores used up the limit on dropping",
}
TRANSITIVE_ONLY = "a chain of duplicates ties it to its cluster, but no kept document was verified as its copy, so it stays"


@dataclass(frozen=True)
class Related:
    """Name another document and how it compares; containments are shares of shingles, in [0, 1]."""

    doc_id: int
    source: str
    source_id: str
    action: str
    jaccard: float
    containment_of_this: float  # share of the explained document's shingles that the other has
    containment_of_other: float


@dataclass(frozen=True)
class Explanation:
    """Hold everything that explains one row."""

    doc_id: int
    source: str
    source_id: str
    action: str
    weight: float
    reason: str
    rule: str
    kept_copy: Related | None
    neighbours: tuple[Related, ...]  # nearest verified pairs, closest first
    cluster_size: int
    num_removed_for_it: int
    sink_score: float
    sink_score_low: float
    sink_score_high: float
    predicted_gain: float  # nats per token
    predicted_gain_low: float
    predicted_gain_high: float
    sink_class: str | None
    is_supported: bool
    signals: str  # what moved the score most, in words
    evidence: Mapping[str, Any]

    def to_json(self) -> dict[str, Any]:
        """Return the explanation as JSON values."""
        return asdict(self)

    def to_text(self) -> str:
        """Return the explanation as lines for a terminal."""
        lines = [
            f"document {self.doc_id}: {_one_line(self.source_id)} of {_one_line(self.source)}",
            f"decision: {self.action} (weight {self.weight:.4g}), reason {self.reason}",
            f"rule: {self.rule}",
        ]
        if self.kept_copy is not None:
            lines += ["kept copy:", _line_of(self.kept_copy)]
        lines.append(f"cluster: {self.cluster_size} document(s); {self.num_removed_for_it} removed in favour of this one")
        if self.neighbours:
            lines += ["nearest verified pairs:", *(_line_of(other) for other in self.neighbours)]
        lines.append(
            f"sink score: {self.sink_score:.3f} ({self.sink_score_low:.3f} to {self.sink_score_high:.3f}; 1 is bad), "
            f"predicted gain {self.predicted_gain:.3f} nats per token ({self.predicted_gain_low:.3f} to {self.predicted_gain_high:.3f})"
        )
        lines.append(f"class: {self.sink_class or 'none'}; {'inside' if self.is_supported else 'outside'} the predictor's support")
        lines.append(f"signals: {_one_line(self.signals) or 'none'}")
        return "\n".join(lines)


def explain(
    doc: int | str,
    *,
    ids: pl.DataFrame,
    clusters: Clusters,
    removals: Removals,
    duplicate_pairs: DuplicatePairs,
    scores: SinkScores,
    decisions: Decisions,
) -> Explanation:
    """Explain the decision on one document, named by doc_id or by the user's own source_id.

    ids: one row a document with `doc_id, source, source_id` and, so that copies find the pairs of their text, `content_hash`.
    A string is looked up as source_id first, then as doc_id.

    Raises: InputError when no document, or more than one, is meant.
    """
    doc_id = _found(doc, ids)
    row = ids.row(by_predicate=pl.col("doc_id") == doc_id, named=True)
    decision = decisions.row(by_predicate=pl.col("doc_id") == doc_id, named=True)
    score = scores.row(by_predicate=pl.col("doc_id") == doc_id, named=True)
    evidence = json.loads(decision["evidence"])
    names = ids.select("doc_id", "source", "source_id").join(decisions.select("doc_id", "action"), on="doc_id")
    return Explanation(
        doc_id=doc_id,
        source=row["source"],
        source_id=row["source_id"],
        action=decision["action"],
        weight=decision["weight"],
        reason=decision["reason"],
        rule=_rule(decision["reason"], evidence),
        kept_copy=_kept_copy(doc_id, removals, names) if decision["kept_doc_id"] is not None else None,
        neighbours=_neighbours(doc_id, _same_text(doc_id, ids), duplicate_pairs, names),
        cluster_size=clusters.row(by_predicate=pl.col("doc_id") == doc_id, named=True)["cluster_size"],
        num_removed_for_it=decisions.filter(pl.col("kept_doc_id") == doc_id).height,
        **{name: score[name] for name in ("sink_score", "sink_score_low", "sink_score_high")},
        **{name: score[name] for name in ("predicted_gain", "predicted_gain_low", "predicted_gain_high")},
        sink_class=score["sink_class"],
        is_supported=score["is_supported"],
        signals=score["reason"],
        evidence=evidence,
    )


def _found(doc: int | str, ids: pl.DataFrame) -> int:
    matches = ids.filter(pl.col("source_id") == doc)["doc_id"].to_list() if isinstance(doc, str) else []
    if len(matches) > 1:
        listed = ", ".join(str(match) for match in matches[:10])
        raise InputError(f"{len(matches)} documents have this source_id", where=str(doc), do=f"name one by its doc_id: {listed}")
    if matches:
        return int(matches[0])
    if isinstance(doc, int) or doc.isdecimal():
        wanted = int(doc)
        if wanted < 2**63 and ids.filter(pl.col("doc_id") == wanted).height:
            return wanted
    wanted_id = f"a source_id, or a doc_id among {ids.height} documents"
    raise InputError("no document has this id", where=str(doc), wanted=wanted_id, do="look it up in decisions.parquet")


def _rule(reason: str, evidence: Mapping[str, Any]) -> str:
    if reason == "representative" and evidence.get("link") == "transitive_only":
        return TRANSITIVE_ONLY
    rule = RULES[reason]
    if reason == "sink_risk":
        rule += f" of {evidence['sink_threshold']:g}" + SPARED.get(evidence["rule"], "")
    if evidence.get("rule") == "keep_undecided":
        rule += f"; its sink score lies above {evidence['sink_threshold']:g} but its interval reaches below, so nothing is done"
    return rule


def _kept_copy(doc_id: int, removals: Removals, names: pl.DataFrame) -> Related:
    found = removals.filter(pl.col("doc_id") == doc_id).select(
        pl.col("kept_doc_id").alias("doc_id"),
        "jaccard",
        containment_of_this="containment_removed",
        containment_of_other="containment_kept",
    )
    return _related(found, names)[0]


def _same_text(doc_id: int, ids: pl.DataFrame) -> list[int]:
    if "content_hash" not in ids.columns:
        return [doc_id]
    return ids.filter(pl.col("content_hash") == pl.col("content_hash").filter(pl.col("doc_id") == doc_id).first())["doc_id"].to_list()


def _neighbours(doc_id: int, same_text: list[int], pairs: DuplicatePairs, names: pl.DataFrame) -> tuple[Related, ...]:
    """Find the nearest verified pairs of the text: a pair is recorded once for all documents that have the very same text."""
    as_a = pairs.filter(pl.col("doc_id_a").is_in(same_text)).select(
        pl.col("doc_id_b").alias("doc_id"), "jaccard", containment_of_this="containment_a", containment_of_other="containment_b"
    )
    as_b = pairs.filter(pl.col("doc_id_b").is_in(same_text)).select(
        pl.col("doc_id_a").alias("doc_id"), "jaccard", containment_of_this="containment_b", containment_of_other="containment_a"
    )
    others = pl.concat([as_a, as_b]).filter(pl.col("doc_id") != doc_id)
    nearest = others.sort(["jaccard", "doc_id"], descending=[True, False]).head(MAX_NEIGHBOURS)
    return _related(nearest, names)


def _related(found: pl.DataFrame, names: pl.DataFrame) -> tuple[Related, ...]:
    named = found.join(names, on="doc_id", how="inner", maintain_order="left")
    return tuple(Related(**row) for row in named.iter_rows(named=True))


def _line_of(other: Related) -> str:
    return (
        f"  document {other.doc_id}: {_one_line(other.source_id)} of {_one_line(other.source)} ({other.action}); "
        f"Jaccard {other.jaccard:.3f}; {other.containment_of_this:.1%} of this in it, {other.containment_of_other:.1%} of it in this"
    )


def _one_line(text: str) -> str:
    """Return text fit for a terminal: no control characters, one line."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
