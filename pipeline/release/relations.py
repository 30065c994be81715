"""Which other documents one document is tied to, and how: kept copy, copies beside it, copies it stands for, chain, failed proposals.

A pair is recorded once for all documents that have the very same texts, so a document's ties are those of its text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from pipeline.release.decisions import is_transitive_only
from pipeline.tables import CandidatePairs, Decisions, DuplicatePairs, Removals

MAX_NEIGHBOURS = 5
EVIDENCE = ("jaccard", "containment_of_this", "containment_of_other", "shared_bands", "estimated_jaccard")


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
    shared_bands: int | None = None  # None: the bands did not propose the pair; it was compared when copies were chosen
    estimated_jaccard: float | None = None  # from the signatures
    rank: int | None = None  # place in the keep policy's order of the cluster, from 1
    parted_by: str | None = None  # first rule of the keep policy by which the two differ
    reference: str | None = None  # name of the reference corpus it is in


@dataclass(frozen=True)
class Proposed:
    """Name another document that shared bands proposed and exact comparison found below the threshold."""

    doc_id: int
    source: str
    source_id: str
    action: str
    shared_bands: int
    estimated_jaccard: float
    reference: str | None = None


@dataclass(frozen=True)
class Relations:
    """Hold a document's ties, nearest first; at most MAX_NEIGHBOURS of a kind, the chain whole."""

    rank: int | None
    kept_copy: Related | None
    neighbours: tuple[Related, ...]  # verified pairs of its text
    copies: tuple[Related, ...]  # kept documents that are verified copies of it, in policy order
    num_copies: int
    stands_for: tuple[Related, ...]  # documents removed in its favour
    chain: tuple[Related, ...]  # of one that only a chain ties: verified pairs to the nearest kept document, each seen from the one before
    rejected: tuple[Proposed, ...]


def relate(
    doc_id: int,
    ids: pl.DataFrame,
    removals: Removals,
    duplicate_pairs: DuplicatePairs,
    decisions: Decisions,
    candidate_pairs: CandidatePairs | None = None,
    order: pl.DataFrame | None = None,
    references: pl.DataFrame | None = None,
) -> Relations:
    """Return the ties of one document; the tables may be cut down to its cluster and to what was proposed with it.

    ids: `doc_id, source, source_id, content_hash`. order: `doc_id, rank`, then one column for each rule of the keep policy with the place
    by that rule alone; without it no rank is told, and without `candidate_pairs` no shared bands. references: `doc_id` (negative),
    `source, source_id, content_hash`, and `reference`, the corpus's name; one that is mentioned but not named there goes by its number.
    """
    removals = Removals(removals.join(decisions.drop_nulls("kept_doc_id"), on="doc_id", how="semi"))  # an empty row is nobody's copy
    is_chained = decisions.filter(is_transitive_only() & (pl.col("doc_id") == doc_id)).height > 0
    mentioned = [removals["kept_doc_id"], *(duplicate_pairs[end] for end in ("doc_id_a", "doc_id_b"))]
    mentioned += [candidate_pairs[end] for end in ("doc_id_a", "doc_id_b")] if candidate_pairs is not None else []
    names = _names(ids, decisions, order, _mentioned(pl.concat(mentioned), references))
    proposed, ties = _proposals(candidate_pairs), _ties(duplicate_pairs, candidate_pairs)
    own = names.row(by_predicate=pl.col("doc_id") == doc_id, named=True)
    same_text = names.filter(pl.col("content_hash") == own["content_hash"])["doc_id"].implode()
    own_ties = ties.filter(pl.col("doc_id").is_in(same_text)).drop("doc_id").rename({"other": "doc_id"})
    kept_copy = _kept_copy(doc_id, removals, same_text, proposed, names)
    copies = _copies(doc_id, own, kept_copy, own_ties, names)
    by_rank = copies.join(names.select("doc_id", "rank"), on="doc_id").sort("rank", -pl.col("jaccard"), "doc_id", nulls_last=True)
    favoured = _favoured(doc_id, removals)
    verified = own_ties["doc_id"].implode()
    failed = proposed.filter(pl.col("doc_id").is_in(same_text) & pl.col("other").is_in(verified).not_())
    return Relations(
        rank=own["rank"],
        kept_copy=next(iter(_related(kept_copy, names, own)), None),
        neighbours=_related(_nearest(own_ties), names, own),
        copies=_related(by_rank.drop("rank").head(MAX_NEIGHBOURS), names, own),
        num_copies=copies.height,
        stands_for=_related(_nearest(_with_bands(favoured, same_text, proposed, names)), names, own),
        chain=_chain(own, ties, names) if is_chained else (),
        rejected=_rejected(failed, names),
    )


