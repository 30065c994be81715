"""Which proxy trains on which cluster: held-out clusters for all, complementary halves for the in/out runs.

A cluster is never cut in two, since a text whose copy is in training is not held out. Each pair of halves is drawn on its own, so the
splits of feature runs and of label runs are independent (a shared split reads .67 where independent ones read .29).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline.config import ProxyConfig
from pipeline.proxy.draws import draw_key, draw_ranks
from pipeline.tables import PROXY_SPLITS, ProxySplits, Samples

Role = Literal["full", "feature_half", "label_half", "memsinks"]
WHOLE = ("full", "memsinks")
"""Roles that train on all clusters but the held-out ones."""


@dataclass(frozen=True)
class ProxySpec:
    """Name one proxy run; `size` is the rank on the ladder, `pair` and `side` are -1 for a run on all clusters."""

    name: str
    role: Role
    size: int
    pair: int
    side: int
    seed: int


def plan_proxies(config: ProxyConfig, seed: int) -> tuple[ProxySpec, ...]:
    """List the runs, the most expensive first so that two workers end together: one full run a size, halves at the two smallest.

    With `config.memsinks` also one run of that role at the smallest size.
    """
    small, next_size = config.num_halves
    specs = [_spec("full", size, -1, -1, seed) for size in range(len(config.ladder))]
    halves: tuple[tuple[Role, int, int], ...] = (
        ("feature_half", 0, small // 4),
        ("label_half", 0, small // 4),
        ("label_half", 1, next_size // 2),
    )
    for role, size, num_pairs in halves:
        specs += [_spec(role, size, pair, side, seed) for pair in range(num_pairs) for side in (0, 1)]
    if config.memsinks:
        specs.append(_spec("memsinks", 0, -1, -1, seed))
    return tuple(sorted(specs, key=lambda spec: (-spec.size, spec.role not in WHOLE, spec.name)))


def reference_pair(specs: Iterable[ProxySpec]) -> tuple[ProxySpec, ProxySpec]:
    """Return the two sides of the first pair of feature halves at the smallest size."""
    pair = sorted((spec for spec in specs if (spec.role, spec.size, spec.pair) == ("feature_half", 0, 0)), key=lambda spec: spec.side)
    assert len(pair) == 2, "every plan has a first pair of feature halves"
    return pair[0], pair[1]


def split_clusters(samples: Samples, specs: Sequence[ProxySpec], config: ProxyConfig, seed: int) -> ProxySplits:
    """Say for every drawn cluster and proxy whether the cluster is in training.

    Held-out clusters (`held_out_share`, systematic over cluster sizes) are in none, the others in every run on all clusters and in
    exactly one side of each pair. Sides are equal in tokens within every size stratum as nearly as single clusters allow.
    """
    clusters = _masses(samples)
    held_out = _held_out(clusters, config.held_out_share, seed)
    rest = clusters.filter(~held_out)
    columns: dict[str, npt.NDArray[np.bool_]] = {}
    sides: dict[tuple[str, int, int], npt.NDArray[np.int8]] = {}
    for spec in sorted(specs, key=lambda spec: spec.name):
        key = (spec.role, spec.size, spec.pair)
        if spec.role not in WHOLE and key not in sides:
            sides[key] = _halve(rest, (seed, *key))
        columns[spec.name] = np.ones(rest.height, dtype=bool) if spec.role in WHOLE else sides[key] == spec.side
    inside = rest.select("cluster_id").with_columns(**{name: pl.Series(values) for name, values in columns.items()})
    outside = clusters.filter(held_out).select("cluster_id").with_columns(pl.lit(False).alias(name) for name in columns)
    wide = pl.concat([inside, outside]) if columns else inside
    long = wide.unpivot(index="cluster_id", variable_name="proxy", value_name="in_training").sort("proxy", "cluster_id")
    return PROXY_SPLITS.check(long.cast({"in_training": pl.Boolean}))


def _spec(role: Role, size: int, pair: int, side: int, seed: int) -> ProxySpec:
    name = f"{role}-{size}" if role in WHOLE else f"{role.removesuffix('_half')}-{size}-{pair}{'ab'[side]}"
    return ProxySpec(name, role, size, pair, side, draw_key("proxy", seed, name))


def _masses(samples: Samples) -> pl.DataFrame:
    """Return per cluster its tokens, the log2 bins of its documents and of its tokens per document."""
    masses = samples.group_by("cluster_id").agg(
        pl.col("num_tokens").cast(pl.Int64).sum().alias("mass"), pl.col("doc_id").n_unique().alias("copies")
    )
    return masses.with_columns(
        pl.col("copies").log(2).floor().cast(pl.Int32).alias("size_bin"),
        (pl.col("mass") / pl.col("copies")).log(2).floor().cast(pl.Int32).alias("length_bin"),
    ).sort("cluster_id")


def _held_out(clusters: pl.DataFrame, share: float, seed: int) -> pl.Series:
    ranks = draw_ranks(clusters["cluster_id"], "held_out", seed)
    order = np.lexsort((ranks, clusters["length_bin"].to_numpy(), clusters["size_bin"].to_numpy()))
    offset = draw_key("held_out_offset", seed) % 10_000 / 10_000
    crossings = np.floor(share * np.arange(clusters.height + 1) + offset)
    chosen = np.zeros(clusters.height, dtype=bool)
    chosen[order] = np.diff(crossings) > 0
    return pl.Series(chosen)


def _halve(clusters: pl.DataFrame, key: tuple[object, ...]) -> npt.NDArray[np.int8]:
    """Return each cluster's side, 0 or 1: neighbours in size and length, shuffled anew for every pair of proxies, part ways.

    Neighbours go into sides by a coin, unless the running difference in tokens is off by more than their own: then they even it out.
    """
    ranks = draw_ranks(clusters["cluster_id"], "halves", *key)
    size_bin, mass = clusters["size_bin"].to_numpy(), clusters["mass"].to_numpy()
    order = np.lexsort((ranks, clusters["length_bin"].to_numpy(), size_bin))
    sides = np.zeros(len(order), dtype=np.int8)
    lead, at = 0, 0  # tokens by which side 0 leads
    while at < len(order):
        first = order[at]
        paired = at + 1 < len(order) and size_bin[order[at + 1]] == size_bin[first]
        second = order[at + 1] if paired else None
        gap = int(mass[first]) - (int(mass[second]) if second is not None else 0)
        side = int(ranks[first] & np.uint64(1)) if gap == 0 or abs(lead) < abs(gap) else int((lead > 0) == (gap > 0))
        sides[first] = side
        if second is not None:
            sides[second] = 1 - side
        lead += gap if side == 0 else -gap
        at += 2 if paired else 1
    return sides
