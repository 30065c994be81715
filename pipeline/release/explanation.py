"""Say why one row stayed or went, from the ledger's tables, without showing any text.

The explanation is direct: a removed row names the kept copy it was compared with, and a kept row names its nearest verified pairs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import polars as pl

from pipeline.release.lookup import find_document
from pipeline.release.overruling import FOLLOWS
from pipeline.release.relations import Proposed, Related, Relations, relate
from pipeline.release.spans import PLACED
from pipeline.tables import CandidatePairs, Clusters, Decisions, DuplicatePairs, Overruled, Removals, RepeatedSpans, SinkScores

MAX_SPANS = 20
"""Lines about spans in the text for a terminal; JSON has them all."""

RULES: Mapping[str, str] = {
    "empty": "a document without text carries nothing to train on",
    "exact_duplicate": "its normalised text equals that of a kept document",
    "near_duplicate": "its shingles were compared with those of a kept document and agree at or above the threshold",
    "outside_support": "it is unlike everything the predictor was fitted on, so the predictor abstains and a person should look",
    "unique": "nothing in the corpus is a verified duplicate of it, and its sink score is below the threshold",
    "copy_cap": "it is a further copy of a kept document, inside the allowance of copies",
    "representative": "it is the copy that stays for its cluster",
    "sink_risk": "its sink score is at or above the threshold",
    "repeated_span": "it holds text that other documents repeat word for word and of which the first occurrence stays",
    "overruled": "a person overruled the decision",
}
IN_REFERENCE: Mapping[str, str] = {
    "exact_duplicate": "its normalised text equals that of a document in a reference corpus, which loses no row",
    "near_duplicate": "its shingles were compared with those of a document in a reference corpus, which loses no row, and agree at or "
    "above the threshold",
}
SPARED: Mapping[str, str] = {
    "downweight_unsure": "; it is not dropped because the interval of its score reaches below the drop threshold",
    "downweight_stands_for_copies": "; it is not dropped because it stands for copies that were removed",
    "downweight_drop_limit": "; it is not dropped because higher scores used up the limit on dropping",
}
TRANSITIVE_ONLY = "a chain of duplicates ties it to its cluster, but no kept document was verified as its copy, so it stays"
STAYS_OUT = "it was removed as a copy of a row that a person dropped, and no other row that stays was verified as its copy"


@dataclass(frozen=True)
class HeldSpan:
    """Place one repeated span in the document's text, in bytes; `kept_doc_id` has the occurrence that stays, None if it is this one."""

    start: int
    end: int
    num_words: int
    num_occurrences: int
    num_documents: int
    treatment: str  # listed, kept, masked or trimmed
    kept_doc_id: int | None


