"""One decision with one reason for every document: the ledger's last word, derived from the tables alone.

Rules, in order; the first that holds decides:

1. no text                                -> drop, `empty`
2. a verified, directly compared kept copy -> drop, `exact_duplicate` or `near_duplicate`, naming that copy; a copy in a reference corpus
   has an id below zero, and the evidence tells which corpus (`reference`, its digest) and the copy's own source and id there
3. (not under policy `report`) the predictor abstains -> review, `outside_support`: an abstention is a question, not a verdict
4. the score is surely (`sink_bound`) at or above sink_threshold -> what the policy says, `sink_risk`; a score above it whose interval
   reaches below leaves the row as it is, its evidence reads `"rule":"keep_undecided"`, and the report lists it for a person
5. (under the span policy `mask` or `trim`) it holds repeated spans that act, see `pipeline.release.spans` -> mask, `repeated_span`
6. otherwise keep: `representative` of its cluster, `copy_cap` for a further copy inside the allowance, else `unique`; a member that
   only a chain holds in its cluster is `representative`, of itself, and its evidence reads `"link":"transitive_only"`

A sink weighs on a whole document and a span on part of it, so a sink's reason comes first; but spans act in every released row. A row
that is weighed down or under review and holds such spans is masked or trimmed as well: weight and mask travel together, and its
evidence tells the spans (`span_count, span_bytes, span_share` of its bytes, `span_max_documents`, `span_policy`).

Two restraints on the policy `drop`. It is limited to the highest `max_drop_share` of the documents that deduplication kept, and what
it may not drop is down-weighted. And it never takes a document that stands for removed copies: their reason would name a text that is
gone, and their score was earned by copies that no longer exist.

After all rules come the orders of persons, see `pipeline.release.overruling`, and only then spans are placed: in what is released.
"""

from __future__ import annotations

import math

import polars as pl

from pipeline.config import ReleaseConfig
from pipeline.errors import TableError
from pipeline.release.links import TOTAL_ORDER, with_links
from pipeline.release.overruling import FOLLOWS, overrule
from pipeline.release.spans import PLACED, place_spans, with_spans
from pipeline.tables import (
    DECISIONS,
    REFERENCE_DOCUMENTS,
    Clusters,
    Decisions,
    DuplicatePairs,
    ReferenceDocuments,
    Removals,
    RepeatedSpans,
    SinkScores,
)

ID_COLUMNS = {
    "doc_id": pl.Int64,
    "source": pl.String,
    "content_hash": pl.Binary,
    "row_hash": pl.Binary,
    "num_bytes": pl.Int64,  # of the text, UTF-8
    "is_empty": pl.Boolean,
}
SCORE_COLUMNS = ("sink_score", "sink_score_low", "sink_score_high", "is_supported")


def decide(
    ids: pl.DataFrame,
    clusters: Clusters,
    removals: Removals,
    scores: SinkScores,
    config: ReleaseConfig,
    duplicate_pairs: DuplicatePairs | None = None,
    spans: RepeatedSpans | None = None,
    references: ReferenceDocuments | None = None,
    ordered: pl.DataFrame | None = None,
) -> Decisions:
    """Give every document its action, weight, reason and evidence.

    ids: one row a document with `doc_id, source, content_hash, row_hash, num_bytes, is_empty` (further columns are ignored); `clusters`
    and `scores` hold exactly the same documents. `duplicate_pairs` tells a further copy inside the allowance from a member that hangs on
    a chain only; without it such a member's link reads `unverified`. `spans` are needed unless the span policy is `report`, and
    `references` if a removal names one of them. ordered: what persons ordered, as `overruling.in_force` returns it.

    Evidence is one JSON object, keys sorted, numbers rounded to 6 digits, never corpus text.

    Raises: TableError when the tables do not cover the same documents, a score is not a number, a removal names a copy that is not kept, or
    spans are missing or lie outside a text.
    """
    _refuse_missing_spans(spans, config)
    known = REFERENCE_DOCUMENTS.empty() if references is None else references
    rows = _joined(ids, clusters, removals, scores)
    rows = with_links(rows, duplicate_pairs)
    rows = _with_rules(rows, config).with_columns(action=_action())
    if ordered is not None:
        rows = overrule(rows, ordered, duplicate_pairs)
    rows = with_spans(rows, None if config.spans == "report" else spans, is_released(config))
    named = known.select("reference", kept_doc_id="doc_id", reference_source="source", reference_source_id="source_id")
    decisions = (
        rows.join(named, on="kept_doc_id", how="left")
        .select(
            "doc_id",
            action=pl.when(_is_masked()).then(pl.lit("mask")).otherwise(pl.col("action")),
            weight=_weight(config),
            reason=_reason(),
            kept_doc_id=pl.when(pl.col("rule") == "duplicate").then(pl.col("kept_doc_id")),
            evidence=_evidence(config) if ordered is None else _evidence_of_orders(config),
        )
        .sort("doc_id")
    )
    _refuse_broken_explanations(decisions, known)
    return DECISIONS.check(decisions)


