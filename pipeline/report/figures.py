"""Draw the charts of the report that describe the corpus: flow of rows, copies, overlap, decisions.

Every function takes a piece of the summary and returns a `Figure`, or None where there is nothing to draw; none computes a finding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.report.plot import WIDE, WIDTH, Figure, Panel, Scale, clip, linear, logarithmic, short_count, short_percent
from pipeline.report.wording import count, decimal, percent, size, spread

STEP = 44
MAX_BARS = 12
SHIFTED = {
    "source": "Whom the decisions hit: sources",
    "language": "Whom the decisions hit: languages, as guessed",
    "length": "Whom the decisions hit: length of the text",
}


def row_flow(flow: Mapping[str, Any]) -> Figure | None:
    """Draw what each step took from the rows, as bars hanging where the step before ended."""
    steps = [step for step in flow["steps"] if step["step"] in ("in", "exact", "near", "kept") or step["rows"]]
    total = steps[0]["rows"]
    if not total:
        return None
    panel = Panel(height=STEP * len(steps) + 4, left=2, right=WIDTH - 2)
    x = Scale(0, total, panel.left, panel.right)
    standing = float(total)
    for index, step in enumerate(steps):
        is_loss = step["step"] not in ("in", "kept")
        end = standing if is_loss else float(step["rows"])
        start = end - step["rows"] if is_loss else 0.0
        top = float(STEP * index)
        sign = "−" if is_loss and step["rows"] else ""
        panel.add("text", "row", step["label"], x=panel.left, y=top + 14)
        panel.add("text", "value end", f"{sign}{count(step['rows'])}", x=panel.right - 64, y=top + 14)
        panel.add("text", "tick end", percent(step["share"]), x=panel.right, y=top + 14)
        panel.add("rect", "track-bar", x=panel.left, y=top + 20, width=panel.right - panel.left, height=14)
        width = max(x(end) - x(start), 1.5 if step["rows"] else 0.0)
        panel.add("rect", "bar s2" if is_loss else "bar s1", x=x(start), y=top + 20, width=width, height=14)
        standing = start if is_loss else standing
    kept = steps[-1]
    return panel.figure(
        "flow",
        "What happened to the rows",
        f"{count(kept['rows'])} of {count(total)} rows remain ({percent(kept['share'])}).",
        ("Step", "Rows", "Share of rows in", "Bytes", "Tokens"),
        [(s["label"], count(s["rows"]), percent(s["share"]), size(s["bytes"]), count(s["tokens"])) for s in flow["steps"]],
    )


def band_curve(duplication: Mapping[str, Any]) -> Figure | None:
    """Draw the probability that the bands propose a pair, against its similarity, and the shares of planted pairs that they did."""
    points, threshold = duplication["band_curve"], duplication["settings"]["threshold"]
    if not points:
        return None
    planted = [bin_ for bin_ in duplication["planted"]["bins"] if bin_["proposed_share"]["value"] is not None]
    panel = Panel.with_legend(("by theory", "on made-up pairs, with 95% interval")) if planted else Panel()
    x, y = Scale(0, 1, panel.left, panel.right), Scale(0, 1, panel.bottom, panel.top)
    panel.axes(x, y, ("Jaccard similarity of a pair", "Probability of being compared"), (decimal, short_percent))
    panel.rule(x(threshold), f"threshold {decimal(threshold)}", is_low=True)
    panel.line([(x(at), y(chance)) for at, chance in points], 1, is_marked=False)
    for bin_ in planted:
        share, middle = bin_["proposed_share"], (bin_["low"] + bin_["high"]) / 2
        panel.whisker(x(middle), y(share["low"]), y(share["high"]), 2)
        panel.marker(x(middle), y(share["value"]), 2)
    chance = min(points, key=lambda point: abs(point[0] - threshold))[1]
    settings, recall = duplication["settings"], duplication["planted_recall"]
    measured = f" Of made-up copies at or above it {spread(recall, 'percent')} were removed." if recall["value"] is not None else ""
    theory = [("by theory", decimal(at), percent(value), "") for at, value in points]
    found = [
        (
            "on made-up pairs",
            f"{decimal(bin_['low'])} to {decimal(bin_['high'])}",
            percent(bin_["proposed_share"]["value"]),
            f"{percent(bin_['proposed_share']['low'])} to {percent(bin_['proposed_share']['high'])}",
        )
        for bin_ in planted
    ]
    return panel.figure(
        "band-curve",
        "Which pairs the bands can see",
        f"A pair exactly at the threshold is compared with probability {percent(chance)} "
        f"({settings['num_bands']} bands of {settings['rows_per_band']} rows).{measured}",
        ("Basis", "Jaccard", "Compared", "95% interval"),
        [*found, *theory],
    )


def jaccard_histogram(duplication: Mapping[str, Any]) -> Figure | None:
    """Draw how similar the verified pairs are."""
    bins = duplication["jaccard_histogram"]
    if not sum(bin_["count"] for bin_ in bins):
        return None
    panel = Panel()
    x = Scale(bins[0]["low"], 1.0, panel.left, panel.right)
    y = linear([bin_["count"] for bin_ in bins], panel.bottom, panel.top, from_zero=True)
    panel.axes(x, y, ("Jaccard similarity, exact", "Verified pairs"), (decimal, short_count))
    panel.columns(x, y, bins, "count", 1)
    top = max(bins, key=lambda bin_: bin_["count"])
    return panel.figure(
        "jaccard",
        "How alike the verified pairs are",
        f"Most pairs ({count(top['count'])}) lie between {decimal(top['low'])} and {decimal(top['high'])}.",
        ("From", "To", "Pairs"),
        [(decimal(b["low"]), decimal(b["high"]), count(b["count"])) for b in bins],
    )


def cluster_sizes(duplication: Mapping[str, Any]) -> Figure | None:
    """Draw how many clusters have how many members, on two logarithmic axes."""
    sizes = duplication["cluster_sizes"]
    if not sizes:
        return None
    panel = Panel()
    x = logarithmic([row["size"] for row in sizes], panel.left, panel.right, lowest=1.6)
    y = logarithmic([row["count"] for row in sizes], panel.bottom, panel.top, lowest=0.7)
    panel.axes(x, y, ("Documents in a cluster", "Clusters"), (short_count, short_count))
    for row in sizes:
        panel.marker(x(row["size"]), y(row["count"]), 1)
    return panel.figure(
        "cluster-sizes",
        "How large the clusters of copies are",
        f"{count(duplication['num_clusters'])} clusters hold {count(duplication['rows_in_clusters'])} rows; the largest has "
        f"{count(duplication['largest_size'])}.",
        ("Size", "Clusters", "Rows"),
        [(decimal(row["size"]), count(row["count"]), count(row["rows"])) for row in sizes],
    )


def source_overlap(duplication: Mapping[str, Any]) -> Figure | None:
    """Draw removed rows by their source and by the source of the copy that stayed; darker is more, and the number stands in the cell."""
    sources, rows = duplication["overlap"]["sources"], duplication["overlap"]["rows"]
    most = max((max(row) for row in rows), default=0)
    if not most:
        return None
    cell, left = min(116, (WIDE - 190) // len(sources)), 186
    panel = Panel(width=max(left + cell * len(sources) + 4, WIDTH), height=30 * len(sources) + 62, left=left)
    panel.add("text", "label end", "Removed from", x=left - 10, y=36)
    panel.add("text", "label", "Copy kept in", x=left, y=14)
    for column, source in enumerate(sources):
        panel.add("text", "tick middle", clip(source, cell // 7), x=left + cell * (column + 0.5), y=36.0)
    for index, (source, counts) in enumerate(zip(sources, rows, strict=True)):
        top = 46 + 30 * index
        panel.add("text", "row end", clip(source, 24), x=left - 10, y=top + 19)
        for column, number in enumerate(counts):
            shade = 0 if not number else 1 + min(3, int(4 * number / (most + 1)))
            panel.add("rect", f"cell q{shade}", x=left + cell * column + 1, y=top + 1, width=cell - 2, height=28)
            if number:
                panel.add("text", f"on{shade} middle", count(number), x=left + cell * (column + 0.5), y=top + 19.5)
    overlap = duplication["overlap"]
    return panel.figure(
        "overlap",
        "Which sources repeat one another",
        f"{count(overlap['num_across'])} of {count(overlap['num_rows'])} removed rows have their kept copy in another source.",
        ("Removed from", *sources),
        [(source, *map(count, counts)) for source, counts in zip(sources, rows, strict=True)],
    )


def what_if(decisions: Mapping[str, Any]) -> Figure | None:
    """Draw tokens removed (bytes, where tokens are not known) against expected memorization removed, for every threshold."""
    unit = "tokens" if any(row["share_tokens"] is not None for row in decisions["what_if"]) else "bytes"
    key = f"share_{unit}"
    rows = [row for row in decisions["what_if"] if row[key] is not None and row["share_memorized"] is not None]
    if not rows:
        return None
    panel = Panel()
    x, y = Scale(0, 1, panel.left, panel.right), Scale(0, 1, panel.bottom, panel.top)
    panel.axes(x, y, (f"Share of {unit} removed", "Share of expected memorization removed"), (short_percent, short_percent))
    panel.add("line", "rule", x1=x(0), x2=x(1), y1=y(0), y2=y(1))
    panel.add("text", "note", "removing at random", x=x(0.53), y=y(0.53) + 22)
    panel.line([(x(row[key]), y(row["share_memorized"])) for row in rows], 1, is_marked=False)
    chosen = min(rows, key=lambda row: abs(row["threshold"] - decisions["policy"]["sink_threshold"]))
    at = (x(chosen[key]), y(chosen["share_memorized"]))
    panel.add("circle", "ring", cx=at[0], cy=at[1], r=7)
    panel.add("text", "note strong", f"threshold {decimal(chosen['threshold'])}", x=min(at[0] + 12, panel.right - 90), y=at[1] + 16)
    return panel.figure(
        "what-if",
        "What another threshold would do",
        f"Removing every row from {decimal(chosen['threshold'])} up would take {percent(chosen[key])} of the {unit} and "
        f"{percent(chosen['share_memorized'])} of the expected memorization.",
        ("Threshold", "Rows", "Text", "Tokens", f"Of {unit}", "Of memorization", "Expected memorized rows", "If all lay at the ends"),
        [
            (
                decimal(row["threshold"]),
                count(row["rows"]),
                size(row["bytes"]),
                count(row["tokens"]),
                percent(row[key]),
                percent(row["share_memorized"]),
                decimal(row["expected_memorized"]),
                f"{decimal(row['low'])} to {decimal(row['high'])}",
            )
            for row in rows
        ],
    )


def shift(groups: Sequence[Mapping[str, Any]], kind: str) -> Figure | None:
    """Draw each group's share of the corpus before and after, weights counted; kind: source, language or length."""
    known = [row for row in groups if row["share_before"] is not None and row["share_after"] is not None]
    if not known:
        return None
    rows = known[:MAX_BARS]
    panel = Panel(height=30 * len(rows) + 78, left=140, top=34, bottom=30 * len(rows) + 36)
    x = linear([share for row in rows for share in (row["share_before"], row["share_after"])], panel.left, panel.right, from_zero=True)
    for tick in x.ticks(4):
        panel.add("line", "grid", x1=x(tick), x2=x(tick), y1=panel.top, y2=panel.bottom)
        panel.add("text", "tick middle", short_percent(tick), x=x(tick), y=panel.bottom + 17)
    for at, series, text in ((panel.right - 118, 1, "before"), (panel.right - 48, 2, "after")):
        panel.marker(at, 10.0, series, *(("mark open", 6.5) if series == 1 else ()))
        panel.add("text", "key", text, x=at + 12, y=14)
    panel.add("text", "label end", "Share of rows, weights counted", x=panel.right, y=panel.height - 6)
    for index, row in enumerate(rows):
        y = panel.top + 30 * index + 17.0
        panel.add("text", "row end", clip(row["name"], 19), x=panel.left - 10, y=y + 4)
        panel.add("line", "link", x1=x(row["share_before"]), x2=x(row["share_after"]), y1=y, y2=y)
        panel.marker(x(row["share_before"]), y, 1, "mark open", 6.5)
        panel.marker(x(row["share_after"]), y, 2)
    most = max(known, key=lambda row: abs(row["share_after"] - row["share_before"]))
    rest = f" The first {len(rows)} of {len(known)} are drawn." if len(known) > len(rows) else ""
    return panel.figure(
        f"shift-{kind}",
        SHIFTED[kind],
        f"All rows are in one group, {most['name']}: there is nothing to compare."
        if len(known) == 1
        else f"{most['name']} moves most: {percent(most['share_before'])} of the rows before, {percent(most['share_after'])} after.{rest}",
        (kind.capitalize(), "Rows", "Effective rows", "Share before", "Share after"),
        [(r["name"], count(r["rows"]), decimal(r["effective"]), percent(r["share_before"]), percent(r["share_after"])) for r in known],
    )
