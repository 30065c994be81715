"""What the targets memorized: one gain a cluster and pair of complementary runs, and the label that all of them give together."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import polars as pl
from numpy.typing import NDArray

from pipeline.config import RiskConfig
from pipeline.errors import IntegrityError
from pipeline.risk.evidence import Evidence
from pipeline.risk.labels import label_clusters, model_outcomes
from pipeline.risk.linear import Array
from pipeline.tables import Extractions, Proxies, ProxySignals, ProxySplits

ROLE = "label_half"


@dataclass(frozen=True)
class TargetLabels:
    """Hold the labels of n clusters from P pairs of runs.

    `frame`: the columns of `pipeline.risk.labels.LABELS` in the order of cluster_id. `pair_gains (n, P)`: nats per token, the side that
    trained on the cluster less the side that did not. `null`: the gain that a memorized cluster exceeds.
    """

    frame: pl.DataFrame
    pair_gains: Array
    null: float

    def where(self, kept: NDArray[np.bool_]) -> TargetLabels:
        """Return the labels of the clusters that a mask keeps."""
        return replace(self, frame=self.frame.filter(pl.Series(kept)), pair_gains=self.pair_gains[kept])


def label_targets(target: Evidence, config: RiskConfig) -> TargetLabels:
    """Label every cluster that each pair of target runs tells apart, by the same rules as the proxies' labels.

    A run whose complement is missing is left out. Raises: IntegrityError when no pair is whole.
    """
    pairs = complementary_pairs(target)
    if not pairs:
        raise IntegrityError(
            "no two target runs are complementary halves, so nothing can be labelled",
            where="the target's proxy_splits",
            wanted="pairs of runs such as target-0a and target-0b",
            got=", ".join(target.proxies["proxy"].sort().to_list()) or "no run",
            do="train both sides of at least two pairs",
        )
    whole = _only(target, [proxy for pair in pairs for proxy in pair])
    size = whole.sizes(ROLE)[-1]
    labels, nulls = label_clusters(whole, config)
    gains = pair_gains(model_outcomes(whole, size, config), pairs)
    frame = labels.filter(pl.col("size") == size).join(gains, on="cluster_id").sort("cluster_id")
    columns = [f"pair_{at}" for at in range(len(pairs))]
    return TargetLabels(frame.drop(columns), frame.select(columns).to_numpy(), nulls[size])


def complementary_pairs(target: Evidence) -> list[tuple[str, str]]:
    """List runs of the largest label size whose halves are each other's complement, each run in one pair, in the order of names."""
    size = max(target.sizes(ROLE), default=-1)
    wide = target.of(ROLE, size).join(target.held_out(), on="cluster_id", how="anti")
    sides = {key[0]: rows.sort("cluster_id")["in_training"] for key, rows in wide.group_by("proxy")}
    pairs: list[tuple[str, str]] = []
    free = sorted(str(name) for name in sides)
    while free:
        first = free.pop(0)
        partner = next((name for name in free if bool((sides[first] != sides[name]).all())), None)
        if partner is not None:
            free.remove(partner)
            pairs.append((first, partner))
    return pairs


def pair_gains(outcomes: pl.DataFrame, pairs: list[tuple[str, str]]) -> pl.DataFrame:
    """Return cluster_id and one column a pair: log-probability per token where trained on less where not; clusters with all pairs.

    `outcomes` is the frame of `pipeline.risk.labels.model_outcomes`.
    """
    of_pair = pl.DataFrame([(name, f"pair_{at}") for at, pair in enumerate(pairs) for name in pair], schema=["proxy", "pair"], orient="row")
    log_prob, inside = pl.col("log_prob"), pl.col("in_training")
    gaps = (
        outcomes.join(of_pair, on="proxy")
        .group_by("cluster_id", "pair")
        .agg(gap=log_prob.filter(inside).mean() - log_prob.filter(~inside).mean())
    )
    return gaps.pivot("pair", index="cluster_id", values="gap").drop_nulls().sort("cluster_id")


def _only(target: Evidence, names: list[str]) -> Evidence:
    kept = pl.col("proxy").is_in(names)
    return replace(
        target,
        splits=ProxySplits(target.splits.filter(kept)),
        proxies=Proxies(target.proxies.filter(kept)),
        signals=ProxySignals(target.signals.filter(kept)),
        extractions=Extractions(target.extractions.filter(kept)),
    )