def is_released(config: ReleaseConfig) -> pl.Expr:
    """Return the expression that holds for decisions whose rows are written to the filtered data."""
    out = ("drop", "review") if config.hold_review else ("drop",)
    return pl.col("action").is_in(out).not_()


def placed_spans(ids: pl.DataFrame, decisions: Decisions, spans: RepeatedSpans | None, config: ReleaseConfig) -> pl.DataFrame:
    """Return the repeated spans that the release masks or trims, columns as in `PLACED`, by doc_id and start.

    ids: `doc_id, content_hash, row_hash` of every document. The same spans acted when the decisions were made.

    Raises: TableError when there are no spans to act on although the policy does.
    """
    _refuse_missing_spans(spans, config)
    if spans is None or config.spans == "report":
        return pl.DataFrame(schema=PLACED)
    is_exempt = (pl.col("reason") == "overruled") & (pl.col("action") == "keep")  # what a person keeps is kept as it is
    return place_spans(spans, ids.join(decisions.filter(is_released(config)).select("doc_id", is_exempt=is_exempt), on="doc_id"))


def is_transitive_only() -> pl.Expr:
    """Return the expression that holds for decisions on documents that a cluster holds by a chain alone."""
    return pl.col("evidence").str.contains('"link":"transitive_only"', literal=True)  # canonical, and 20 times faster than parsing


def downweighted(score: pl.Expr, config: ReleaseConfig) -> pl.Expr:
    """Return the training weight of a sink: 1 at the threshold, falling linearly to `min_weight` at a score of 1.

    weight = 1 - (1 - min_weight) * (score - threshold) / (1 - threshold), so that a document near the threshold, where the score
    cannot tell, loses next to nothing; min_weight throughout if the threshold is 1.
    """
    span = 1.0 - config.sink_threshold
    if span == 0.0:
        return pl.lit(config.min_weight)
    return (1.0 - (1.0 - config.min_weight) * (score - config.sink_threshold) / span).clip(config.min_weight, 1.0)


def _joined(ids: pl.DataFrame, clusters: Clusters, removals: Removals, scores: SinkScores) -> pl.DataFrame:
    _refuse_bad_ids(ids)
    for name, frame in (("clusters", clusters), ("sink_scores", scores)):
        _refuse_other_documents(ids, name, frame)
    strangers = removals.join(ids, on="doc_id", how="anti").height
    if strangers:
        raise TableError(f"{strangers} removal(s) are about documents that do not exist", where="table removals")
    bad = scores.filter(pl.any_horizontal(pl.col(SCORE_COLUMNS[:3]).is_finite().not_())).height
    if bad:
        raise TableError(f"{bad} score(s) are not finite numbers", where="table sink_scores", wanted="numbers in [0, 1]")
    return (
        ids.select(*ID_COLUMNS)
        .join(clusters.select("doc_id", "cluster_id", "cluster_size"), on="doc_id", how="left")
        .join(removals.rename({"reason": "duplicate_reason"}), on="doc_id", how="left")
        .join(scores.select("doc_id", *SCORE_COLUMNS), on="doc_id", how="left")
        .with_columns(is_kept=pl.col("duplicate_reason").is_null() & pl.col("is_empty").not_())
        .sort(TOTAL_ORDER)
    )


