"""Lay out charts as plain geometry: scales, ticks, axes and marks, no markup.

A figure is a list of shapes (tag, attributes, text) that a template prints with escaping, plus its words and its data, so that nobody
needs the picture to read it. Series differ by colour, by dash, by marker and by hatching at once. Coordinates are SVG user units, about
one CSS pixel; y grows downwards.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.report.wording import count, decimal, percent

WIDTH = 432
WIDE = 880
HEIGHT = 264
CHARACTER = 6.1
"""Mean width of a character of the chart's small type, to lay out legends without measuring."""


@dataclass(frozen=True)
class Shape:
    """Name one SVG element; the attribute `class` carries the style."""

    tag: str
    attributes: dict[str, str]
    text: str = ""


@dataclass(frozen=True)
class Figure:
    """Hold one chart: words first, then geometry, then the data as a table of ready-made text."""

    key: str
    title: str
    finding: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    shapes: tuple[Shape, ...]
    width: int = WIDTH
    height: int = HEIGHT


@dataclass(frozen=True)
class Scale:
    """Map values to coordinates, linearly or by powers of ten."""

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def __call__(self, value: float) -> float:
        """Return the coordinate of a value, clamped to the panel."""
        low, high, at = self.low, self.high, value
        if self.is_log:
            low, high, at = math.log10(low), math.log10(high), math.log10(max(value, self.low))
        share = (at - low) / (high - low)
        return self.start + min(max(share, 0.0), 1.0) * (self.end - self.start)

    def ticks(self, wanted: int = 5) -> list[float]:
        """Return round values inside the scale's range."""
        return _log_ticks(self.low, self.high) if self.is_log else _linear_ticks(self.low, self.high, wanted)


