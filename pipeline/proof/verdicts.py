"""One bar: a figure, its interval, the limits it is held against, one of four verdicts, and one plain sentence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MET, MISSED, NOT_ENOUGH, UNRESOLVED = "met", "missed", "not enough data", "cannot be resolved"
NO_FIGURE: Mapping[str, float | None] = {"value": None, "low": None, "high": None}
Bar = dict[str, Any]


@dataclass(frozen=True)
class Limits:
    """Hold what a figure must keep to, both ends allowed; `is_strict`: the lower end is not. `aim` is told, not judged."""

    low: float | None = None
    high: float | None = None
    aim: float | None = None
    is_strict: bool = False

    def hold(self, value: float) -> bool:
        """Say whether a value keeps to the limits."""
        above = self.low is None or (value > self.low if self.is_strict else value >= self.low)
        return above and (self.high is None or value <= self.high)

    def words(self) -> str:
        """Return the limits in words."""
        if self.low is not None and self.high is not None:
            return f"{self.low:g} to {self.high:g}"
        if self.low is not None:
            return f"{'above' if self.is_strict else 'at least'} {self.low:g}"
        return f"at most {self.high:g}"


def hold_to(bar: str, found: Mapping[str, Any] | None, limits: Limits, *, lacking: str | None, verdict: str | None = None) -> Bar:
    """Judge a figure (value, low, high); `lacking` says what stands in the way of judging, None for nothing.

    The figure alone meets or misses; `is_certain` says that its whole interval lies on that side. `verdict` replaces "not enough data"
    where something else stands in the way.
    """
    figure = found if found is not None else NO_FIGURE
    value, low, high = figure["value"], figure["low"], figure["high"]
    if value is None or lacking is not None:
        said, reason, certain = verdict or NOT_ENOUGH, f"; {lacking or 'there is no figure'}", False
    else:
        certain = _is_on_one_side(low, high, limits)
        said = MET if limits.hold(value) else MISSED
        reason = "; its interval reaches over the limit" if low is not None and not certain else ""
    wanted = limits.words() + (f" is asked, {limits.aim:g} the aim" if limits.aim is not None else " is asked")
    return {
        "bar": bar,
        "value": value,
        "interval": [low, high],
        "limit": [limits.low, limits.high],
        "aim": limits.aim,
        "verdict": said,
        "is_certain": certain,
        "sentence": f"{bar}: {said} ({_figure(value, low, high)}; {wanted}{reason}).",
    }


def _is_on_one_side(low: float | None, high: float | None, limits: Limits) -> bool:
    if low is None or high is None:
        return False
    inside = limits.hold(low) and limits.hold(high)
    below = limits.low is not None and high < limits.low
    return inside or below or (limits.high is not None and low > limits.high)


def _figure(value: float | None, low: float | None, high: float | None) -> str:
    if value is None:
        return "no figure"
    return f"{value:.3g}" + (f", interval {low:.3g} to {high:.3g}" if low is not None and high is not None else "")
