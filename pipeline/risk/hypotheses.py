"""Two claims that every audit can put to its corpus: repeats are memorized more, and larger models memorize more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from pipeline.risk.findings import MIN_CLUSTERS, MIN_REPEATED, NOTHING, Finding, Rows, answer, bootstrap, slope
from pipeline.risk.linear import Array
from pipeline.risk.metrics import NUM_DRAWS, estimate

COPY_CLASSES = (("all", 1, None), ("copies 1", 1, 1), ("copies 2-5", 2, 5), ("copies over 5", 6, None))


def duplication(labels: pl.DataFrame, copies: pl.DataFrame, interval: float, rng: np.random.Generator) -> Finding:
    """Ask whether duplication accelerates memorization: the slope of gain on doublings of copies, nats per token a doubling.

    `labels`: one size, with cluster_id and gain; `copies`: cluster_id, copies. Source: Kandpal 2022; Carlini 2023 (log-linear).
    """
    joined = labels.join(copies.select("cluster_id", "copies"), on="cluster_id").sort("cluster_id")
    doublings, gain = joined["copies"].cast(pl.Float64).log(2).to_numpy(), joined["gain"].to_numpy()
    enough = len(gain) >= MIN_CLUSTERS and int((doublings > 0).sum()) >= MIN_REPEATED
    found = bootstrap(lambda rows: slope(doublings[rows], gain[rows]), len(gain), interval, rng) if enough else NOTHING
    return answer("duplication accelerates memorization", "nats per token a doubling of copies", found, 0.0, len(gain), enough=enough)


def scale(
    labels: Sequence[tuple[float, pl.DataFrame]],
    copies: pl.DataFrame,
    planned_parameters: float,
    interval: float,
    rng: np.random.Generator,
) -> Finding:
    """Ask whether memorization grows with model size: the slope of the mean gain per decade of parameters, by class of copies.

    `labels`: (parameters, labels of that size); the clusters labelled at every size are compared. `extrapolated`: the mean gain at the
    planned size along that line. Draws are over clusters and over the two halves of each size's runs (gain_first, gain_second).
    Source: Carlini 2023; Tirumala 2022.
    """
    sizes = np.log10([size for size, _ in labels])
    classes: list[dict[str, Any]] = []
    if len(labels) > 1:
        table = _common([frame for _, frame in labels]).join(copies.select("cluster_id", "copies"), on="cluster_id").sort("cluster_id")
        for name, least, most in COPY_CLASSES:
            inside = table.filter((pl.col("copies") >= least) & (pl.col("copies") <= (most or np.inf)))
            classes.append({"class": name, **_scale_of(inside, sizes, float(np.log10(planned_parameters)), interval, rng)})
    whole: dict[str, Any] = classes[0] if classes else {"slope": NOTHING, "num_clusters": 0, "enough_data": False}
    finding = answer(
        "memorization grows with model size",
        "nats per token a decade of parameters",
        whole["slope"],
        0.0,
        whole["num_clusters"],
        enough=whole["enough_data"],
    )
    return finding | {"sizes": [size for size, _ in labels], "planned_parameters": planned_parameters, "classes": classes}


def _common(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """Return the clusters labelled at every size, columns first_i and second_i; a missing half is its size's whole gain."""
    halves = [
        frame.select(
            "cluster_id",
            pl.coalesce("gain_first", "gain").alias(f"first_{at}"),
            pl.coalesce("gain_second", "gain").alias(f"second_{at}"),
        )
        for at, frame in enumerate(frames)
    ]
    table = halves[0]
    for frame in halves[1:]:
        table = table.join(frame, on="cluster_id")
    return table


def _scale_of(table: pl.DataFrame, sizes: Array, planned: float, interval: float, rng: np.random.Generator) -> dict[str, Any]:
    number = table.height
    if number < MIN_CLUSTERS:
        return {"num_clusters": number, "enough_data": False, "slope": NOTHING, "extrapolated": NOTHING}
    halves = np.stack([table.select(f"first_{at}", f"second_{at}").to_numpy() for at in range(len(sizes))], axis=2)

    def line(rows: Rows, weights: Array) -> tuple[float, float]:
        means = np.einsum("nhs,hs->s", halves[rows], weights) / len(rows)
        rise = slope(sizes, means)
        return rise, float(means.mean() + rise * (planned - sizes.mean()))

    even = np.full((2, len(sizes)), 0.5)
    redrawn = [line(rng.integers(0, number, number), rng.multinomial(2, [0.5, 0.5], len(sizes)).T / 2.0) for _ in range(NUM_DRAWS)]
    draws = np.array([line(np.arange(number), even), *redrawn])
    rise, extrapolated = (estimate(draws[:, at], interval) for at in range(2))
    return {"num_clusters": number, "enough_data": True, "slope": rise, "extrapolated": extrapolated}