def _linear_ticks(low: float, high: float, wanted: int) -> list[float]:
    rough = (high - low) / wanted
    magnitude = 10.0 ** math.floor(math.log10(rough))
    step = next(nice * magnitude for nice in (1, 2, 5, 10) if nice * magnitude >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(index * step, 12) for index in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for per_decade in ((1, 2, 5), (1, 3), (1,)):
        ticks = [nice * 10.0**decade for decade in decades for nice in per_decade]
        inside = [tick for tick in ticks if low * 0.999 <= tick <= high * 1.001]
        if len(inside) <= 7:
            break
    return inside[:: math.ceil(len(inside) / 6)] if len(inside) > 7 else inside


def linear(values: Iterable[float], start: float, end: float, *, from_zero: bool = False, pad: float = 0.06) -> Scale:
    """Return a scale that holds all values with some air, starting at 0 on demand."""
    known = list(values) or [0.0, 1.0]
    low, high = min(known), max(known)
    if from_zero:
        low, high = min(low, 0.0), max(high, 0.0)
    air = (high - low) * pad or abs(high) * 0.1 or 1.0
    return Scale(low if from_zero and low == 0.0 else low - air, high + air, start, end)


def logarithmic(values: Iterable[float], start: float, end: float, *, lowest: float = 0.0) -> Scale:
    """Return a scale by powers of ten that holds all positive values with some air."""
    known = [value for value in values if value > 0] or [1.0, 10.0]
    low, high = min(known), max(known)
    if high < 4 * low:  # wide enough to hold one of 1, 2, 5
        middle = math.sqrt(low * high)
        low, high = middle / 2, middle * 2
    air = (high / low) ** 0.05
    return Scale(lowest or low / air, high * air, start, end, is_log=True)


@dataclass
class Panel:
    """Collect a chart's shapes on two axes: `left`, `right`, `top` and `bottom` are the plotting area's edges."""

    width: int = WIDTH
    height: int = HEIGHT
    left: float = 52
    right: float = WIDTH - 20
    top: float = 34
    bottom: float = HEIGHT - 42
    shapes: list[Shape] = field(default_factory=list)

    def add(self, tag: str, style: str, text: str = "", **attributes: Any) -> None:
        """Add one element; underscores in names become hyphens, numbers are rounded to a tenth."""
        named = {key.strip("_").replace("_", "-"): _number(value) for key, value in attributes.items()}
        self.shapes.append(Shape(tag, {"class": style, **named}, text))

    def axes(self, x: Scale, y: Scale, labels: tuple[str, str], say: tuple[Callable[[float], str], Callable[[float], str]]) -> None:
        """Draw horizontal grid lines, ticks and both labels; the y label stands level above the axis, where it can be read."""
        for tick in y.ticks(4):
            self.add("line", "grid", x1=self.left, x2=self.right, y1=y(tick), y2=y(tick))
            self.add("text", "tick end", say[1](tick), x=self.left - 7, y=y(tick) + 4)
        for tick in x.ticks(5):
            self.add("line", "axis", x1=x(tick), x2=x(tick), y1=self.bottom, y2=self.bottom + 4)
            self.add("text", "tick middle", say[0](tick), x=x(tick), y=self.bottom + 18)
        self.add("line", "axis", x1=self.left, x2=self.right, y1=self.bottom, y2=self.bottom)
        self.add("text", "label end", labels[0], x=self.right, y=self.height - 6)
        self.add("text", "label", labels[1], x=2, y=14)

    def small_axes(self, x: Scale, y: Scale, title: str, say: Callable[[float], str]) -> None:
        """Draw one of several plots that stand side by side: its title, and ticks at both ends and the middle."""
        self.add("text", "row", title, x=x.start, y=y.end - 10)
        for tick in y.ticks(2):
            self.add("line", "grid", x1=x.start, x2=x.end, y1=y(tick), y2=y(tick))
            if x.start == self.left:
                self.add("text", "tick end", say(tick), x=x.start - 7, y=y(tick) + 4)
        for tick in x.ticks(2):
            self.add("text", "tick middle", say(tick), x=x(tick), y=y.start + 18)
        self.add("line", "axis", x1=x.start, x2=x.end, y1=y.start, y2=y.start)

    def line(self, points: Sequence[tuple[float, float]], series: int, *, is_marked: bool = True) -> None:
        """Draw a curve through coordinates, marked with the series' sign where there is room for it."""
        path = "M" + "L".join(f"{_number(x)} {_number(y)}" for x, y in points)
        self.add("path", f"line s{series}", d=path)
        gap, last = (self.right - self.left) / 10 if len(points) > 8 else 0.0, -math.inf
        for x, y in points if is_marked else ():
            if x - last >= gap:
                self.marker(x, y, series)
                last = x

    def area(self, upper: Sequence[tuple[float, float]], lower: Sequence[tuple[float, float]], series: int) -> None:
        """Fill the space between two curves: an interval."""
        outline = [*upper, *reversed(lower)]
        self.add("path", f"area s{series}", d="M" + "L".join(f"{_number(x)} {_number(y)}" for x, y in outline) + "Z")

    def marker(self, x: float, y: float, series: int, style: str = "mark", size: float = 3.6) -> None:
        """Draw the series' own sign: circle, square, triangle, diamond, cross."""
        outlines = {
            2: f"M{x - size} {y - size}h{2 * size}v{2 * size}h{-2 * size}Z",
            3: f"M{x} {y - 1.3 * size}L{x + 1.2 * size} {y + size}H{x - 1.2 * size}Z",
            4: f"M{x} {y - 1.4 * size}L{x + 1.4 * size} {y}L{x} {y + 1.4 * size}L{x - 1.4 * size} {y}Z",
            5: f"M{x - size} {y - size}L{x + size} {y + size}M{x - size} {y + size}L{x + size} {y - size}",
        }
        if series in outlines:
            self.add("path", f"{style} s{series}", d=_rounded(outlines[series]))
        else:
            self.add("circle", f"{style} s{series}", cx=x, cy=y, r=size)

    def whisker(self, x: float, low: float, high: float, series: int) -> None:
        """Draw a vertical interval."""
        self.add("path", f"whisker s{series}", d=_rounded(f"M{x} {low}V{high}M{x - 4} {low}h8M{x - 4} {high}h8"))

    def bars(self, values: Sequence[tuple[str, float, str]], *, step: int = 24) -> None:
        """Draw level bars from zero, each with its name before it and its value, in words, behind it."""
        most = max((value for _, value, _ in values), default=0.0) or 1.0
        x = Scale(0, most, self.left, self.right)
        for index, (name, value, words) in enumerate(values):
            top = self.top + step * index
            self.add("text", "row end", clip(name, int(self.left / 7)), x=self.left - 10, y=top + 13)
            self.add("rect", "bar s1", x=self.left, y=top + 2, width=max(x(value) - self.left, 1.0), height=step - 10)
            self.add("text", "tick", words, x=x(value) + 6, y=top + 13)

    def columns(self, x: Scale, y: Scale, bins: Sequence[Mapping[str, Any]], key: str, series: int) -> None:
        """Draw a histogram's bars, a hair apart."""
        for bin_ in bins:
            if bin_[key]:
                top, left = y(bin_[key]), x(bin_["low"])
                width = max(x(bin_["high"]) - left - 1.5, 1.0)
                self.add("rect", f"bar s{series}", x=left + 0.75, y=top, width=width, height=self.bottom - top)

    @classmethod
    def with_legend(cls, names: Sequence[str]) -> Panel:
        """Return a panel whose legend stands between the y label and the plot, in as many rows as the names need."""
        rows: list[list[tuple[int, str]]] = [[]]
        for series, name in enumerate(names, start=1):
            if sum(len(other) * CHARACTER + 34 for _, other in (*rows[-1], (series, name))) > WIDTH - 20:
                rows.append([])
            rows[-1].append((series, name))
        extra = 18 * len(rows)
        panel = cls(height=HEIGHT + extra, top=34 + extra, bottom=HEIGHT - 42 + extra)
        for index, row in enumerate(rows):
            panel.legend([name for _, name in row], x=2, y=34.0 + 18 * index, first=row[0][0])
        return panel

    def legend(self, names: Sequence[str], *, x: float | None = None, y: float = 14, kind: str = "line", first: int = 1) -> None:
        """Name the series in one row, signs included, right-aligned unless x is given."""
        lengths = [len(name) * CHARACTER + 34 for name in names]
        at = self.right - sum(lengths) + 8 if x is None else x
        for series, (name, length) in enumerate(zip(names, lengths, strict=True), start=first):
            if kind == "bar":
                self.add("rect", f"bar s{series}", x=at, y=y - 9, width=18, height=10)
            else:
                self.add("line", f"line s{series}", x1=at, x2=at + 20, y1=y - 4, y2=y - 4)
                self.marker(at + 10, y - 4, series)
            self.add("text", "key", name, x=at + 24, y=y)
            at += length

    def rule(self, at: float, text: str, *, is_low: bool = False) -> None:
        """Draw a vertical reference line with its name, at the foot of the plot where the head is busy."""
        self.add("line", "rule", x1=at, x2=at, y1=self.top, y2=self.bottom)
        is_left = at > (self.left + self.right) / 2
        y = self.bottom - 8 if is_low else self.top + 9
        self.add("text", "note end" if is_left else "note", text, x=at - 5 if is_left else at + 5, y=y)

    def figure(self, key: str, title: str, finding: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> Figure:
        """Close the panel as a figure with its words and its data."""
        table = tuple(tuple(row) for row in rows)
        return Figure(key, title, finding, tuple(columns), table, tuple(self.shapes), self.width, self.height)


def _number(value: Any) -> str:
    return f"{value:.1f}".removesuffix(".0") if isinstance(value, float) else str(value)


def _rounded(path: str) -> str:
    """Round the long decimals that f-strings leave in a path."""
    pieces, digits = [], ""
    for character in path + " ":
        if character.isdigit() or character in ".-":
            digits += character
            continue
        if digits:
            pieces.append(_number(float(digits)))
            digits = ""
        pieces.append(character)
    return "".join(pieces).rstrip()


def short_count(value: float) -> str:
    """Say a count on an axis: 1,000 or 2.5 M."""
    for unit, name in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if abs(value) >= unit:
            return decimal(value / (1e3 if unit == 1e4 else unit)) + name
    return count(value) if value == round(value) else decimal(value)


def short_percent(value: float) -> str:
    """Say a share on an axis."""
    return percent(value).replace(".0%", "%")


def clip(text: str, length: int) -> str:
    """Shorten a name that would leave the drawing; the table beside it has it whole."""
    return text if len(text) <= length else text[: length - 1] + "…"
