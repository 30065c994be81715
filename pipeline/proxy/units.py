"""Which clusters a target must have in or out together, and which text of theirs can be judged.

A passage that several clusters hold is in both halves if they part ways, and then nothing tells who learnt it. So clusters with a long
run of tokens in common form one unit of the split, unless the unit would hold too much of the corpus: boilerplate would tie half of it
together. What stays shared between units is left out of labels instead: a window whose suffix another unit holds word for word.

Runs are found on the targets' own tokens, in all copies, not on the ledger's spans, which deduplication left in kept documents alone.
Byte-level pre-tokens end at words, so equal text gives equal tokens but for the first and the last word.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline.config import ProxyConfig
from pipeline.proxy.draws import UInt64s, mix
from pipeline.proxy.splits import ProxySpec, split_clusters
from pipeline.tables import PROXY_SPLITS, ProxySplits, Samples

RELATED_TOKENS, MAX_JACCARD = 5, 0.5
"""Held-out text counts as unseen if no cluster in training shares this share of its 5-grams of tokens. Source: the design's section 5."""


@dataclass(frozen=True)
class _Grams:
    """Hold runs of n tokens: their hash and, by number, the cluster that holds them, each pair once."""

    hashes: UInt64s
    clusters: npt.NDArray[np.int64]

    def frame(self) -> pl.DataFrame:
        """Return columns hash and cluster, pairs once."""
        return pl.DataFrame({"hash": self.hashes, "cluster": self.clusters}).unique(maintain_order=True)


def split_units(samples: Samples, span_tokens: int, max_share: float) -> pl.DataFrame:
    """Return cluster_id and unit_id, the smallest cluster_id of the unit.

    Runs of `span_tokens` tokens tie their holders together, those with the fewest holders first, as long as the unit stays within
    `max_share` of all tokens; a tie that would make it larger is not made.
    """
    ids, numbers = _number_clusters(samples)
    masses = samples.group_by("cluster_id").agg(pl.col("num_tokens").cast(pl.Int64).sum()).sort("cluster_id")["num_tokens"].to_numpy()
    holders = _grams(samples, numbers, span_tokens).frame().sort("hash", "cluster").group_by("hash", maintain_order=True).agg("cluster")
    ties = holders.filter(pl.col("cluster").list.len() > 1)["cluster"].unique()
    parents, limit = list(range(len(ids))), max_share * float(masses.sum())
    unit_masses = masses.astype(np.int64).tolist()
    for tied in sorted(ties.to_list(), key=lambda tied: (len(tied), tied)):
        roots = sorted({_root(parents, number) for number in tied})
        total = sum(unit_masses[root] for root in roots)
        if total <= limit:
            unit_masses[roots[0]] = total
            for root in roots[1:]:
                parents[root] = roots[0]
    units = [_root(parents, number) for number in range(len(ids))]
    return pl.DataFrame({"cluster_id": ids, "unit_id": ids.gather(units)})


def split_targets(samples: Samples, units: pl.DataFrame, specs: list[ProxySpec], config: ProxyConfig, seed: int) -> ProxySplits:
    """Say for every cluster and half whether the cluster is in training; a unit is never cut in two, held-out ones are in none.

    Units stand in for clusters in the proxies' own splitting, so sides are equal in tokens within strata of a unit's size and length.
    """
    tied = samples.join(units, on="cluster_id").with_columns(cluster_id=pl.col("unit_id")).select(samples.columns)
    by_unit = split_clusters(Samples(tied), specs, config, seed)
    wide = units.join(pl.DataFrame(by_unit).rename({"cluster_id": "unit_id"}), on="unit_id")
    return PROXY_SPLITS.check(wide.select("cluster_id", "proxy", "in_training").sort("proxy", "cluster_id"))


