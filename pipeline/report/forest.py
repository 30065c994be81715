"""Draw forest plots: a row for each thing measured, a line for its interval, rules for the limits it is held against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.report.plot import WIDE, Figure, Panel, Scale, clip
from pipeline.report.wording import decimal

NAMES = 250
"""Room for the rows' names, left of the first column."""
GAP = 26
SPLIT = 9
"""Distance between two marks of one row."""
STRIP = (150, 30)
Found = Mapping[str, Any]


@dataclass(frozen=True)
class Mark:
    """Place one figure (value, low, high) on a row; an open mark is one that backs no claim."""

    found: Found | None
    series: int = 1
    is_open: bool = False


@dataclass(frozen=True)
class Column:
    """Hold one of the plots that stand side by side: for each row its marks, and the values at which a rule stands."""

    title: str
    rows: Sequence[Sequence[Mark]]
    rules: Sequence[float] = ()
    bounds: tuple[float, float] | None = None
    """Beyond which nothing is drawn: one wild interval would squeeze the others."""
    holds: Sequence[float] = ()
    """What the scale has to hold besides, so that columns of one quantity share a scale."""

    def scale(self, left: float, right: float) -> Scale:
        """Return the scale that holds every mark, interval and rule, within the bounds."""
        marks = [mark.found for row in self.rows for mark in row if mark.found]
        known = [found[key] for found in marks for key in ("value", "low", "high") if found.get(key) is not None]
        known += [*self.rules, *self.holds]
        low, high = min(known, default=0.0), max(known, default=1.0)
        if self.bounds is not None:
            low, high = max(low, self.bounds[0]), min(high, self.bounds[1])
        air = 0.05 * (high - low) or 0.5
        return Scale(low - air, high + air, left, right)


def forest(names: Sequence[str], columns: Sequence[Column], notes: Sequence[str] = (), legend: Sequence[str] = ()) -> Panel:
    """Return a panel with one row a name and the columns side by side; `notes` stand at each row's end."""
    top, step = (62 if legend else 40), max(24, 12 + SPLIT * max((len(row) for column in columns for row in column.rows), default=1))
    ends = 86 if any(notes) else 12
    height = top + step * len(names) + 30
    panel = Panel(width=WIDE, height=height, left=NAMES, right=WIDE - ends, top=top, bottom=height - 30)
    if legend:
        panel.legend(legend, x=2)
    for index, name in enumerate(names):
        panel.add("text", "row end", clip(name, 36), x=NAMES - 14, y=top + step * (index + 0.5) + 4)
    for index, note in enumerate(notes):
        panel.add("text", "tick", note, x=panel.right + 8, y=top + step * (index + 0.5) + 4)
    each = (panel.right - NAMES + GAP) / len(columns)
    for index, column in enumerate(columns):
        _column(panel, column, NAMES + each * index, NAMES + each * (index + 1) - GAP, step)
    return panel


def _column(panel: Panel, column: Column, left: float, right: float, step: float) -> None:
    x = column.scale(left, right)
    panel.add("text", "row", column.title, x=left, y=panel.top - 12)
    for tick in x.ticks():
        panel.add("line", "grid", x1=x(tick), x2=x(tick), y1=panel.top, y2=panel.bottom)
        panel.add("text", "tick middle", decimal(tick), x=x(tick), y=panel.bottom + 18)
    for rule in column.rules:
        panel.add("line", "rule", x1=x(rule), x2=x(rule), y1=panel.top - 6, y2=panel.bottom)
    panel.add("line", "axis", x1=left, x2=right, y1=panel.bottom, y2=panel.bottom)
    for index, row in enumerate(column.rows):
        middle = panel.top + step * (index + 0.5)
        for place, mark in enumerate(row):
            _mark(panel, x, middle + SPLIT * (place - (len(row) - 1) / 2), mark)


def _mark(panel: Panel, x: Scale, y: float, mark: Mark) -> None:
    found = mark.found or {}
    if found.get("value") is None:
        return
    if found.get("low") is not None and found.get("high") is not None:
        panel.add("line", f"whisker s{mark.series}", x1=x(found["low"]), x2=x(found["high"]), y1=y, y2=y)
        for sign, is_beyond, end in (("‹", found["low"] < x.low, x.start), ("›", found["high"] > x.high, x.end)):
            if is_beyond:
                panel.add("text", "tick middle", sign, x=end, y=y + 4)
    panel.marker(x(found["value"]), y, mark.series, "mark open" if mark.is_open else "mark")


def strip(found: Found) -> Figure | None:
    """Draw one bar's figure and interval beside what its limits allow; None without a figure."""
    low, high = found["interval"]
    least, most = found["limit"]
    known = [value for value in (found["value"], low, high, least, most, found["aim"]) if value is not None]
    if found["value"] is None or (least is None and most is None):
        return None
    width, height = STRIP
    panel = Panel(width=width, height=height)
    air = 0.15 * (max(known) - min(known)) or 1.0
    x = Scale(min(known) - air, max(known) + air, 2, width - 2)
    start, end = (2.0 if least is None else x(least)), (width - 2.0 if most is None else x(most))
    panel.add("rect", "area s3", x=start, y=3, width=max(end - start, 1.0), height=24)
    for limit in (least, most):
        if limit is not None:
            panel.add("line", "axis", x1=x(limit), x2=x(limit), y1=1, y2=29)
    panel.add("line", "grid", x1=2, x2=width - 2, y1=15, y2=15)
    _mark(panel, x, 15.0, Mark({"value": found["value"], "low": low, "high": high}))
    return panel.figure("strip", "", "", (), ())