def _names(ids: pl.DataFrame, decisions: Decisions, order: pl.DataFrame | None, references: pl.DataFrame) -> pl.DataFrame:
    is_ordered_out = (pl.col("reason") == "overruled") & (pl.col("action") == "drop")
    is_kept = pl.col("kept_doc_id").is_null() & (pl.col("reason") != "empty") & is_ordered_out.not_()
    names = ids.select("doc_id", "source", "source_id", "content_hash").join(
        decisions.select("doc_id", "action", is_kept=is_kept, reference=pl.lit(None, pl.String)), on="doc_id"
    )
    names = pl.concat([names, references.select(names.columns)])
    if order is None:
        return names.with_columns(rank=pl.lit(None, pl.Int64), places=pl.lit(None))
    places = order.select("doc_id", "rank", places=pl.struct(pl.exclude("doc_id", "rank")))
    return names.join(places, on="doc_id", how="left")


def _mentioned(doc_ids: pl.Series, references: pl.DataFrame | None) -> pl.DataFrame:
    """Name the reference documents among some, and those that `references` holds: their ids are negative and they always stay."""
    schema = {"doc_id": pl.Int64, **dict.fromkeys(("source", "source_id", "reference"), pl.String), "content_hash": pl.Binary}
    known = pl.DataFrame(schema=schema) if references is None else references.select(*schema)
    found = pl.concat([doc_ids.filter(doc_ids < 0), known["doc_id"]]).unique().sort().to_frame("doc_id")
    number = pl.col("doc_id").cast(pl.String)
    return found.join(known, on="doc_id", how="left").with_columns(
        pl.col("source").fill_null("reference"),
        pl.col("source_id").fill_null(number),
        pl.col("reference").fill_null("reference"),
        pl.col("content_hash").fill_null(number.cast(pl.Binary)),
        action=pl.lit("reference"),
        is_kept=pl.lit(True),
    )


def _proposals(candidate_pairs: CandidatePairs | None) -> pl.DataFrame:
    """Return the candidates seen from either end: `doc_id, other, shared_bands, estimated_jaccard`."""
    schema = {"doc_id": pl.Int64, "other": pl.Int64, "shared_bands": pl.Int32, "estimated_jaccard": pl.Float64}
    if candidate_pairs is None:
        return pl.DataFrame(schema=schema)
    there = candidate_pairs.rename({"doc_id_a": "doc_id", "doc_id_b": "other"}).select(*schema)
    back = candidate_pairs.rename({"doc_id_b": "doc_id", "doc_id_a": "other"}).select(*schema)
    return pl.concat([there, back])


def _ties(pairs: DuplicatePairs, candidate_pairs: CandidatePairs | None) -> pl.DataFrame:
    """Return the verified pairs seen from either end: `doc_id, other` and EVIDENCE."""
    a, b = pl.col("containment_a"), pl.col("containment_b")
    there = pairs.select("jaccard", doc_id="doc_id_a", other="doc_id_b", containment_of_this=a, containment_of_other=b)
    back = pairs.select("jaccard", doc_id="doc_id_b", other="doc_id_a", containment_of_this=b, containment_of_other=a)
    return (
        pl.concat([there, back])
        .join(_proposals(candidate_pairs), on=["doc_id", "other"], how="left", maintain_order="left")
        .select("doc_id", "other", *EVIDENCE)
    )


def _kept_copy(doc_id: int, removals: Removals, same_text: pl.Series, proposed: pl.DataFrame, names: pl.DataFrame) -> pl.DataFrame:
    found = removals.filter(pl.col("doc_id") == doc_id).select(
        "jaccard", doc_id="kept_doc_id", containment_of_this="containment_removed", containment_of_other="containment_kept"
    )
    return _with_bands(found, same_text, proposed, names)


def _favoured(doc_id: int, removals: Removals) -> pl.DataFrame:
    return removals.filter(pl.col("kept_doc_id") == doc_id).select(
        "doc_id", "jaccard", containment_of_this="containment_kept", containment_of_other="containment_removed"
    )


def _with_bands(found: pl.DataFrame, same_text: pl.Series, proposed: pl.DataFrame, names: pl.DataFrame) -> pl.DataFrame:
    """Add to documents what the bands found between this text and theirs, null where they did not propose it."""
    text_of = names.select("doc_id", "content_hash")
    mine = proposed.filter(pl.col("doc_id").is_in(same_text)).drop("doc_id").rename({"other": "doc_id"})
    by_text = mine.join(text_of, on="doc_id").drop("doc_id").unique("content_hash", keep="any")
    joined = found.join(text_of, on="doc_id", maintain_order="left").join(by_text, on="content_hash", how="left", maintain_order="left")
    return joined.select("doc_id", *EVIDENCE)


