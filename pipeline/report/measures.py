"""Turn columns into the small JSON values that a summary is made of: rounded numbers, intervals, histograms, short lists."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

MAX_POINTS = 200
"""Points kept of any curve: beyond a few per pixel they only make the file larger."""

Floats = npt.NDArray[np.float64]


def tidy(value: Any) -> Any:
    """Return a JSON value with floats at six significant digits and NaN or infinity as None, keys as text, deeply."""
    if isinstance(value, Mapping):
        return {str(key): tidy(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [tidy(item) for item in value]
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).hex()
    if isinstance(value, (bool, int, str)) or value is None:
        return value
    if isinstance(value, np.generic):
        return tidy(value.item())
    if isinstance(value, float):
        return _six_digits(value)
    return str(value)


def _six_digits(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


def interval(raw: Any) -> dict[str, float | None]:
    """Return `value`, `low` and `high` of a mapping or a bare number; what is absent is None, which the page calls not measured."""
    if isinstance(raw, Mapping):
        return {key: tidy(raw.get(key)) for key in ("value", "low", "high")}
    return {"value": tidy(raw), "low": None, "high": None}


def share(part: float, whole: float) -> float | None:
    """Return part / whole, None where there is no whole."""
    return tidy(part / whole) if whole else None


def histogram(values: Floats, edges: Floats) -> list[dict[str, float | int]]:
    """Count values per bin; bins hold their lower edge, the last one both."""
    counts, _ = np.histogram(values[np.isfinite(values)], bins=edges)
    return [
        {"low": tidy(float(low)), "high": tidy(float(high)), "count": int(count)}
        for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True)
    ]


def thin(points: Sequence[Sequence[float]], limit: int = MAX_POINTS) -> list[list[float]]:
    """Return at most `limit` points: means over consecutive groups of nearly equal length, in the order given."""
    kept = [[float(value) for value in point] for point in points if all(_is_number(value) for value in point)]
    if len(kept) <= limit:
        return kept
    groups = np.array_split(np.asarray(kept, dtype=np.float64), limit)
    return [[float(value) for value in group.mean(axis=0)] for group in groups]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def numbers(raw: Any, *keys: str) -> list[dict[str, Any]]:
    """Return those mappings of a list whose values under `keys` are all finite numbers: a guard before drawing."""
    rows = raw if isinstance(raw, (list, tuple)) else []
    return [dict(row) for row in rows if isinstance(row, Mapping) and all(_is_number(row.get(key)) for key in keys)]