@dataclass(frozen=True)
class Order:
    """Say who ordered what about the document and why; followed_doc_id: the dropped row that it was a removed copy of, if that is why."""

    reviewer: str
    action: str
    note: str
    former_action: str
    former_reason: str
    is_in_force: bool
    followed_doc_id: int | None


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
    spans: tuple[HeldSpan, ...] = ()  # repeated spans in its text, by start
    rank: int | None = None  # place in the keep policy's order of its cluster, from 1
    copies: tuple[Related, ...] = ()  # kept documents that are verified copies of it, the first in policy order
    num_copies: int = 0
    stands_for: tuple[Related, ...] = ()  # the nearest documents removed in its favour
    chain: tuple[Related, ...] = ()  # verified pairs that lead to the nearest kept document, each compared with the one before
    rejected: tuple[Proposed, ...] = ()  # what shared bands proposed and exact comparison refused
    orders: tuple[Order, ...] = ()  # what persons ordered about it, the one in force last

    def to_json(self) -> dict[str, Any]:
        """Return the explanation as JSON values."""
        return asdict(self)

    def to_text(self) -> str:
        """Return the explanation as lines for a terminal."""
        lines = [
            f"document {self.doc_id}: {_one_line(self.source_id)} of {_one_line(self.source)}",
            f"decision: {self.action} (weight {self.weight:.4g}), reason {self.reason}",
            f"rule: {self.rule}",
            *map(_line_of_order, self.orders),
        ]
        if self.kept_copy is not None:
            lines += ["kept copy:", _line_of(self.kept_copy)]
            if self.kept_copy.parted_by is not None:
                lines.append(f"chosen by: {self.kept_copy.parted_by}, the first in the order of the keep policy by which the two differ")
        lines.append(f"cluster: {self.cluster_size} document(s); {self.num_removed_for_it} removed in favour of this one")
        if self.rank is not None:
            lines.append(f"place: {self.rank} of {self.cluster_size} in the order of the keep policy")
        others = tuple(other for other in self.copies if self.kept_copy is None or other.doc_id != self.kept_copy.doc_id)
        for title, related in (
            (f"{self.num_copies} kept document(s) it is a copy of:" if self.kept_copy is None else "further kept copies:", others),
            ("removed in its favour:", self.stands_for),
            ("chain of verified pairs to the nearest kept document, each compared with the one before:", self.chain),
        ):
            lines += [title, *map(_line_of, related)] if related else []
        if self.neighbours:
            lines += ["nearest verified pairs:", *(_line_of(other) for other in self.neighbours)]
        if self.rejected:
            lines += ["proposed by shared bands, refused by exact comparison:", *map(_line_of_proposal, self.rejected)]
        if self.spans:
            lines += ["repeated spans, in bytes of its text:", *map(_line_of_span, self.spans[:MAX_SPANS])]
        if len(self.spans) > MAX_SPANS:
            lines.append(f"  and {len(self.spans) - MAX_SPANS} more")
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
    spans: RepeatedSpans | None = None,
    placed: pl.DataFrame | None = None,
    candidate_pairs: CandidatePairs | None = None,
    order: pl.DataFrame | None = None,
    references: pl.DataFrame | None = None,
    overruled: Overruled | None = None,
) -> Explanation:
    """Explain the decision on one document, named by doc_id or by the user's own source_id.

    ids: one row a document with `doc_id, source, source_id, content_hash`. A string is looked up as source_id first, then as doc_id.
    candidate_pairs tell shared bands; order, the keep policy's order, tells ranks: `doc_id, rank`, and one column a rule with the place
    by that rule alone. Scores may be cut down to the document, the other tables to its cluster and what was proposed with it.
    references: documents of reference corpora, as `relate` takes them.
    overruled: what persons ordered, if they did; removals and decisions are then those in force.
    spans: repeated spans of all documents; placed: those of released rows, as `placed_spans` returns them.

    Raises: InputError when no document, or more than one, is meant.
    """
    doc_id = find_document(doc, [ids])
    row = ids.row(by_predicate=pl.col("doc_id") == doc_id, named=True)
    decision = decisions.row(by_predicate=pl.col("doc_id") == doc_id, named=True)
    score = scores.row(by_predicate=pl.col("doc_id") == doc_id, named=True)
    evidence = json.loads(decision["evidence"])
    relations = relate(doc_id, ids, removals, duplicate_pairs, decisions, candidate_pairs, order, references)
    return Explanation(
        doc_id=doc_id,
        source=row["source"],
        source_id=row["source_id"],
        action=decision["action"],
        weight=decision["weight"],
        reason=decision["reason"],
        rule=_rule(decision["reason"], evidence),
        **{name: getattr(relations, name) for name in Relations.__dataclass_fields__},
        cluster_size=clusters.row(by_predicate=pl.col("doc_id") == doc_id, named=True)["cluster_size"],
        num_removed_for_it=decisions.filter(pl.col("kept_doc_id") == doc_id).height,
        **{name: score[name] for name in ("sink_score", "sink_score_low", "sink_score_high")},
        **{name: score[name] for name in ("predicted_gain", "predicted_gain_low", "predicted_gain_high")},
        sink_class=score["sink_class"],
        is_supported=score["is_supported"],
        signals=score["reason"],
        evidence=evidence,
        spans=_spans_of(doc_id, spans, placed, evidence) if spans is not None else (),
        orders=_orders_of(doc_id, overruled) if overruled is not None else (),
    )


def _orders_of(doc_id: int, overruled: Overruled) -> tuple[Order, ...]:
    mine = overruled.filter(pl.col("doc_id") == doc_id).sort("number")
    return tuple(Order(**{name: row[name] for name in Order.__dataclass_fields__}) for row in mine.iter_rows(named=True))


