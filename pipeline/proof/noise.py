"""How sure a difference between runs is, when there are only a few of each: pooled noise, and how many runs would settle it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import t as student

from pipeline.risk.linear import Array

MIN_DEGREES = 2
"""Degrees of freedom from which paired differences speak for themselves; below, the raw arm's spread over seeds stands in."""


def paired_noise(differences: Sequence[Array], raw: Array) -> tuple[float | None, int]:
    """Return the standard deviation of one paired difference and its degrees of freedom; None where nothing measures it.

    `differences`: for each pair of arms compared, one value a seed; their spreads are pooled. With fewer than MIN_DEGREES degrees the
    runs of the raw arm (one value a seed) stand in: sqrt(2) x their standard deviation, which no pairing has made smaller.
    """
    degrees = sum(len(values) - 1 for values in differences if len(values))
    if degrees >= MIN_DEGREES:
        squares = sum(float(((values - values.mean()) ** 2).sum()) for values in differences if len(values))
        return math.sqrt(squares / degrees), degrees
    if len(raw) > MIN_DEGREES:
        return math.sqrt(2.0) * float(np.std(raw, ddof=1)), len(raw) - 1
    return None, 0


def mean_difference(values: Array, noise: float | None, degrees: int, interval: float) -> dict[str, Any]:
    """Return the mean over seeds, its standard error, and Student's interval; None where noise is unknown."""
    value = float(values.mean()) if len(values) else None
    if value is None or noise is None:
        return {"value": value, "low": None, "high": None, "standard_error": None, "num_seeds": len(values)}
    error = noise / math.sqrt(len(values))
    reach = float(student.ppf(0.5 + interval / 2, degrees)) * error
    return {"value": value, "low": value - reach, "high": value + reach, "standard_error": error, "num_seeds": len(values)}


def runs_needed(noise: float | None, bar: float) -> int | None:
    """Return how many paired runs bring twice the standard error within a bar; None where noise is unknown."""
    return None if noise is None else max(2, math.ceil((2 * noise / bar) ** 2))


def is_resolved(difference: dict[str, Any], bar: float) -> bool:
    """Say whether twice the standard error lies within the bar. Source: the design's section 5."""
    error = difference["standard_error"]
    return error is not None and 2 * error <= bar
