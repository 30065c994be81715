"""Where a MemSinks proxy keeps what it recites: within strata of copies, with a text's own sinks on, all off, or others in their place."""

from __future__ import annotations

from typing import Any

import polars as pl
from scipy.special import ndtri

from pipeline.risk.evidence import Evidence
from pipeline.statistics import wilson_interval

STRATA = (("copies 1", 1, 1), ("copies 2-5", 2, 5), ("copies 6-20", 6, 20), ("copies over 20", 21, None))
HELD_OUT = "held out"
MASKS = ("own", "off", "other")


def localization(evidence: Evidence, interval: float) -> list[dict[str, Any]]:
    """Return per stratum of copies, and for held-out text, the share of clusters recited with each mask; intervals after Wilson 1927.

    A cluster is recited if every token of some window's suffix is the argmax. Fully localized recitation is recited with own sinks on
    and not with others; what is left with all off is general. Empty where no MemSinks proxy was trained.
    """
    table = evidence.sinks()
    if table.is_empty():
        return []
    copies = pl.DataFrame(evidence.samples).group_by("cluster_id").agg(copies=pl.col("doc_id").n_unique())
    known = table.join(copies, on="cluster_id").filter(pl.col("own_recited").is_not_null())
    trained = known.filter(~pl.col("is_held_out"))
    strata = [(name, trained.filter(pl.col("copies").is_between(low, high or pl.col("copies")))) for name, low, high in STRATA]
    z = float(ndtri(0.5 + interval / 2))
    return [_stratum(name, rows, z) for name, rows in [*strata, (HELD_OUT, known.filter("is_held_out"))]]


def _stratum(name: str, rows: pl.DataFrame, z: float) -> dict[str, Any]:
    told: dict[str, Any] = {"stratum": name, "num_clusters": rows.height}
    for mask in MASKS:
        hits = int(rows[f"{mask}_recited"].sum())
        low, high = wilson_interval(hits, rows.height, z) if rows.height else (None, None)
        told[mask] = {"value": hits / rows.height if rows.height else None, "low": low, "high": high}
    return told