def _refuse_missing_spans(spans: RepeatedSpans | None, config: ReleaseConfig) -> None:
    if spans is None and config.spans != "report":
        raise TableError(
            f"release.spans is {config.spans} but nobody looked for repeated spans",
            wanted="the table repeated_spans",
            do="set dedup.find_spans to true, or release.spans to report",
        )


def _refuse_bad_ids(ids: pl.DataFrame) -> None:
    got = ids.schema
    faults = [f"column {name} wanted {dtype}, got {got.get(name)}" for name, dtype in ID_COLUMNS.items() if got.get(name) != dtype]
    if not faults and ids["doc_id"].is_duplicated().any():
        faults = ["doc_id is not unique"]
    if faults:
        raise TableError("the document ids cannot be decided on: " + "; ".join(faults), where="ids")


def _refuse_other_documents(ids: pl.DataFrame, name: str, frame: pl.DataFrame) -> None:
    missing = ids.join(frame, on="doc_id", how="anti").height
    if missing or frame.height != ids.height:
        raise TableError(
            f"table {name} does not hold the audited documents",
            wanted=f"{ids.height} rows, one a document",
            got=f"{frame.height} rows, {missing} document(s) missing",
        )


def _with_rules(rows: pl.DataFrame, config: ReleaseConfig) -> pl.DataFrame:
    """Name the rule that decides each document, `keep` included."""
    if config.policy == "report":
        acted = pl.lit("keep")
    else:
        acted = (
            pl.when(pl.col("is_supported").not_())
            .then(pl.lit("outside_support"))
            .when(pl.col("sink_score_low" if config.sink_bound == "low" else "sink_score") >= config.sink_threshold)
            .then(pl.lit(config.policy))
            .when(pl.col("sink_score") >= config.sink_threshold)
            .then(pl.lit("keep_undecided"))
            .otherwise(pl.lit("keep"))
        )
    rows = rows.with_columns(
        rule=pl.when("is_empty")
        .then(pl.lit("empty"))
        .when(pl.col("duplicate_reason").is_not_null())
        .then(pl.lit("duplicate"))
        .otherwise(acted)
    )
    return _limited(rows, config) if config.policy == "drop" else rows


def _limited(rows: pl.DataFrame, config: ReleaseConfig) -> pl.DataFrame:
    """Turn sink drops that are unsure, beyond the limit, or needed by removed copies into a lower weight, saying which."""
    is_sink = pl.col("rule") == "drop"
    limit = math.floor(config.max_drop_share * int(rows["is_kept"].sum()) + 1e-9)
    is_unsure = pl.col("sink_score_low") < config.drop_threshold
    droppable = rows.filter(is_sink & is_unsure.not_() & (pl.col("stands_for") == 0))
    dropped = droppable.sort([pl.col("sink_score").neg(), *TOTAL_ORDER]).head(limit)["doc_id"].to_list()
    spared = (
        pl.when(is_unsure)
        .then(pl.lit("downweight_unsure"))
        .when(pl.col("stands_for") > 0)
        .then(pl.lit("downweight_stands_for_copies"))
        .otherwise(pl.lit("downweight_drop_limit"))
    )
    keeps_rule = is_sink.not_() | pl.col("doc_id").is_in(dropped)
    return rows.with_columns(rule=pl.when(keeps_rule).then(pl.col("rule")).otherwise(spared))


