"""Match the rows of two runs by the hash of the whole row, as often as it occurs: ids and files decide nothing.

Equal rows are interchangeable, so those with the same decision are paired first: what only changed places among them is no difference.
"""

from __future__ import annotations

import polars as pl

KINDS = ("action", "weight", "reason", "kept_copy", "removed", "added")
"""What differs about a row: its action; its weight or its reason alone; the copy it names; or it is in one of the runs only."""
DECISION = ("action", "weight", "reason", "kept")
_PASSES = (DECISION, ("action", "weight", "reason"), ("action",), ())


def match_rows(before: pl.DataFrame, after: pl.DataFrame) -> pl.DataFrame:
    """Return one row for each matched pair and each row without a match, its columns ending in `_before` and `_after`, and `kind`.

    Both have `row_hash, content_hash` and DECISION. kind is `same` or one of KINDS. Also returned: `row_hash` and `content_hash` alone.
    """
    left, right = before.with_row_index("at"), after.with_row_index("at")
    pairs: list[pl.DataFrame] = []
    for step, alike in enumerate(_PASSES):
        keys = ["row_hash", *alike, "nth"]
        first, second = (_counted(side, alike).select(*keys, "at") for side in (left, right))
        found = first.join(second, on=keys, how="inner", nulls_equal=True, suffix="_after").select("at", "at_after", step=pl.lit(step))
        left, right = left.join(found, on="at", how="anti"), right.join(found, left_on="at", right_on="at_after", how="anti")
        pairs.append(found)
    nowhere, alone = pl.lit(None, pl.UInt32), pl.lit(len(_PASSES))
    pairs += [left.select("at", at_after=nowhere, step=alone), right.select(at=nowhere, at_after="at", step=alone)]
    joined = pl.concat(pairs).join(_ending(before, "_before"), left_on="at", right_on="at_before", how="left")
    joined = joined.join(_ending(after, "_after"), on="at_after", how="left")
    named = {key: pl.coalesce(f"{key}_before", f"{key}_after") for key in ("row_hash", "content_hash")}
    return joined.with_columns(kind=_kind(), **named).drop("step", "at", "at_after")


def _ending(rows: pl.DataFrame, ending: str) -> pl.DataFrame:
    return rows.with_row_index("at").rename({column: column + ending for column in ("at", *rows.columns)})


def _counted(rows: pl.DataFrame, alike: tuple[str, ...]) -> pl.DataFrame:
    """Number equal rows whose decisions are alike, so that each is paired once."""
    return rows.sort(*DECISION, "at", nulls_last=True).with_columns(nth=pl.int_range(pl.len()).over("row_hash", *alike))


def _kind() -> pl.Expr:
    return (
        pl.when(pl.col("at").is_null())
        .then(pl.lit("added"))
        .when(pl.col("at_after").is_null())
        .then(pl.lit("removed"))
        .when(pl.col("step") == 0)
        .then(pl.lit("same"))
        .when(pl.col("step") == 1)
        .then(pl.lit("kept_copy"))
        .when(pl.col("action_before") != pl.col("action_after"))
        .then(pl.lit("action"))
        .when(pl.col("weight_before") != pl.col("weight_after"))
        .then(pl.lit("weight"))
        .otherwise(pl.lit("reason"))
    )
