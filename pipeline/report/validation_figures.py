"""Draw the charts of a validation: agreement, gain over the rival, calibration, what signals add, arms, the free-token curve."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, get_args

from pipeline.config import Criterion
from pipeline.report.forest import Column, Mark, forest
from pipeline.report.plot import Figure, Panel, Scale, short_percent
from pipeline.report.wording import count, decimal, percent, predictor, spread

REQUIRED, AIM = 0.8, 0.9
OVER_RIVAL = 0.05
SHARES, GAINS = (-0.2, 1.3), (-0.4, 0.6)
"""Disattenuated figures, and differences, beyond which nothing is drawn: few clusters throw them anywhere."""
CRITERIA = get_args(Criterion)
"""Of the free-token curve, as they are drawn: our own after what they are held against, then what they may be made of."""

Row = Mapping[str, Any]


def agreement(rows: Sequence[Row]) -> Figure | None:
    """Draw each stratum's rank correlation as measured and disattenuated, and its AUROC of the top decile over the ceiling."""
    drawn = [row for row in rows if row.get("spearman")]
    if not drawn:
        return None
    columns = (
        Column(
            "Spearman", [[Mark(row["disattenuated"]), Mark(row["spearman"], 2, is_open=True)] for row in drawn], (0, REQUIRED, AIM), SHARES
        ),
        Column("Top decile, over its ceiling", [[Mark(row["normalised"])] for row in drawn], (0, REQUIRED, AIM), SHARES),
    )
    notes = [count(row["num_clusters"]) for row in drawn]
    panel = forest([row["stratum"] for row in drawn], columns, notes, ("over what the labels' noise allows", "as measured"))
    return panel.figure(
        "agreement",
        "Do predicted and measured gains rank clusters alike?",
        f"Dotted: chance at 0, {decimal(REQUIRED)} as required, {decimal(AIM)} as aimed at. At the end of each row: clusters.",
        ("Stratum", "Clusters", "Spearman", "Disattenuated", "Top decile over ceiling"),
        [
            (row["stratum"], count(row["num_clusters"]), spread(row["spearman"]), spread(row["disattenuated"]), spread(row["normalised"]))
            for row in drawn
        ],
    )


def over_rival(entries: Sequence[Row], key: str) -> Figure | None:
    """Draw by how much each of our scores beats the rival's average precision in each stratum."""
    drawn = [entry for entry in entries if entry["differences"]]
    if not drawn:
        return None
    names = list(dict.fromkeys(row["name"] for entry in drawn for row in entry["differences"]))
    found = [{row["name"]: row["average_precision"] for row in entry["differences"]} for entry in drawn]
    marks = [[Mark(row.get(name), series) for series, name in enumerate(names, start=1)] for row in found]
    column = Column("Average precision less that of the rival", marks, (0, OVER_RIVAL), GAINS)
    notes = [entry_says(entry) for entry in drawn]
    return forest([entry["stratum"] for entry in drawn], [column], notes, [predictor(name) for name in names]).figure(
        key,
        "Is anything gained over a logistic on copies, loss and zlib?",
        f"Right of 0 is better. An interval that reaches 0 is no gain; {decimal(OVER_RIVAL)} is asked. The word at the end of a row is on "
        f"the {predictor(drawn[0]['claimed_by'])}.",
        ("Stratum", "Memorized", "Predictor", "Difference"),
        [
            (entry["stratum"], count(entry["num_positive"]), predictor(row["name"]), spread(row["average_precision"]))
            for entry in drawn
            for row in entry["differences"]
        ],
    )


def entry_says(entry: Row) -> str:
    """Say in two words whether the score that claims the label beats the rival in a stratum."""
    found = next((row["average_precision"] for row in entry["differences"] if row["name"] == entry["claimed_by"]), None)
    if found is None:
        return "not measured"
    if not entry["enough_data_differences"]:
        return "too few"
    if found["is_gain"]:
        return "gain"
    return "worse" if found["high"] is not None and found["high"] < 0 else "no gain"


def reliability_chart(row: Row, key: str) -> Figure | None:
    """Draw observed against predicted shares on the target, up to the largest of them; on the diagonal a score means what it says."""
    bins = row["bins"]
    if not bins:
        return None
    panel = Panel()
    most = max(max(bin_["predicted"], bin_["high"]) for bin_ in bins) * 1.04
    missed = f"On average scores miss the target's share by {decimal(row['ece'])}" if "ece" in row else "All clusters are of one kind"
    x, y = Scale(0, most, panel.left, panel.right), Scale(0, most, panel.bottom, panel.top)
    panel.axes(x, y, ("Predicted", "Observed share memorized"), (decimal, short_percent))
    panel.add("line", "rule", x1=x(0), x2=x(most), y1=y(0), y2=y(most))
    for bin_ in bins:
        panel.whisker(x(bin_["predicted"]), y(bin_["low"]), y(bin_["high"]), 1)
    panel.line([(x(bin_["predicted"]), y(bin_["observed"])) for bin_ in bins], 1)
    return panel.figure(
        key,
        f"Do scores mean what they say? {row['stratum'].capitalize()}",
        f"Tenths of the clusters by score. {missed}; the dotted diagonal is perfect.",
        ("Predicted", "Observed", "Low", "High", "Clusters"),
        [(decimal(b["predicted"]), percent(b["observed"]), percent(b["low"]), percent(b["high"]), count(b["count"])) for b in bins],
    )


