"""Say why a row was decided otherwise in another run: the first cause that holds, and in words."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from pipeline.report.excerpts import make_visible
from pipeline.report.ledger import name
from pipeline.report.wording import decimal, score

CAUSES = ("input", "order", "copy", "support", "threshold", "policy", "spans", "score", "rule")
"""Why, the first that holds: another input; a person's order; copies; the predictor's support; a score on the other side of the threshold;
the policy; repeated spans; another score or another weight for it; another rule."""
COPIES = ("exact_duplicate", "near_duplicate")
PLACES = ("unique", "representative", "copy_cap")
NOTE = 300


def with_causes(rows: pl.DataFrame, before: Mapping[str, Any], after: Mapping[str, Any]) -> pl.DataFrame:
    """Add `cause` to matched rows, null where nothing differs; before, after: the release settings of the runs."""
    is_same_reason = pl.col("reason_before") == pl.col("reason_after")
    in_copies, in_places = ([pl.col(f"reason_{end}").is_in(group) for end in ("before", "after")] for group in (COPIES, PLACES))
    reached = [_reached(end, section) for end, section in (("before", before), ("after", after))]
    holds = {
        "input": pl.col("kind").is_in(["added", "removed"]),
        "order": _either("overruled"),
        "copy": (pl.col("kind") == "kept_copy") | in_copies[0] | in_copies[1] | (in_places[0] & in_places[1] & is_same_reason.not_()),
        "support": pl.col("is_supported_before") != pl.col("is_supported_after"),
        "threshold": reached[0] != reached[1],
        "policy": pl.lit(before["policy"] != after["policy"]) & (reached[1] | pl.col("is_supported_after").not_()),
        "spans": _either("repeated_span"),
        "score": pl.col("kind") == "weight",
    }
    first = pl.coalesce(*(pl.when(held.fill_null(False)).then(pl.lit(key)) for key, held in holds.items()), pl.lit("rule"))
    return rows.with_columns(cause=pl.when(pl.col("kind") != "same").then(first))


def tell_cause(row: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    """Return in a sentence why a matched row differs; names in it are harmless to show."""
    return _TOLD[row["cause"]](row, before, after)


def _either(reason: str) -> pl.Expr:
    return (pl.col("reason_before") == reason) | (pl.col("reason_after") == reason)


def _reached(end: str, section: Mapping[str, Any]) -> pl.Expr:
    return pl.col(f"{_bound(section)}_{end}") >= section["sink_threshold"]


def _bound(section: Mapping[str, Any]) -> str:
    return "sink_score_low" if section["sink_bound"] == "low" else "sink_score"


def _input(row: Mapping[str, Any], *_: Mapping[str, Any]) -> str:
    return "Only the later run has this row." if row["kind"] == "added" else "Only the earlier run has this row."


def _order(row: Mapping[str, Any], *_: Mapping[str, Any]) -> str:
    if row["reason_after"] != "overruled":
        return f"The order of {name(row['reviewer_before'])} does not hold in the later run."
    note = make_visible(row["note_after"] or "", NOTE)
    said = f": {note}" if note else ", without a note"
    if row["is_followed_after"]:
        return f"{name(row['reviewer_after'])} dropped the row it was removed for{said}"
    return f"{name(row['reviewer_after'])} ordered {row['action_after']}{said}"


def _copy(row: Mapping[str, Any], *_: Mapping[str, Any]) -> str:
    was, now = row["reason_before"], row["reason_after"]
    if row["kind"] == "kept_copy":
        return "It is a copy of another kept row than before."
    if now in COPIES:
        return f"It is removed now as {'an exact' if now == COPIES[0] else 'a near'} copy of a kept row."
    if was in COPIES:
        return "It was removed as a copy; now no kept row stands for it."
    return f"Its place among its copies changed: {was.replace('_', ' ')}, now {now.replace('_', ' ')}."


def _support(row: Mapping[str, Any], *_: Mapping[str, Any]) -> str:
    return "The predictor answers now; it abstained." if row["is_supported_after"] else "The predictor abstains now; it answered."


def _threshold(row: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    values = [(row[f"{_bound(section)}_{end}"], section) for end, section in (("before", before), ("after", after))]
    told = [
        f"{'the lower end of the score' if section['sink_bound'] == 'low' else 'the score'} {score(value)} "
        f"{'reached' if value >= section['sink_threshold'] else 'stayed below'} {decimal(section['sink_threshold'])}"
        for value, section in values
    ]
    return f"Before, {told[0]}; now, {told[1]}."


def _policy(_: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    return f"The policy was {before['policy']} and is {after['policy']}."


def _spans(_: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    if before["spans"] != after["spans"]:
        return f"Repeated spans: the setting was {before['spans']} and is {after['spans']}."
    return "Text in it is repeated in other released rows, or is no longer."


def _score(row: Mapping[str, Any], *_: Mapping[str, Any]) -> str:
    scores, weights = ([row[f"{key}_{end}"] for end in ("before", "after")] for key in ("sink_score", "weight"))
    return f"Weight {decimal(weights[0])}, now {decimal(weights[1])}; score {score(scores[0])}, now {score(scores[1])}."


def _rule(row: Mapping[str, Any], *_: Mapping[str, Any]) -> str:
    rules = [str(json.loads(row[f"evidence_{end}"]).get("rule", row[f"reason_{end}"])).replace("_", " ") for end in ("before", "after")]
    return f"Another rule decides: {rules[0]}, now {rules[1]}."


_TOLD: Mapping[str, Callable[[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]], str]] = {
    "input": _input,
    "order": _order,
    "copy": _copy,
    "support": _support,
    "threshold": _threshold,
    "policy": _policy,
    "spans": _spans,
    "score": _score,
    "rule": _rule,
}
assert tuple(_TOLD) == CAUSES, "every cause is told in words"
