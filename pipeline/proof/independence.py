"""Refuse a target that a prediction could have looked at: a proxy with the target's split measures the label itself."""

from __future__ import annotations

from itertools import product

import polars as pl

from pipeline.errors import IntegrityError
from pipeline.risk.evidence import MIN_SHARED_CLUSTERS, SHARED_AGREEMENT, Evidence


def check_unseen(proxy: Evidence, target: Evidence) -> None:
    """Refuse a proxy half that takes the same side of the clusters as a target half, or its complement.

    A shared split read .67 where independent ones read .29. Runs that train on all clusters tell nothing of a split and are let through;
    halves with too few common clusters can't be compared. Raises: IntegrityError naming the two runs.
    """
    ours, theirs = _sides(proxy), _sides(target)
    joined = ours.join(theirs, on="cluster_id", suffix="_target") if ours.height and theirs.height else ours.clear()
    if joined.height < MIN_SHARED_CLUSTERS:
        return
    targets = [name if f"{name}_target" not in joined.columns else f"{name}_target" for name in theirs.columns[1:]]
    for half, run in product(ours.columns[1:], targets):
        agreement = float((joined[half] == joined[run]).to_numpy().mean())
        if max(agreement, 1.0 - agreement) >= SHARED_AGREEMENT:
            raise IntegrityError(
                "a proxy and a target share their split, so predictions would have seen the labels",
                where=f"proxy {half} and target {run.removesuffix('_target')}",
                wanted="splits drawn from independent seeds",
                got=f"the same side for {agreement:.0%} of {joined.height} clusters",
                do="train the targets with another seed",
            )


def _sides(evidence: Evidence) -> pl.DataFrame:
    """Return, for clusters that some run of halves trained on, one column a run; runs without an outside are left out."""
    wide = pl.DataFrame(evidence.splits).pivot("proxy", index="cluster_id", values="in_training").sort("cluster_id")
    wide = wide.join(evidence.held_out(), on="cluster_id", how="anti").drop_nulls()
    halves = [name for name in sorted(wide.columns) if name != "cluster_id" and not wide[name].all()]
    return wide.select("cluster_id", *halves)
