"""The capacity tax: how many bits of a model's capacity sinks take, by what it costs to say the text with and without having seen it.

A model that saw a text is one model, a model that did not is another: their losses differ by chance too, and the larger of two noisy
figures is biased. So every cluster is read twice with the same rule, once for a model that trained on it and once for one that did not,
against the mean of the same number of models that did not; the second reading is noise and is subtracted from the first.
Source: Morris 2025, "How much do language models memorize?" (unintended memorization; 3.6 bits a parameter).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from pipeline.risk.evidence import Evidence
from pipeline.risk.linear import Array
from pipeline.risk.metrics import estimate, redraws

BITS_PER_PARAMETER = 3.6
MIN_CLUSTERS = 50


def capacity_tax(
    evidence: Evidence,
    sinks: pl.Series,
    total_parameters: Mapping[int, int],
    planned: float | None,
    interval: float,
    rng: np.random.Generator,
) -> dict[str, Any]:
    """Return, for each size with label halves, the bits that sinks and all text take of it; and what the planned size would hold.

    `sinks`: their cluster ids. `total_parameters`: embedding included, by rank; without one capacity is that of the other parameters
    alone and shares of it are upper bounds. `planned`: parameters as the ladder counts them, non-embedding; bits go along a power of
    them and never above what the text itself costs. Two sizes draw a line without saying how straight it is: the interval is the
    bootstrap's over clusters, no more.
    """
    by_size = {size: cluster_bits(evidence, size) for size in evidence.sizes("label_half")}
    by_size = {size: bits for size, bits in by_size.items() if bits.height >= MIN_CLUSTERS}
    if not by_size:
        nothing: dict[str, Any] = {"sizes": [], "num_clusters": 0, "num_sinks": 0, "planned": None, "enough_data": False}
        return nothing | {"bits_per_parameter": BITS_PER_PARAMETER}
    common = sorted(set.intersection(*(set(bits["cluster_id"].to_list()) for bits in by_size.values())))
    tables = {size: bits.filter(pl.col("cluster_id").is_in(common)).sort("cluster_id") for size, bits in by_size.items()}
    held = set(sinks.to_list())
    is_sink = np.array([cluster_id in held for cluster_id in common])
    weights = redraws(len(common), rng)
    sums = {size: _sums(table, is_sink, weights) for size, table in tables.items()}
    rows = [
        {
            "size": evidence.num_parameters(size),
            "total_parameters": total_parameters.get(size),
            **_shares(*sums[size], total_parameters.get(size, evidence.num_parameters(size)), interval),
        }
        for size in sorted(sums)
    ]
    text = next(iter(tables.values()))["text_bits"].to_numpy()
    sizes = {size: evidence.num_parameters(size) for size in sums}
    return {
        "sizes": rows,
        "num_clusters": len(common),
        "num_sinks": int(is_sink.sum()),
        "planned": _extrapolated(sizes, sums, float(text.sum()), float(text[is_sink].sum()), planned, interval),
        "enough_data": bool(is_sink.any()),
        "bits_per_parameter": BITS_PER_PARAMETER,
    }


def cluster_bits(evidence: Evidence, size: int) -> pl.DataFrame:
    """Return cluster_id, bits and text_bits of clusters that one label half of a size at least saw and two at least did not.

    bits: max(0, NLL under the models that never saw it - NLL under one that did) / ln 2, less the same between models that never did.
    It may be negative for a cluster: only sums mean something. text_bits: its NLL under models that never saw it / ln 2.
    """
    rows = evidence.probes("label_half", size).filter(~pl.col("is_shared"))
    nats = rows.group_by("cluster_id", "proxy", "in_training", maintain_order=True).agg(
        nll=(pl.col("loss").cast(pl.Float64) * (pl.col("num_tokens") - 1).clip(lower_bound=1)).sum()
    )
    found = []
    for (cluster_id,), part in nats.group_by("cluster_id", maintain_order=True):
        inside = part.filter("in_training")["nll"].to_numpy()
        outside = part.filter(~pl.col("in_training"))["nll"].to_numpy()
        if len(inside) >= 1 and len(outside) >= 2:
            found.append((cluster_id, _gain_beyond_noise(inside, outside) / math.log(2), float(outside.mean()) / math.log(2)))
    schema = {"cluster_id": pl.Binary, "bits": pl.Float64, "text_bits": pl.Float64}
    return pl.DataFrame(found, schema=schema, orient="row").sort("cluster_id")


def _gain_beyond_noise(inside: Array, outside: Array) -> float:
    # the reference is the mean of all but one out-model, for both readings
    references = (outside.sum() - outside) / (len(outside) - 1)
    seen = np.maximum(0.0, references[:, None] - inside[None, :]).mean()
    unseen = np.maximum(0.0, references - outside).mean()
    return float(seen - unseen)


def _sums(table: pl.DataFrame, is_sink: np.ndarray, weights: Array) -> tuple[Array, Array]:
    bits = table["bits"].to_numpy()
    return weights @ (bits * is_sink), weights @ bits


def _shares(of_sinks: Array, of_all: Array, parameters: int, interval: float) -> dict[str, Any]:
    capacity = BITS_PER_PARAMETER * parameters
    with np.errstate(divide="ignore", invalid="ignore"):
        share = np.where(of_all > 0, of_sinks / of_all, np.nan)
    figures = {
        "sink_bits": of_sinks,
        "all_bits": of_all,
        "sink_share": share,
        "capacity_taken_by_sinks": of_sinks / capacity,
        "capacity_filled": of_all / capacity,
    }
    return {name: estimate(values, interval) for name, values in figures.items()} | {"capacity_bits": capacity}


def _extrapolated(
    sizes: Mapping[int, int],
    sums: Mapping[int, tuple[Array, Array]],
    text: float,
    sink_text: float,
    planned: float | None,
    interval: float,
) -> dict[str, Any] | None:
    if planned is None or len(sums) < 2:
        return None
    x = np.log([sizes[size] for size in sorted(sums)])
    found: dict[str, Any] = {"parameters": planned}
    for name, at, most in (("sink_bits", 0, sink_text), ("all_bits", 1, text)):
        y = np.log(np.maximum(np.array([sums[size][at] for size in sorted(sums)]), 1.0))
        slope = ((x - x.mean())[:, None] * (y - y.mean(axis=0))).sum(axis=0) / ((x - x.mean()) ** 2).sum()
        along = y.mean(axis=0) + slope * (math.log(planned) - x.mean())
        found[name] = estimate(np.exp(np.minimum(along, math.log(max(most, 1.0)))), interval)
        found[f"{name}_at_most"] = most
    return found