def _action() -> pl.Expr:
    rule = pl.col("rule")
    return (
        pl.when(rule.is_in(["empty", "duplicate", "drop"]))
        .then(pl.lit("drop"))
        .when(rule.is_in(["outside_support", "review"]))
        .then(pl.lit("review"))
        .when(rule.str.starts_with("downweight"))
        .then(pl.lit("downweight"))
        .otherwise(pl.lit("keep"))
    )


def _is_masked() -> pl.Expr:
    return (pl.col("action") == "keep") & (pl.col("span_count") > 0)


def _weight(config: ReleaseConfig) -> pl.Expr:
    action = pl.col("action")
    return pl.when(action == "drop").then(0.0).when(action == "downweight").then(downweighted(pl.col("sink_score"), config)).otherwise(1.0)


def _reason() -> pl.Expr:
    rule, link = pl.col("rule"), pl.col("link")
    return (
        pl.when(rule == "duplicate")
        .then(pl.col("duplicate_reason"))
        .when(rule.is_in(["overruled", FOLLOWS]))
        .then(pl.lit("overruled"))
        .when(rule.is_in(["empty", "outside_support"]))
        .then(rule)
        .when(rule.str.starts_with("keep").not_())
        .then(pl.lit("sink_risk"))
        .when(_is_masked())
        .then(pl.lit("repeated_span"))
        .when(link == "none")
        .then(pl.lit("unique"))
        .when(link == "verified_copy")
        .then(pl.lit("copy_cap"))
        .otherwise(pl.lit("representative"))
    )


def _evidence(config: ReleaseConfig, *former: str) -> pl.Expr:
    """Return what a rule went by; former: the columns that hold what was decided before a person was asked, if one was."""

    def number(name: str) -> pl.Expr:
        return pl.col(name).round(6)

    compared = ("cluster_size", number("containment_kept"), number("containment_removed"), number("jaccard"))
    in_reference = ("reference", "reference_source", "reference_source_id")
    before: tuple[str | pl.Expr, ...] = (
        *("cluster_size", *former, "is_supported", "link", "rule"),
        *map(number, ("sink_score", "sink_score_high", "sink_score_low")),
        pl.lit(config.sink_threshold).round(6).alias("sink_threshold"),
    )
    spans = ("span_bytes", "span_count", "span_max_documents", pl.lit(config.spans).alias("span_policy"), number("span_share"))
    return (
        pl.when(pl.col("rule") == "empty")
        .then(pl.lit("{}"))
        .when((pl.col("rule") == "duplicate") & pl.col("reference").is_null())
        .then(pl.struct(*compared).struct.json_encode())
        .when(pl.col("rule") == "duplicate")
        .then(pl.struct(*compared, *in_reference).struct.json_encode())
        .when(pl.col("span_count") > 0)
        .then(pl.struct(*before, *spans, "stands_for").struct.json_encode())
        .otherwise(pl.struct(*before, "stands_for").struct.json_encode())
    )


def _evidence_of_orders(config: ReleaseConfig) -> pl.Expr:
    """Return evidence where persons gave orders: of what they overruled also what was decided before, of what follows only that."""
    former = ("former_action", "former_reason")
    return (
        pl.when(pl.col("rule") == "overruled")
        .then(_evidence(config, *former))
        .when(pl.col("rule") == FOLLOWS)
        .then(pl.struct("cluster_size", *former, "rule").struct.json_encode())
        .otherwise(_evidence(config))
    )


def _refuse_broken_explanations(decisions: pl.DataFrame, references: ReferenceDocuments) -> None:
    kept = pl.concat([decisions.filter(pl.col("action") != "drop").select("doc_id"), references.select("doc_id")])
    named = decisions.drop_nulls("kept_doc_id")
    broken = named.join(kept, left_on="kept_doc_id", right_on="doc_id", how="anti")
    if broken.height:
        raise TableError(
            f"{broken.height} removal(s) name a copy that is not kept",
            where=f"table removals, doc_id {broken['doc_id'][0]} names {broken['kept_doc_id'][0]}",
            wanted="a kept document or a reference, directly compared",
        )
