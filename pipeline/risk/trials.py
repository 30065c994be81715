"""Three claims that need runs of their own: regularized training, a MemSinks proxy, training that goes on without a text."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from pipeline.risk.evidence import Evidence
from pipeline.risk.findings import (
    MIN_CLUSTERS,
    MIN_REPEATED,
    NOTHING,
    Estimate,
    Finding,
    Rows,
    answer,
    bootstrap,
    difference_of_means,
    share,
)
from pipeline.risk.linear import Array

HALF = 0.5


def regularization(gains: pl.DataFrame, interval: float, rng: np.random.Generator) -> Finding:
    """Ask whether regularization fails to prevent memorization: the smallest share of the mean gain that a setting leaves.

    `gains`: setting, cluster_id, gain; setting none is the ordinary training. Supported when every setting leaves more than half.
    """
    wide = gains.pivot("setting", index="cluster_id", values="gain").drop_nulls().sort("cluster_id")
    settings = sorted(name for name in wide.columns if name not in ("cluster_id", "none"))
    enough = wide.height >= MIN_CLUSTERS and "none" in wide.columns and bool(settings)
    rows: list[dict[str, Any]] = []
    for name in settings if enough else ():
        rows.append({"setting": name, **_left(wide[name].to_numpy(), wide["none"].to_numpy(), interval, rng)})
    least = min((row for row in rows if row["low"] is not None), key=lambda row: float(row["low"]), default=NOTHING)
    found: Estimate = {key: least[key] for key in NOTHING}
    claim, unit = "regularization does not prevent memorization", "of the mean gain is left by the strongest setting"
    return answer(claim, unit, found, HALF, wide.height, enough=enough) | {"settings": rows}


def sink_localization(losses: pl.DataFrame, interval: float, rng: np.random.Generator) -> Finding:
    """Ask whether a MemSinks proxy keeps a text in its own sinks: l(another's sinks on) - l(own on), less the same on held-out text.

    `losses`: cluster_id, is_held_out, own_loss, off_loss, other_loss. Also told: the sink gap, l(off) - l(own), and what deletion does
    beyond the placebo, l(off) - l(other), which was no more than nothing in an independent port. Source: Ghosal 2025, section 4.
    """
    inside, outside = losses.filter(~pl.col("is_held_out")), losses.filter("is_held_out")
    enough = inside.height >= MIN_CLUSTERS and outside.height >= MIN_REPEATED

    def beyond_held_out(over: str, under: str) -> Estimate:
        trained, unseen = ((part[over] - part[under]).to_numpy().astype(np.float64) for part in (inside, outside))
        return difference_of_means(trained, unseen, interval, rng) if enough else NOTHING

    found = beyond_held_out("other_loss", "own_loss")
    finding = answer("memorization is localized in a text's own sinks", "nats per token", found, 0.0, inside.height, enough=enough)
    return finding | {
        "sink_gap": beyond_held_out("off_loss", "own_loss"),
        "deletion_beyond_placebo": beyond_held_out("off_loss", "other_loss"),
    }


def forgetting_losses(evidence: Evidence) -> pl.DataFrame:
    """Return, for clusters that feature halves went on without: cluster_id, reference_loss, before_loss, after_loss, nats per token.

    `after_loss` is less what going on did to held-out text; `reference_loss` is the other halves'. No rows where no half went on.
    """
    rises = evidence.forgotten()
    drift = rises.join(evidence.held_out(), on="cluster_id", how="semi")["rise"].mean()
    own = rises.filter(pl.col("in_training") & ~pl.col("is_shared")).group_by("cluster_id", "proxy").agg(pl.col("rise").mean())
    probes = evidence.probes("feature_half", 0).filter(~pl.col("is_shared")) if own.height else rises.clear().with_columns(loss=pl.lit(0.0))
    loss = pl.col("loss").cast(pl.Float64).mean()
    before = probes.filter("in_training").group_by("cluster_id", "proxy").agg(before_loss=loss)
    reference = probes.filter(~pl.col("in_training")).group_by("cluster_id").agg(reference_loss=loss)
    joined = own.join(before, on=["cluster_id", "proxy"]).join(reference, on="cluster_id")
    after = pl.col("before_loss") + pl.col("rise") - (drift if isinstance(drift, float) else 0.0)
    means = joined.with_columns(after_loss=after).group_by("cluster_id").agg(pl.col("reference_loss", "before_loss", "after_loss").mean())
    return means.sort("cluster_id")


def forgetting(losses: pl.DataFrame, interval: float, rng: np.random.Generator) -> Finding:
    """Ask whether memorization outlasts removal: the share of it left after training went on without the text.

    `losses`: reference_loss (never seen), before_loss, after_loss, nats per token. Share: sum (reference - after) / sum (reference -
    before). Supported when more than half is left.
    """
    reference, before, after = (losses[name].to_numpy().astype(np.float64) for name in ("reference_loss", "before_loss", "after_loss"))
    number = len(reference)
    enough = number >= MIN_CLUSTERS and bool((reference - before).sum() > 0)

    def left(rows: Rows) -> float:
        return share((reference - after)[rows].sum(), (reference - before)[rows].sum())

    found = bootstrap(left, number, interval, rng) if enough else NOTHING
    return answer("a text removed afterwards stays memorized", "of the memorization is left", found, HALF, number, enough=enough)


def _left(held: Array, plain: Array, interval: float, rng: np.random.Generator) -> Estimate:
    return bootstrap(lambda rows: share(held[rows].mean(), plain[rows].mean()), len(plain), interval, rng)
