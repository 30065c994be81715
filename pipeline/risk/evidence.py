"""Look at the proxies' tables cluster by cluster: what one proxy size saw, said and learnt.

Label halves are never part of a view: features and labels come from proxies with independent splits, or the label would predict itself.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import product

import polars as pl

from pipeline.errors import IntegrityError
from pipeline.tables import SINK_GAPS, Extractions, Proxies, ProxySignals, ProxySplits, Samples, SinkGaps

MIN_SHARED_CLUSTERS = 20
SHARED_AGREEMENT = 0.95
"""Two independent halves of 20 clusters agree, or disagree, on this share about once in 25,000 draws."""


@dataclass(frozen=True)
class Evidence:
    """Bundle the tables that the proxies left behind."""

    samples: Samples
    splits: ProxySplits
    proxies: Proxies
    signals: ProxySignals
    extractions: Extractions
    suffix_tokens: int
    sink_gaps: SinkGaps = field(default_factory=SINK_GAPS.empty)

    def sizes(self, role: str) -> list[int]:
        """List the ladder ranks that proxies of a role have, ascending."""
        return sorted(self.proxies.filter(pl.col("role") == role)["size"].unique().to_list())

    def num_parameters(self, size: int) -> int:
        """Return the non-embedding parameters of a ladder rank."""
        return int(self.proxies.filter(pl.col("size") == size)["num_parameters"].max())  # type: ignore[arg-type]

    @property
    def context(self) -> int:
        """Tokens of a whole window, 1 without samples."""
        return max(self.samples["num_tokens"].to_list(), default=1)

    def windows(self) -> pl.DataFrame:
        """Return each cluster's distinct windows: cluster_id, window_id, num_tokens, is_shared with another cluster."""
        distinct = pl.DataFrame(self.samples).group_by("cluster_id", "window_id").agg(pl.col("num_tokens").first())
        return distinct.with_columns(is_shared=pl.len().over("window_id") > 1).sort("cluster_id", "window_id")

    def held_out(self) -> pl.DataFrame:
        """Return the clusters (one column, cluster_id) that no proxy trained on."""
        seen = pl.DataFrame(self.splits).group_by("cluster_id").agg(pl.col("in_training").any())
        return seen.filter(~pl.col("in_training")).select("cluster_id").sort("cluster_id")

    def of(self, role: str, size: int) -> pl.DataFrame:
        """Return the proxies of a role and size: columns proxy, cluster_id, in_training."""
        chosen = self.proxies.filter((pl.col("role") == role) & (pl.col("size") == size)).select("proxy")
        return pl.DataFrame(self.splits).join(chosen, on="proxy", how="semi").select("proxy", "cluster_id", "in_training")

    def probes(self, role: str, size: int, *, last: bool = True) -> pl.DataFrame:
        """Return probes by cluster, window and proxy (the last step only, or all) with whether the proxy trained on the cluster."""
        probes = self.signals.filter(pl.col("phase") == "probe").drop("phase").rename({"sample_id": "window_id"})
        if last:
            probes = probes.filter(pl.col("step") == pl.col("step").max().over("proxy"))
        return self._by_cluster(probes, role, size)

    def recitals(self, role: str, size: int) -> pl.DataFrame:
        """Return extractions by cluster, window and proxy with whether the proxy trained on the cluster."""
        return self._by_cluster(pl.DataFrame(self.extractions).rename({"sample_id": "window_id"}), role, size)

    def exposures(self, size: int) -> pl.DataFrame:
        """Return the losses that the full proxy of a size logged before its updates: cluster_id, sample_id, window_id, step, loss."""
        rows = self.signals.filter(pl.col("phase") == "exposure").select("sample_id", "proxy", "step", "loss")
        placed = rows.join(pl.DataFrame(self.samples).select("sample_id", "window_id", "cluster_id"), on="sample_id")
        full = self.of("full", size).filter("in_training")
        return placed.join(full, on=["proxy", "cluster_id"]).sort("cluster_id", "step", "loss")

    def unseen(self, size: int) -> pl.DataFrame:
        """Return the loss of each held-out cluster at every look and probe of a size's full proxy: cluster_id, step, loss.

        Windows that other clusters share are left out, since those may be trained on.
        """
        looks = self.signals.filter(pl.col("phase").is_in(["unseen", "probe"])).rename({"sample_id": "window_id"})
        rows = self._by_cluster(looks.select("window_id", "proxy", "step", "loss"), "full", size).filter(~pl.col("is_shared"))
        held_out = rows.join(self.held_out(), on="cluster_id", how="semi")
        means = held_out.group_by("cluster_id", "step", maintain_order=True).agg(pl.col("loss").cast(pl.Float64).mean())
        return means.sort("cluster_id", "step")

    def forgotten(self) -> pl.DataFrame:
        """Return how windows' losses changed when halves went on without them: cluster_id, proxy, in_training, is_shared, rise."""
        after = self.signals.filter(pl.col("phase") == "forgetting").rename({"sample_id": "window_id"})
        before = self.probes("feature_half", 0)
        both = before.join(after.select("window_id", "proxy", after="loss"), on=["window_id", "proxy"])
        rises = both.with_columns(rise=pl.col("after").cast(pl.Float64) - pl.col("loss").cast(pl.Float64))
        return rises.select("cluster_id", "proxy", "in_training", "is_shared", "rise").sort("cluster_id", "proxy", "rise")

    def sinks(self) -> pl.DataFrame:
        """Return what a MemSinks proxy says of each cluster; no rows where none was trained.

        Columns: cluster_id, is_held_out, and for each mask (own, off, other) MASK_loss, the mean over distinct windows in nats per
        token, and MASK_recited, whether some window's whole suffix is the argmax, null where all windows are too short.
        """
        owners = pl.DataFrame(self.samples).select("sample_id", "cluster_id")
        rows = pl.DataFrame(self.sink_gaps).join(owners, on="sample_id").sort("cluster_id", "mask", "loss", "sample_id")
        recited = (pl.col("memorization_score") >= 1.0).max()
        values = rows.group_by("cluster_id", "mask", maintain_order=True).agg(loss=pl.col("loss").cast(pl.Float64).mean(), recited=recited)
        wide = rows.select("cluster_id").unique().sort("cluster_id")
        for mask in ("own", "off", "other"):
            one = values.filter(pl.col("mask") == mask).drop("mask").rename({"loss": f"{mask}_loss", "recited": f"{mask}_recited"})
            wide = wide.join(one, on="cluster_id", how="left")
        unseen = self.held_out().with_columns(is_held_out=pl.lit(True))
        return wide.join(unseen, on="cluster_id", how="left").with_columns(pl.col("is_held_out").fill_null(False)).sort("cluster_id")

    def _by_cluster(self, rows: pl.DataFrame, role: str, size: int) -> pl.DataFrame:
        placed = self.of(role, size).join(self.windows(), on="cluster_id").join(rows, on=["proxy", "window_id"])
        # ids follow file order; values don't: sums taken in this order are the same however rows are numbered
        values = ("step", "loss", "absorption", "spillover", "suffix_log_prob")
        return placed.sort("cluster_id", "proxy", *(name for name in values if name in placed.columns))


def check_independence(evidence: Evidence) -> None:
    """Refuse feature halves and label halves that share a split: a shared split read .67 where independent ones read .29.

    Raises: IntegrityError naming the two proxies.
    """
    wide = (
        pl.DataFrame(evidence.splits)
        .pivot("proxy", index="cluster_id", values="in_training")
        .join(evidence.held_out(), on="cluster_id", how="anti")
    )
    if wide.height < MIN_SHARED_CLUSTERS:
        return
    roles = {role: evidence.proxies.filter(pl.col("role") == role)["proxy"].sort().to_list() for role in ("feature_half", "label_half")}
    for feature, label in product(roles["feature_half"], roles["label_half"]):
        agreement = float((wide[feature] == wide[label]).mean() or 0.0)
        if max(agreement, 1.0 - agreement) >= SHARED_AGREEMENT:
            raise IntegrityError(
                "a feature proxy and a label proxy share their split, so features would leak the labels",
                where=f"proxy_splits, proxies {feature} and {label}",
                wanted="independent halves",
                got=f"the same side for {agreement:.0%} of clusters",
                do="draw the halves of each role from its own seed",
            )