def blocks(entries: Sequence[Row]) -> Figure | None:
    """Draw each block of signals' agreement with the target, and beside it what a fit to the target's own labels reaches."""
    drawn = [entry for entry in entries if entry["blocks"]]
    if not drawn:
        return None
    names = list(dict.fromkeys(row["block"] for entry in drawn for row in entry["blocks"]))
    columns: list[Column] = []
    told = [row.get("disattenuated") for entry in drawn for row in (*entry["blocks"], _bound(entry))]
    holds = [found[key] for found in told if found for key in ("low", "value", "high") if found[key] is not None]
    for entry in drawn:
        by_block = {row["block"]: row.get("disattenuated") for row in entry["blocks"]}
        marks = [*([Mark(by_block.get(name))] for name in names), [Mark(_bound(entry).get("disattenuated"), 2, is_open=True)]]
        columns.append(Column(entry["stratum"], marks, (REQUIRED,), SHARES, holds))
    rows = [(entry["stratum"], row["block"], spread(row.get("disattenuated"))) for entry in drawn for row in entry["blocks"]]
    legend = ("fitted to proxies' labels", "fitted to the target's own labels: no prediction")
    return forest([*names, "upper bound"], columns, (), legend).figure(
        "blocks",
        "What does each block of signals add?",
        "Disattenuated Spearman with measured gains; each row has the signals of those above it, too. The open square saw the target's "
        "labels: it says what these signals could do at best, and backs no claim.",
        ("Stratum", "Block", "Disattenuated Spearman"),
        rows,
    )


def arms(entry: Row) -> Figure | None:
    """Draw what each arm did to recall of natural text and to the loss on held-out text, beside the deduplicated arm."""
    drawn = [row for row in entry["arms"] if row["recall_change"]["value"] is not None or row["relative_cost"]["value"] is not None]
    if not drawn:
        return None
    columns = (
        Column("Recall of natural text, relative", [[Mark(row["recall_change"])] for row in drawn], (0,)),
        Column("Held-out loss, relative", [[Mark(row["relative_cost"], 2)] for row in drawn], (0,)),
    )
    return forest([row["arm"].replace("_", " ") for row in drawn], columns).figure(
        f"arms-{entry['kind'].replace('_', '-')}",
        f"What filtering did, {entry['kind'].replace('_', ' ')}",
        "Change against the arm that was deduplicated by MinHash, seeds paired: left of 0 less is recited, left of 0 held-out text is read "
        "better.",
        ("Arm", "Recall", "Held-out loss"),
        [(row["arm"], spread(row["recall_change"], "percent"), spread(row["relative_cost"], "percent")) for row in drawn],
    )


def free_tokens(entry: Row) -> Figure | None:
    """Draw what dropping text costs on held-out text by share and criterion, and that beside what dropping as much at random costs."""
    drawn = sorted(entry["rows"], key=lambda row: (row["share"], CRITERIA.index(row["criterion"])))
    if not drawn:
        return None
    columns = (
        Column("Held-out loss, nats a token more", [[Mark(row["cost"])] for row in drawn], (0,)),
        Column("Beyond random's", [[Mark(row.get("cost_over_random"), 2)] for row in drawn], (0,)),
    )
    return forest([f"{row['criterion'].replace('_', ' ')}, {short_percent(row['share'])}" for row in drawn], columns).figure(
        f"free-tokens-{entry['scope']}",
        f"Are there tokens that cost nothing? {entry['scope'].capitalize()} text",
        entry["sentence"].replace("_", " "),
        ("Criterion", "Share", "Cost", "Beyond random's", "Memorization removed"),
        [
            (
                row["criterion"].replace("_", " "),
                percent(row["share"]),
                spread(row["cost"]),
                spread(row.get("cost_over_random")),
                decimal(row["memorized_removed"]),
            )
            for row in drawn
        ],
    )


def _bound(entry: Row) -> Row:
    """Return the upper bound on the clusters that every block scored, or where that is missing on all of the stratum."""
    found: Row = entry.get("upper_bound_of_blocks") or entry["upper_bound"]
    return found
