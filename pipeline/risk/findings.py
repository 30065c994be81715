"""How a popular claim is answered: a figure, its interval, and one of three answers.

`supported`: the whole interval lies beyond the line that the claim draws; `not supported`: it doesn't; `not enough data`: too few
clusters or models to say. Claims are never repeated as facts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pipeline.risk.linear import Array
from pipeline.risk.metrics import NUM_DRAWS, estimate

MIN_CLUSTERS = 50
MIN_REPEATED = 20

Finding = dict[str, Any]
Estimate = dict[str, float | None]
Rows = NDArray[np.int64]
NOTHING: Estimate = {"value": None, "low": None, "high": None}


def answer(claim: str, unit: str, found: Estimate, line: float, number: int, *, enough: bool) -> Finding:
    """Return the figure with its verdict and one plain sentence; `line` is what the interval has to exceed."""
    value, low, high = found["value"], found["low"], found["high"]
    finding: Finding = {"claim": claim, "unit": unit, **found, "line": line, "num_clusters": number}
    if not enough or value is None or low is None or high is None:
        verdict, text = "not enough data", f"{claim}: not enough data on this corpus ({number} clusters)."
    else:
        verdict = "supported" if low > line else "not supported"
        figures = f"{value:.3g} {unit}, {low:.3g} to {high:.3g}; the interval must lie above {line:g}; {number} clusters"
        text = f"{claim}: {verdict} on this corpus ({figures})."
    return finding | {"verdict": verdict, "sentence": text[0].upper() + text[1:]}


def bootstrap(figure: Callable[[Rows], float], number: int, interval: float, rng: np.random.Generator) -> Estimate:
    """Return a figure of rows, with its interval over redraws of them."""
    draws = [np.arange(number), *(rng.integers(0, number, number) for _ in range(NUM_DRAWS))]
    return estimate(np.array([figure(rows) for rows in draws]), interval)


def difference_of_means(first: Array, second: Array, interval: float, rng: np.random.Generator) -> Estimate:
    """Return mean(first) - mean(second), with its interval over redraws of each."""
    draws = [rng.choice(first, len(first)).mean() - rng.choice(second, len(second)).mean() for _ in range(NUM_DRAWS)]
    return estimate(np.array([first.mean() - second.mean(), *draws]), interval)


def slope(x: Array, y: Array) -> float:
    """Return the least-squares slope of y on x; NaN for a constant x."""
    spread = float(((x - x.mean()) ** 2).sum())
    return float(((x - x.mean()) * (y - y.mean())).sum()) / spread if spread > 1e-12 else float("nan")


def share(part: float, whole: float) -> float:
    """Return part over whole; NaN where there is no whole."""
    return float(part / whole) if whole > 1e-9 else float("nan")
