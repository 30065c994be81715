"""Say whom the decisions hit: rows and effective rows, before and after, by source, language and length of the text."""

from __future__ import annotations

from typing import Any

import polars as pl

from pipeline.report.ledger import name
from pipeline.report.measures import share, tidy
from pipeline.report.rows import MAX_SOURCES
from pipeline.tables import ACTIONS, Languages

UNKNOWN = "und"
SHORTEST, LONGEST = 6, 20
"""Bounds of the length bins, as powers of two in bytes: what is shorter or longer shares a bin."""

_STATIONS = {"copies": ("exact", "near"), "sink": ("sink",), "other": ("empty", "other")}


def shifts(weighed: pl.DataFrame, languages: Languages | None) -> dict[str, list[dict[str, Any]]]:
    """Return the same table three times, by `source`, `language` (empty where nobody guessed it) and `length`.

    weighed: the ledger with `effective`, a row's weight if it stays, else 0. Every table adds up to all rows: groups beyond the largest
    share one line.
    """
    by_language = [] if languages is None else _by_size(_with_language(weighed, languages))
    return {"source": _by_size(weighed.with_columns(group="source")), "language": by_language, "length": _by_length(weighed)}


def _with_language(weighed: pl.DataFrame, languages: Languages) -> pl.DataFrame:
    guessed = languages.select("doc_id", group="language")
    return weighed.join(guessed, on="doc_id", how="left").with_columns(pl.col("group").fill_null(UNKNOWN))


def _by_size(weighed: pl.DataFrame) -> list[dict[str, Any]]:
    """Return the groups' rows, the largest first."""
    ranked = weighed.group_by("group").agg(rows=pl.len()).sort(["rows", "group"], descending=[True, False])
    shown, num_others = ranked.head(MAX_SOURCES)["group"], max(ranked.height - MAX_SOURCES, 0)
    is_shown = pl.col("group").is_in(shown.implode())
    groups = _sums(weighed.filter(is_shown)).sort(["rows", "group"], descending=[True, False])
    rest = _sums(weighed.filter(~is_shown).with_columns(group=pl.lit(f"({num_others} smaller ones)")))
    return _rows(pl.concat([groups, rest]), weighed)


def _by_length(weighed: pl.DataFrame) -> list[dict[str, Any]]:
    """Return rows by the power of two that their bytes reach, the shortest first."""
    # a count of bits is exact where a logarithm may round to the next power
    exponent = (64 - pl.col("num_bytes").bitwise_leading_zeros().cast(pl.Int64) - 1).clip(SHORTEST - 1, LONGEST)
    found = _sums(weighed.with_columns(group=exponent)).sort("group")
    labels = {power: length_label(power) for power in range(SHORTEST - 1, LONGEST + 1)}
    return _rows(found.with_columns(pl.col("group").replace_strict(labels, return_dtype=pl.String)), weighed)


def length_label(exponent: int) -> str:
    """Say in words which texts have 2^exponent bytes or more, and less than twice as many."""
    if exponent < SHORTEST:
        return f"under {2**SHORTEST} bytes"
    if exponent >= LONGEST:
        return f"{_bytes(LONGEST)} and more"
    if exponent < 10:
        return f"{2**exponent} to {2 ** (exponent + 1) - 1} bytes"
    return f"{_bytes(exponent)} to {_bytes(exponent + 1)}"


def _bytes(exponent: int) -> str:
    unit = exponent // 10
    return f"{2 ** (exponent - 10 * unit)} {('bytes', 'KiB', 'MiB')[unit]}"


def _sums(weighed: pl.DataFrame) -> pl.DataFrame:
    return weighed.group_by("group").agg(
        rows=pl.len(),
        rows_out=(pl.col("fate") == "kept").sum(),
        effective=pl.col("effective").sum(),
        **{key: pl.col("fate").is_in(stations).sum() for key, stations in _STATIONS.items()},
        mean_score=pl.col("sink_score").mean(),
        **{action: (pl.col("action") == action).sum() for action in ACTIONS},
    )


def _rows(sums: pl.DataFrame, weighed: pl.DataFrame) -> list[dict[str, Any]]:
    before, after = weighed.height, float(weighed["effective"].sum())
    return [
        {
            "name": name(group),
            **{key: tidy(value) for key, value in row.items()},
            "share_before": share(row["rows"], before),
            "share_after": share(row["effective"], after),
        }
        for group, row in zip(sums["group"], sums.drop("group").iter_rows(named=True), strict=True)
    ]