def shared_windows(samples: Samples, units: pl.DataFrame, prompt_tokens: int, suffix_tokens: int) -> pl.Series:
    """Return the window_ids, rising, whose suffix a cluster of another unit holds word for word, wherever it stands there."""
    _, numbers = _number_clusters(samples)
    unit_of = units.sort("cluster_id")["unit_id"].rank("dense").cast(pl.Int64).to_numpy()
    end = prompt_tokens + suffix_tokens
    distinct = samples.filter((pl.col("sample_id") == pl.col("window_id")) & (pl.col("num_tokens") >= end))
    tokens = distinct["tokens"].list.slice(prompt_tokens, suffix_tokens).explode().to_numpy().reshape(-1, suffix_tokens)
    suffixes = pl.DataFrame({"window_id": distinct["window_id"], "hash": _fold(tokens.T)})
    grams = _grams(samples, numbers, suffix_tokens)
    held = pl.DataFrame({"hash": grams.hashes, "unit": unit_of[grams.clusters]})
    wanted = held.join(suffixes.select("hash").unique(), on="hash", how="semi").unique().group_by("hash").len()
    return suffixes.join(wanted.filter(pl.col("len") > 1), on="hash", how="semi")["window_id"].sort()


def unseen_clusters(samples: Samples, splits: ProxySplits) -> pl.Series:
    """Return the held-out clusters, in order, that share less than half of their 5-grams of tokens with any cluster in training.

    Jaccard on sets of hashed 5-grams, a cluster's copies together.
    """
    ids, numbers = _number_clusters(samples)
    trained = splits.filter("in_training")["cluster_id"].unique()
    is_out = (~ids.is_in(trained.implode())).to_numpy()
    grams = _grams(samples, numbers, RELATED_TOKENS).frame()
    sizes = np.bincount(grams["cluster"].to_numpy(), minlength=len(ids))
    inside = pl.Series(is_out).gather(grams["cluster"])
    ours, theirs = grams.filter(inside), grams.filter(~inside)
    common = ours.join(theirs, on="hash", suffix="_in").group_by("cluster", "cluster_in").len()
    both = common["len"].to_numpy()
    jaccard = both / (sizes[common["cluster"].to_numpy()] + sizes[common["cluster_in"].to_numpy()] - both)
    related = set(common.filter(pl.Series(jaccard >= MAX_JACCARD, dtype=pl.Boolean))["cluster"].to_list())
    return ids.gather([number for number in np.flatnonzero(is_out).tolist() if number not in related])


def _number_clusters(samples: Samples) -> tuple[pl.Series, npt.NDArray[np.int64]]:
    """Return the cluster ids in order, and of every sample the number of its cluster."""
    ranks = samples["cluster_id"].rank("dense").cast(pl.Int64).to_numpy() - 1
    return samples["cluster_id"].unique().sort(), ranks


def _grams(samples: Samples, numbers: npt.NDArray[np.int64], length: int) -> _Grams:
    """Hash every run of `length` tokens in each document's windows, joined where nothing was left out between them."""
    placed = samples.with_columns(number=pl.Series(numbers)).sort("doc_id", "start")
    follows = (pl.col("start") == pl.col("end").shift()) & (pl.col("doc_id") == pl.col("doc_id").shift())
    run = placed.select((~follows.fill_null(False)).cum_sum())["start"].to_numpy()
    counts = placed["num_tokens"].to_numpy()
    tokens = placed["tokens"].explode().to_numpy()
    number = max(len(tokens) - length + 1, 0)
    runs = np.repeat(run, counts)
    whole = runs[:number] == runs[length - 1 : length - 1 + number]
    hashes = _fold([tokens[at : at + number][whole] for at in range(length)])
    return _Grams(hashes, np.repeat(placed["number"].to_numpy(), counts)[:number][whole])


def _fold(columns: list[npt.NDArray[np.int32]] | npt.NDArray[np.int32]) -> UInt64s:
    """Hash rows of tokens given as columns: equal rows, and next to certainly only they, have equal hashes."""
    hashes = np.zeros(len(columns[0]), dtype=np.uint64)
    for column in columns:
        hashes = mix(hashes ^ mix(column.astype(np.uint64) + np.uint64(1)))
    return hashes


def _root(parents: list[int], number: int) -> int:
    while parents[number] != number:
        parents[number] = parents[parents[number]]
        number = parents[number]
    return number