def _copies(doc_id: int, own: Mapping[str, Any], kept_copy: pl.DataFrame, own_ties: pl.DataFrame, names: pl.DataFrame) -> pl.DataFrame:
    """Return the kept documents directly compared with this one: the one it went for, those of its very text, and those of tied texts."""
    kept = names.filter(pl.col("is_kept") & (pl.col("doc_id") != doc_id)).select("doc_id", "content_hash")
    equal = kept.filter(pl.col("content_hash") == own["content_hash"]).select(
        "doc_id",
        *(pl.lit(1.0).alias(name) for name in EVIDENCE[:3]),
        shared_bands=pl.lit(None, pl.Int32),
        estimated_jaccard=pl.lit(None, pl.Float64),
    )
    tied = own_ties.join(names.select("doc_id", "content_hash"), on="doc_id").drop("doc_id").join(kept, on="content_hash")
    frames = [kept_copy, equal, tied.select("doc_id", *EVIDENCE)]
    return pl.concat(frames).unique("doc_id", keep="first", maintain_order=True)


def _chain(own: Mapping[str, Any], ties: pl.DataFrame, names: pl.DataFrame) -> tuple[Related, ...]:
    """Return the fewest verified steps from a text to another kept one, through the nearest; none if it is alone."""
    text_of = names.select("doc_id", "content_hash")
    steps = ties.join(text_of, on="doc_id").join(text_of.rename({"doc_id": "other", "content_hash": "other_text"}), on="other")
    kept = names.filter("is_kept").sort("rank", "doc_id", nulls_last=True).unique("content_hash", keep="first", maintain_order=True)
    kept_of = dict(kept.select("content_hash", "doc_id").rows())
    came_by: dict[bytes, dict[str, Any] | None] = {own["content_hash"]: None}
    reached = [own["content_hash"]]
    while reached:
        front = steps.filter(pl.col("content_hash").is_in(reached) & pl.col("other_text").is_in(list(came_by)).not_())
        nearest = front.sort(-pl.col("jaccard"), "other_text", "content_hash").unique("other_text", keep="first", maintain_order=True)
        came_by |= {row["other_text"]: row for row in nearest.iter_rows(named=True)}
        reached = nearest["other_text"].to_list()
        end = next((text for text in reached if text in kept_of), None)
        if end is not None:
            return _walk_back(end, came_by, kept_of, names)
    return ()


def _walk_back(
    end: bytes, came_by: Mapping[bytes, dict[str, Any] | None], kept_of: Mapping[bytes, int], names: pl.DataFrame
) -> tuple[Related, ...]:
    rows: list[dict[str, Any]] = []
    text = end
    while (step := came_by[text]) is not None:
        rows.insert(0, {"doc_id": kept_of.get(text, step["other"]), **{name: step[name] for name in EVIDENCE}})
        text = step["content_hash"]
    frame = pl.DataFrame(rows, schema_overrides={"shared_bands": pl.Int32, "estimated_jaccard": pl.Float64})
    return _related(frame, names, None)


def _rejected(failed: pl.DataFrame, names: pl.DataFrame) -> tuple[Proposed, ...]:
    others = failed.drop("doc_id").rename({"other": "doc_id"}).join(names, on="doc_id")
    nearest = others.sort(-pl.col("estimated_jaccard"), "content_hash", "doc_id").head(MAX_NEIGHBOURS)
    columns = ("doc_id", "source", "source_id", "action", "shared_bands", "estimated_jaccard", "reference")
    return tuple(Proposed(**row) for row in nearest.select(columns).iter_rows(named=True))


def _nearest(found: pl.DataFrame) -> pl.DataFrame:
    return found.sort(-pl.col("jaccard"), "doc_id").head(MAX_NEIGHBOURS)


def _related(found: pl.DataFrame, names: pl.DataFrame, own: Mapping[str, Any] | None) -> tuple[Related, ...]:
    named = found.join(names.drop("content_hash", "is_kept"), on="doc_id", maintain_order="left")
    return tuple(
        Related(**{name: row[name] for name in row if name != "places"}, parted_by=_parted_by(own, row))
        for row in named.iter_rows(named=True)
    )


def _parted_by(own: Mapping[str, Any] | None, other: Mapping[str, Any]) -> str | None:
    if own is None or own["places"] is None or other["places"] is None:
        return None
    return next((rule for rule, place in own["places"].items() if place != other["places"][rule]), None)
