"""Name the kind of sink: recited for its copies, reconstructed from a pattern, or recollected though rare."""

from __future__ import annotations

import polars as pl

from pipeline.config import RiskConfig
from pipeline.risk.labels import discoverable_log_prob

CLASS_THRESHOLD = 0.5
"""Score from which a cluster is a sink to be classed; below it the class is null."""


def sink_class(suffix_tokens: int, config: RiskConfig) -> pl.Expr:
    """Return an expression for the class of cluster rows with a score of CLASS_THRESHOLD or more, else null.

    recitation: more than `recitation_copies` copies. reconstruction: else, reproducible without having been seen: at least half of the
    proxies without the cluster recite it (extracted_out) or, where no proxy was asked, its suffix is (n, p)-discoverable under the
    proxy of the one forward pass (reference_suffix_loss). recollection: the rest, rare text known by heart.
    Needs sink_score, cluster_size, extracted_out, reference_suffix_loss. Source: Prashanth 2025, "Recite, reconstruct, recollect".
    """
    discoverable = -discoverable_log_prob(config) / suffix_tokens
    by_proxies = pl.col("extracted_out") >= 0.5
    by_pass = pl.col("reference_suffix_loss") <= discoverable
    return (
        pl.when(pl.col("sink_score") < CLASS_THRESHOLD)
        .then(None)
        .when(pl.col("cluster_size") > config.recitation_copies)
        .then(pl.lit("recitation"))
        .when(pl.coalesce(by_proxies, by_pass, pl.lit(False)))
        .then(pl.lit("reconstruction"))
        .otherwise(pl.lit("recollection"))
    )