def _rule(reason: str, evidence: Mapping[str, Any]) -> str:
    if "reference" in evidence:
        return IN_REFERENCE[reason]
    if reason == "representative" and evidence.get("link") == "transitive_only":
        return TRANSITIVE_ONLY
    if evidence.get("rule") == FOLLOWS:
        return STAYS_OUT
    rule = RULES[reason]
    if reason == "sink_risk":
        rule += f" of {evidence['sink_threshold']:g}" + SPARED.get(evidence["rule"], "")
    if reason != "repeated_span" and "span_count" in evidence:
        done = "left out of the loss" if evidence["span_policy"] == "mask" else "cut out"
        rule += f"; {evidence['span_count']} repeated span(s) in it are {done} as well"
    if evidence.get("rule") == "keep_undecided":
        rule += f"; its sink score lies above {evidence['sink_threshold']:g} but its interval reaches below, so nothing is done"
    return rule


def _spans_of(doc_id: int, spans: RepeatedSpans, placed: pl.DataFrame | None, evidence: Mapping[str, Any]) -> tuple[HeldSpan, ...]:
    """List the document's spans and what becomes of each; a span that no other released document holds is only listed."""
    columns = ("start", "end", "num_words", "num_occurrences", "num_documents")
    mine = spans.filter(pl.col("doc_id") == doc_id).sort("start")
    acting = (placed if placed is not None else pl.DataFrame(schema=PLACED)).filter(pl.col("is_first").not_())
    elsewhere = dict(acting.filter(pl.col("doc_id") == doc_id).select("start", "kept_doc_id").iter_rows())
    first_here = {*acting.filter(pl.col("kept_doc_id") == doc_id)["holders"]}
    treated = {"mask": "masked", "trim": "trimmed"}.get(evidence.get("span_policy", ""), "listed")
    return tuple(
        HeldSpan(
            **{column: row[column] for column in columns},
            treatment=treated if row["start"] in elsewhere else "kept" if row["holders"] in first_here else "listed",
            kept_doc_id=elsewhere.get(row["start"]),
        )
        for row in mine.iter_rows(named=True)
    )


def _line_of_order(order: Order) -> str:
    said = f"; note: {_one_line(order.note)}" if order.note else "; no note"
    on = "" if order.followed_doc_id is None else f" on document {order.followed_doc_id}, which it was removed for"
    state = "" if order.is_in_force else " (superseded by a later order)"
    verb = "confirmed" if order.action == order.former_action and not on else "ordered"
    was = "" if on else f", where the rules say {order.former_action} ({order.former_reason})"
    return f"order: {_one_line(order.reviewer)} {verb} {order.action}{on}{was}{state}{said}"


def _line_of(other: Related) -> str:
    line = (
        f"  {_name_of(other)}; "
        f"Jaccard {other.jaccard:.3f}; {other.containment_of_this:.1%} of this in it, {other.containment_of_other:.1%} of it in this"
    )
    if other.shared_bands is not None:
        line += f"; {other.shared_bands} shared band(s), estimated {other.estimated_jaccard:.3f}"
    if other.rank is not None:
        line += f"; place {other.rank}" + (f", parted by {other.parted_by}" if other.parted_by is not None else "")
    return line


def _line_of_proposal(other: Proposed) -> str:
    return f"  {_name_of(other)}; {other.shared_bands} shared band(s), estimated {other.estimated_jaccard:.3f}"


def _name_of(other: Related | Proposed) -> str:
    where = other.action if other.reference is None else f"reference {_one_line(other.reference)}"
    return f"document {other.doc_id}: {_one_line(other.source_id)} of {_one_line(other.source)} ({where})"


def _line_of_span(span: HeldSpan) -> str:
    where = "" if span.kept_doc_id is None else f"; the first occurrence stays in document {span.kept_doc_id}"
    return (
        f"  {span.start} to {span.end}, {span.num_words} words, {span.treatment}: "
        f"{span.num_occurrences} occurrence(s) in {span.num_documents} document(s){where}"
    )


def _one_line(text: str) -> str:
    """Return text fit for a terminal: no control characters, one line."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
