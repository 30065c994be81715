"""Who gets into the subsample: strata of clusters, and a token budget poured over them like water.

Strata are cluster size x source x length. A stratum's share rises with its copies (2^b copies: b + 1), since repeats are what models
recite and few labels would be positive without them, and falls with the square root of its length, the classical allocation where a unit
costs by its length. What a small stratum cannot use is shared by the others. So short and repeated texts are taken whole, the bulk is
thinned, and each stratum states the probability with which it was drawn. Copies inside a drawn cluster are never thinned.

Source: Cochran 1977, Sampling Techniques, section 5.5 (optimum allocation: sample sizes fall with the square root of a unit's cost).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from pipeline.proxy.draws import draw_ranks

MAX_SOURCES = 32
OTHER_SOURCES = ""
STRATUM = ("size_bin", "source", "length_bin")
MAX_CLUSTER_SHARE = 0.125


def describe_clusters(profile: pl.DataFrame, bytes_per_token: float, tokens_per_document: int) -> pl.DataFrame:
    """Return one row per cluster: its stratum and an estimate of the tokens that all its copies would bring.

    `profile`: doc_id, cluster_id, cluster_size, content_hash, row_hash, source, num_bytes, one row per document.
    A cluster's source is the first by name among its documents'; sources beyond the 32 with most clusters count as one. Lengths count
    as far as the windows of a document reach, since longer ones bring no more tokens.
    """
    estimate = (pl.col("num_bytes") / bytes_per_token).ceil().clip(1, tokens_per_document)
    clusters = profile.group_by("cluster_id").agg(
        pl.col("cluster_size").first(),
        pl.col("source").min(),
        pl.col("num_bytes").clip(1, bytes_per_token * tokens_per_document).mean().log(2).floor().cast(pl.Int32).alias("length_bin"),
        estimate.sum().cast(pl.Int64).alias("num_tokens"),
    )
    frequent = clusters.group_by("source").len().sort(["len", "source"], descending=[True, False]).head(MAX_SOURCES)["source"]
    return clusters.with_columns(
        pl.when(pl.col("source").is_in(frequent.implode())).then("source").otherwise(pl.lit(OTHER_SOURCES)).alias("source"),
        pl.col("cluster_size").log(2).floor().cast(pl.Int32).alias("size_bin"),
    ).sort("cluster_id")


def fill_budget(clusters: pl.DataFrame, budget: float, seed: int) -> pl.DataFrame:
    """Return the drawn clusters: strata filled to one common level of tokens a share, the highest that the budget allows.

    Inside a stratum clusters come in an order keyed by id and seed. A cluster is reached at the level that covers half of it, so
    that neither long nor short ones are favoured by rounding. Taking all clusters by that level, lowest first, until the budget is
    spent *is* water-filling: a stratum that runs dry leaves its share to the rest. Clusters above an eighth of the budget, which
    could only be taken with fewer copies than the corpus has, are left out.
    """
    fitting = clusters.filter(pl.col("num_tokens") <= MAX_CLUSTER_SHARE * budget)
    ordered = fitting.with_columns(rank=pl.Series(draw_ranks(fitting["cluster_id"], "subsample", seed))).sort("rank", "cluster_id")
    reached = pl.col("num_tokens").cum_sum().over(STRATUM) - pl.col("num_tokens") / 2
    shares = (pl.col("size_bin") + 1) * 2.0 ** (-pl.col("length_bin") / 2)
    poured = ordered.with_columns(level=reached / shares).sort("level", "rank", "cluster_id")
    return poured.filter(pl.col("num_tokens").cum_sum() <= budget).drop("rank", "level").sort("cluster_id")


def describe_strata(clusters: pl.DataFrame, drawn: pl.DataFrame) -> list[dict[str, Any]]:
    """Return per stratum the clusters there are, those drawn, their tokens, and the inclusion probability."""
    total = clusters.group_by(STRATUM).agg(pl.len().alias("num_clusters"))
    taken = drawn.group_by(STRATUM).agg(pl.len().alias("num_drawn"), pl.col("num_tokens").sum())
    joined = total.join(taken, on=STRATUM, how="left").with_columns(pl.col("num_drawn", "num_tokens").fill_null(0)).sort(STRATUM)
    return joined.with_columns(inclusion_probability=(pl.col("num_drawn") / pl.col("num_clusters")).round(6)).to_dicts()


def summarise(clusters: pl.DataFrame, drawn: pl.DataFrame, budget: float) -> Mapping[str, Any]:
    """Return the facts of a draw: counts, tokens, what was too large, inclusion probabilities."""
    return {
        "num_clusters": clusters.height,
        "num_drawn_clusters": drawn.height,
        "num_tokens": int(drawn["num_tokens"].sum()),
        "num_too_large": clusters.filter(pl.col("num_tokens") > MAX_CLUSTER_SHARE * budget).height,
        "strata": describe_strata(clusters, drawn),
    }
