"""Let persons overrule decisions: exactly the rows that they name change their action, and nothing else moves in or out.

- `keep` and `review` release a row at full weight; a row that a person keeps is kept as it is: repeated spans do not act in it.
- `drop` takes a row out. If it stood for removed copies, they stay out, because whoever throws a text out does not expect it back under
  another id: a copy that was also compared with a row that stays names that one from now on, the others go by the same order
  (`overruled`, evidence `"rule":"follows_overruled"`). To change one copy for another, drop the one and keep the other.
- An order that says what was decided anyway confirms it: the decision and its reason stay.
- Copies that were not removed (the allowance of copies, a chain) are not touched; the report counts those of a dropped text.

Rules never see orders: limits on dropping and everything else are worked out as if there were none, so no override changes the fate of
a row that nobody looked at.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from pipeline.release.links import with_links
from pipeline.tables import OVERRULED, REMOVALS, Decisions, DuplicatePairs, Overruled, Removals

FOLLOWS = "follows_overruled"
MAX_DESCRIBED = 200
COMPARED = ("duplicate_reason", "kept_doc_id", "jaccard", "containment_removed", "containment_kept")


def in_force(orders: pl.DataFrame, former: Decisions) -> pl.DataFrame:
    """Return the last order about each document, with `former_action` and `former_reason`, what the rules alone decided.

    orders: as `line_up` returns them.
    """
    last = orders.sort("doc_id", "number").unique("doc_id", keep="last", maintain_order=True)
    return last.join(former.select("doc_id", former_action="action", former_reason="reason"), on="doc_id", maintain_order="left")


def overrule(rows: pl.DataFrame, ordered: pl.DataFrame, duplicate_pairs: DuplicatePairs | None) -> pl.DataFrame:
    """Return the rows that decisions are made of with the orders carried out, and links as they are then.

    rows: as `decide` has them after its rules, with `rule` and `action`. ordered: as `in_force` returns it.
    """
    wanted = ordered.select("doc_id", "former_action", "former_reason", ordered="action")
    rows = rows.join(wanted, on="doc_id", how="left")
    is_changed = pl.col("ordered") != pl.col("former_action")
    rows = _ordered(rows, is_changed)
    dropped = rows.filter((pl.col("rule") == "overruled") & (pl.col("action") == "drop"))["doc_id"].implode()
    is_left = (pl.col("rule") == "duplicate") & pl.col("kept_doc_id").is_in(dropped)
    rows = _handed_over(rows, is_left, duplicate_pairs)
    rows = _ordered(rows, is_left & pl.col("ordered").is_not_null())
    rows = _following(rows, is_left)
    is_copy_or_out = pl.col("rule").is_in(["duplicate", FOLLOWS]) | ((pl.col("rule") == "overruled") & (pl.col("action") == "drop"))
    rows = rows.with_columns(
        is_kept=is_copy_or_out.not_() & pl.col("is_empty").not_(),
        is_exempt=(pl.col("rule") == "overruled") & (pl.col("action") == "keep"),
    )
    return with_links(rows.drop("stands_for", "link", "ordered"), duplicate_pairs)


def record(former: Decisions, decisions: Decisions, removals: Removals, orders: pl.DataFrame) -> Overruled:
    """Return who ordered what about which document and why, superseded orders included, and whom an order took along.

    former: what the rules alone decide; decisions: what was decided under the orders.
    """
    before = former.select("doc_id", former_action="action", former_reason="reason")
    direct = orders.with_columns(
        is_in_force=pl.col("number") == pl.col("number").max().over("doc_id"), followed_doc_id=pl.lit(None, pl.Int64)
    )
    followers = (
        decisions.filter(follows_overruled())
        .select("doc_id")
        .join(removals.select("doc_id", followed_doc_id="kept_doc_id"), on="doc_id")
        .join(direct.filter("is_in_force").drop("followed_doc_id"), left_on="followed_doc_id", right_on="doc_id")
    )
    rows = pl.concat([direct, followers.select(direct.columns)]).join(before, on="doc_id")
    return OVERRULED.check(rows.select(*OVERRULED.columns).sort("doc_id", "number"))


def follows_overruled() -> pl.Expr:
    """Return the expression that holds for decisions on copies that stay out because a person dropped the row that stood for them."""
    return pl.col("evidence").str.contains(f'"rule":"{FOLLOWS}"', literal=True)


def removals_in_force(removals: Removals, decisions: Decisions) -> Removals:
    """Return the removals that decisions still rest on, each with the copy that it names now and how the two compare."""
    went = decisions.filter(pl.col("reason").is_in(["exact_duplicate", "near_duplicate"]))
    now = went.select("doc_id", "reason", "evidence", named="kept_doc_id")
    rows = removals.drop("reason").join(now, on="doc_id", maintain_order="left")
    has_moved = pl.col("named") != pl.col("kept_doc_id")
    told = {
        name: pl.when(has_moved).then(pl.col("evidence").str.json_path_match(f"$.{name}").cast(pl.Float64)).otherwise(pl.col(name))
        for name in COMPARED[2:]
    }
    return REMOVALS.check(rows.with_columns(**told, kept_doc_id="named").select(*REMOVALS.columns))


def describe_orders(overruled: Overruled, ids: pl.DataFrame) -> dict[str, Any]:
    """Return the first orders, in order of the rows' hashes, as a manifest holds them, and how many there are in all.

    ids: `doc_id, content_hash, row_hash`.
    """
    rows = overruled.join(ids.select("doc_id", "content_hash", "row_hash"), on="doc_id").sort(
        "content_hash", "row_hash", "doc_id", "number"
    )
    shown = rows.head(MAX_DESCRIBED).with_columns(
        pl.col("content_hash", "row_hash").bin.encode("hex"), is_followed=pl.col("followed_doc_id").is_not_null()
    )
    return {"num_rows": overruled.height, "rows": shown.drop("followed_doc_id", "number").to_dicts()}


def count_kept_copies(ids: pl.DataFrame, decisions: Decisions, overruled: Overruled) -> int:
    """Count the rows that stay although a person dropped a row of the very same text: nobody has said anything about them.

    ids: `doc_id, content_hash`.
    """
    is_dropped = pl.col("is_in_force") & (pl.col("action") == "drop") & pl.col("followed_doc_id").is_null()
    dropped = overruled.filter(is_dropped).select("doc_id").join(ids, on="doc_id").select("content_hash").unique()
    return decisions.filter(pl.col("action") != "drop").join(ids, on="doc_id").join(dropped, on="content_hash", how="semi").height


def _ordered(rows: pl.DataFrame, is_changed: pl.Expr) -> pl.DataFrame:
    """Carry out orders on the rows they name: what was a copy of something is so no longer."""
    is_changed = is_changed.fill_null(False)
    return rows.with_columns(
        rule=pl.when(is_changed).then(pl.lit("overruled")).otherwise(pl.col("rule")),
        action=pl.when(is_changed).then(pl.col("ordered")).otherwise(pl.col("action")),
        **{name: pl.when(is_changed.not_()).then(pl.col(name)) for name in COMPARED},
    )


def _handed_over(rows: pl.DataFrame, is_left: pl.Expr, duplicate_pairs: DuplicatePairs | None) -> pl.DataFrame:
    """Let copies whose row was dropped name another that stays and that they were compared with, the most alike first."""
    left = rows.filter(is_left).select("doc_id", "content_hash")
    if left.is_empty():
        return rows
    kept = rows.filter(pl.col("action") != "drop").select("content_hash", "row_hash", named="doc_id")
    found = [left.join(kept, on="content_hash").with_columns(**_alike("exact_duplicate", pl.lit(1.0), pl.lit(1.0), pl.lit(1.0)))]
    if duplicate_pairs is not None:
        ends = ("jaccard", "containment_removed", "containment_kept")
        near = left.join(_pairs_of_texts(rows, duplicate_pairs), on="content_hash").drop("content_hash").rename({"other": "content_hash"})
        near = near.join(kept, on="content_hash").with_columns(**_alike("near_duplicate", *(pl.col(name) for name in ends)))
        found.append(near.select(found[0].columns))
    best = pl.concat(found).sort("doc_id", -pl.col("new_jaccard"), "new_duplicate_reason", "content_hash", "row_hash", "named")
    best = best.unique("doc_id", keep="first", maintain_order=True).rename({"named": "new_kept_doc_id"})
    names = [f"new_{name}" for name in COMPARED]
    rows = rows.join(best.select("doc_id", *names), on="doc_id", how="left", maintain_order="left")
    has_new = pl.col("new_kept_doc_id").is_not_null()
    return rows.with_columns(**{name: pl.when(has_new).then(pl.col(f"new_{name}")).otherwise(pl.col(name)) for name in COMPARED}).drop(
        names
    )


def _alike(reason: str, jaccard: pl.Expr, removed: pl.Expr, kept: pl.Expr) -> dict[str, pl.Expr]:
    values = (pl.lit(reason), jaccard, removed, kept)
    names = ("duplicate_reason", *COMPARED[2:])
    return {f"new_{name}": value for name, value in zip(names, values, strict=True)}


def _pairs_of_texts(rows: pl.DataFrame, duplicate_pairs: DuplicatePairs) -> pl.DataFrame:
    """Return verified pairs between texts, seen from either end: a pair is recorded for one document of each text only."""
    text_of = rows.select("doc_id", "content_hash")
    pairs = duplicate_pairs.join(text_of, left_on="doc_id_a", right_on="doc_id").join(
        text_of.rename({"content_hash": "other"}), left_on="doc_id_b", right_on="doc_id"
    )
    there = pairs.select("content_hash", "other", "jaccard", containment_removed="containment_a", containment_kept="containment_b")
    back = pairs.select(
        "jaccard", content_hash="other", other="content_hash", containment_removed="containment_b", containment_kept="containment_a"
    )
    return pl.concat([there, back.select(there.columns)])


def _following(rows: pl.DataFrame, is_left: pl.Expr) -> pl.DataFrame:
    """Keep out, by the order that took away the row they were removed for, the copies that nothing else stands for."""
    return rows.with_columns(
        rule=pl.when(is_left).then(pl.lit(FOLLOWS)).otherwise(pl.col("rule")),
        former_action=pl.when(is_left).then(pl.lit("drop")).otherwise(pl.col("former_action")),
        former_reason=pl.when(is_left).then(pl.col("duplicate_reason")).otherwise(pl.col("former_reason")),
        kept_doc_id=pl.when(is_left.not_()).then(pl.col("kept_doc_id")),
    )
