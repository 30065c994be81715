"""Figures as the results hold them: JSON values, rounded once."""

from __future__ import annotations

from typing import Any

import numpy as np

DECIMALS = 6


def tidy(value: Any) -> Any:
    """Return a tree of results as JSON values: floats rounded, those that are not finite null, numpy's own types as Python's."""
    if isinstance(value, dict):
        return {str(key): tidy(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [tidy(item) for item in value]
    if isinstance(value, np.generic):
        return tidy(value.item())
    if isinstance(value, float):
        return round(value, DECIMALS) if np.isfinite(value) else None
    return value
