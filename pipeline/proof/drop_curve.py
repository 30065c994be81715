"""The free-token curve: what dropping tokens by each criterion costs on held-out text, beside dropping as many at random."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl

from pipeline.proof.noise import mean_difference, paired_noise
from pipeline.risk.linear import Array

NONE, RANDOM = "none", "random"
AIM_SHARE = 0.1
AIM_COST = 0.5
AIM_REMOVED = 3.0
"""Aim: 10% of tokens at less than half of random's cost, or 3 times the memorization removed per nat. Source: the design's section 5."""


def drop_curve(runs: pl.DataFrame, interval: float) -> list[dict[str, Any]]:
    """Return one entry a scope (natural; all, with plants): cost and memorization removed by criterion and share, and who beats random.

    Cost: held-out loss less that of the undropped run of the same seed, nats per token. Noise is pooled over all of a scope's cells.
    """
    found = []
    for scope in runs["scope"].unique().sort().to_list():
        own = runs.filter(pl.col("scope") == scope)
        found.append({"scope": scope, **_scope(own, interval)})
    return found


def _scope(runs: pl.DataFrame, interval: float) -> dict[str, Any]:
    plain = runs.filter(pl.col("criterion") == NONE)
    raw = plain.sort("seed")["held_out_loss"].to_numpy()
    cells = _cells(runs.filter(pl.col("criterion") != NONE).join(plain, on="seed", suffix="_none"))
    costs = {key: _column(cell, "held_out_loss") for key, cell in cells.items()}
    noise, degrees = paired_noise(list(costs.values()), raw)
    extra = {key: _over_random(costs, cells, key) for key in cells if key[0] != RANDOM and (RANDOM, key[1]) in cells}
    extra_noise, extra_degrees = paired_noise(list(extra.values()), raw)
    rows = []
    for (criterion, share), cell in cells.items():
        cost = mean_difference(costs[criterion, share], noise, degrees, interval)
        removed = _removed(cell, "memorized")
        row: dict[str, Any] = {"criterion": criterion, "share": share, "cost": cost, "memorized_removed": removed}
        row["memorized_removed_by_tokens"] = _removed(cell, "memorized_by_tokens")
        if (criterion, share) in extra:
            row |= _against_random(cost, removed, cells[RANDOM, share], costs[RANDOM, share])
            less = mean_difference(extra[criterion, share], extra_noise, extra_degrees, interval)
            row |= {"cost_over_random": less, "beats_random": less["high"] is not None and less["high"] < 0}
        rows.append(row)
    return {"rows": rows, "seed_noise": noise, **_statement(rows)}


def _cells(joined: pl.DataFrame) -> dict[tuple[str, float], pl.DataFrame]:
    grouped = joined.sort("criterion", "share", "seed").group_by("criterion", "share", maintain_order=True)
    return {(str(criterion), float(share)): cell for (criterion, share), cell in grouped}


def _column(cell: pl.DataFrame, name: str) -> Array:
    return (cell[name] - cell[f"{name}_none"]).to_numpy().astype(np.float64)


def _removed(cell: pl.DataFrame, name: str) -> float | None:
    change = (cell[f"{name}_none"] - cell[name]).drop_nulls()
    return float(change.to_numpy().mean()) if len(change) else None


def _over_random(costs: dict[tuple[str, float], Array], cells: dict[tuple[str, float], pl.DataFrame], key: tuple[str, float]) -> Array:
    """Return the cost beyond random's of the same seed and share."""
    theirs = dict(zip(cells[RANDOM, key[1]]["seed"].to_list(), costs[RANDOM, key[1]].tolist(), strict=True))
    own = zip(cells[key]["seed"].to_list(), costs[key].tolist(), strict=True)
    return np.array([cost - theirs[seed] for seed, cost in own if seed in theirs], np.float64)


def _against_random(cost: dict[str, Any], removed: float | None, random: pl.DataFrame, random_cost: Array) -> dict[str, Any]:
    at_random, gone = float(random_cost.mean()), _removed(random, "memorized")
    ratio = None
    if removed is not None and gone is not None and cost["value"] > 0 and at_random > 0 and gone > 0:
        ratio = (removed / cost["value"]) / (gone / at_random)
    return {"share_of_random_cost": cost["value"] / at_random if at_random > 0 else None, "removed_per_nat_over_random": ratio}


def _statement(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Say whether any criterion beats random beyond noise, and whether the aim is reached at AIM_SHARE."""
    compared = [row for row in rows if "beats_random" in row]
    better = sorted({row["criterion"] for row in compared if row["beats_random"]})
    # ratios of costs that noise could have made are no result
    at_aim = [row for row in compared if abs(row["share"] - AIM_SHARE) < 1e-9 and row["beats_random"]]
    cheap = [row["criterion"] for row in at_aim if (row["share_of_random_cost"] or 0.0) < AIM_COST]
    keen = [row["criterion"] for row in at_aim if (row["removed_per_nat_over_random"] or 0.0) >= AIM_REMOVED]
    if not compared or all(row["cost_over_random"]["low"] is None for row in compared):
        text = "The runs cannot tell whether any criterion costs less than dropping at random."
    elif better:
        text = f"Dropping by {', '.join(better)} costs less on held-out text than dropping as many tokens at random."
    else:
        text = "No criterion costs less on held-out text than dropping as many tokens at random, beyond noise."
    return {"beats_random": better, "reaches_aim": sorted({*cheap, *keen}), "enough_data": bool(compared), "sentence": text}
