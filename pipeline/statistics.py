"""Intervals that more than one stage states."""

from __future__ import annotations

import math


def wilson_interval(successes: float, n: int, z: float = 1.959964) -> tuple[float, float]:
    """Return the interval of a share in [0, 1], 95% by default; (0, 1) for no observations.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".
    """
    if n == 0:
        return 0.0, 1.0
    share, spread = successes / n, z * z / n
    centre = share + spread / 2
    half = z * math.sqrt(share * (1 - share) / n + spread / (4 * n))
    # exact at the ends, where rounding would leave a hair
    low = (centre - half) / (1 + spread) if successes > 0 else 0.0
    high = (centre + half) / (1 + spread) if successes < n else 1.0
    return max(0.0, low), min(1.0, high)
