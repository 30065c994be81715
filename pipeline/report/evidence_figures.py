"""Draw the charts of the report that judge the predictor: scores, calibration, retrieval, copies, training, scale."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.report.plot import WIDE, WIDTH, Figure, Panel, Scale, linear, logarithmic, short_count, short_percent
from pipeline.report.wording import count, decimal, feature, large, percent, predictor

POOLED = "all"
"""The stratum that holds every labelled cluster."""
GAP = 34
MAX_FEATURES = 10
MAX_SERIES = 5
"""Series that colours, dashes and markers still keep apart."""

Row = Mapping[str, Any]


def score_histogram(sinks: Row, threshold: float) -> Figure | None:
    """Draw how the sink scores spread, on a logarithmic count since most text scores low."""
    bins = sinks["score_histogram"]
    totals = [{**bin_, "all": bin_["count"] + bin_["unsupported"]} for bin_ in bins]
    if not sum(bin_["all"] for bin_ in totals):
        return None
    panel = Panel()
    x = Scale(0, 1, panel.left, panel.right)
    y = logarithmic([bin_["all"] for bin_ in totals], panel.bottom, panel.top, lowest=0.7)
    panel.axes(x, y, ("Sink score", "Rows"), (decimal, short_count))
    panel.columns(x, y, totals, "all", 1)
    panel.columns(x, y, totals, "unsupported", 2)
    panel.legend(("scored", "of these outside support"), kind="bar")
    panel.rule(x(threshold), f"threshold {decimal(threshold)}")
    above = sum(bin_["all"] for bin_ in totals if bin_["low"] >= threshold - 1e-9)
    return panel.figure(
        "scores",
        "How the scores spread",
        f"{count(above)} of {count(sinks['rows_judged'])} scored rows lie in the bins above the threshold of {decimal(threshold)}.",
        ("From", "To", "Inside support", "Outside support"),
        [(decimal(b["low"]), decimal(b["high"]), count(b["count"]), count(b["unsupported"])) for b in bins],
    )


def calibration(evaluation: Row) -> Figure | None:
    """Draw observed against predicted shares on held-out clusters; on the diagonal a score means what it says."""
    bins = evaluation["calibration"]["bins"]
    if not bins:
        return None
    panel = Panel()
    x, y = Scale(0, 1, panel.left, panel.right), Scale(0, 1, panel.bottom, panel.top)
    panel.axes(x, y, ("Predicted", "Observed share memorized"), (decimal, short_percent))
    panel.add("line", "rule", x1=x(0), x2=x(1), y1=y(0), y2=y(1))
    for row in bins:
        panel.whisker(x(row["predicted"]), y(row["low"]), y(row["high"]), 1)
    panel.line([(x(row["predicted"]), y(row["observed"])) for row in bins], 1)
    return panel.figure(
        "calibration",
        "Do the scores mean what they say?",
        f"On held-out clusters scores miss the observed share by {decimal(evaluation['calibration']['ece'])} on average "
        "(expected calibration error); the dotted diagonal is perfect. Bars are 95% intervals.",
        ("Predicted", "Observed", "95% interval", "Clusters"),
        [
            (decimal(row["predicted"]), percent(row["observed"]), f"{percent(row['low'])} to {percent(row['high'])}", count(row["count"]))
            for row in bins
        ],
    )


def precision_recall(evaluation: Row) -> Figure | None:
    """Draw precision against recall for the predictor and its rivals, over all held-out clusters."""
    curves = _curves(evaluation, POOLED)
    if not curves:
        return None
    panel = Panel.with_legend([predictor(curve["predictor"]) for curve in curves])
    x, y = Scale(0, 1, panel.left, panel.right), Scale(0, 1, panel.bottom, panel.top)
    panel.axes(x, y, ("Recall", "Precision"), (short_percent, short_percent))
    for series, curve in enumerate(curves, start=1):
        panel.line([(x(recall), y(precision)) for recall, precision in curve["points"]], series)
    return panel.figure(
        "precision-recall",
        "Finding memorized clusters among the rest",
        f"Further up and right is better. Compared are {_listing([predictor(c['predictor']) for c in curves])}.{_thin(evaluation, POOLED)}",
        ("Predictor", "Recall", "Precision"),
        [(predictor(c["predictor"]), percent(a), percent(b)) for c in curves for a, b in _sparse(c["points"])],
    )


def precision_recall_by_copies(evaluation: Row) -> Figure | None:
    """Draw precision against recall within each stratum of copies that holds both memorized clusters and others, side by side."""
    bases = {row["stratum"]: row["base_rate"] for row in evaluation["strata"]}
    drawn = {name: _curves(evaluation, name) for name in bases if name != POOLED}
    strata = {name: curves for name, curves in drawn.items() if curves and 0 < (bases[name] or 0) < 1}
    if not strata:
        return None
    names = list(dict.fromkeys(curve["predictor"] for curves in strata.values() for curve in curves))[:MAX_SERIES]
    panel = Panel(width=WIDE, height=300, right=WIDE - 20, top=58, bottom=258)
    panel.legend([predictor(name) for name in names], x=2)
    each = (WIDE - 20 - 52 + GAP) / max(len(strata), 2)
    for index, (stratum, curves) in enumerate(strata.items()):
        left = 52 + each * index
        x, y = Scale(0, 1, left, left + each - GAP), Scale(0, 1, panel.bottom, panel.top)
        panel.small_axes(x, y, stratum, short_percent)
        panel.add("line", "rule", x1=x(0), x2=x(1), y1=y(bases[stratum]), y2=y(bases[stratum]))
        for curve in curves:
            if curve["predictor"] in names:
                points = [(x(recall), y(precision)) for recall, precision in curve["points"]]
                panel.line(points, names.index(curve["predictor"]) + 1)
    panel.add("text", "label end", "Recall; up the side: precision; dotted: base rate", x=panel.right, y=panel.height - 4)
    return panel.figure(
        "precision-recall-by-copies",
        "Within strata of copies: precision against recall",
        "Each panel holds clusters with about as many copies, so that the number of copies alone tells little: what lies above the dotted "
        f"base rate comes from other signals.{_thin(evaluation, *strata)}",
        ("Copies", "Predictor", "Recall", "Precision"),
        [
            (stratum, predictor(curve["predictor"]), percent(a), percent(b))
            for stratum, curves in strata.items()
            for curve in curves
            for a, b in _sparse(curve["points"], 12)
        ],
    )


def features(evaluation: Row) -> Figure | None:
    """Draw what each feature contributes to the prediction, the strongest first."""
    rows = sorted(evaluation["features"], key=lambda row: (-row["importance"], row["name"]))
    if not rows:
        return None
    drawn = rows[:MAX_FEATURES]
    panel = Panel(height=24 * len(drawn) + 12, left=150, right=WIDTH - 56, top=4)
    panel.bars([(feature(row["name"]), row["importance"], decimal(row["importance"], 2)) for row in drawn])
    return panel.figure(
        "features",
        "What moves the score",
        f"{feature(drawn[0]['name']).capitalize()} contributes most. "
        f"Shown are {len(drawn)} of {len(rows)} features, by the importance that the predictor reports.",
        ("Feature", "Importance"),
        [(feature(row["name"]), decimal(row["importance"])) for row in rows],
    )


def duplication_curve(evaluation: Row) -> Figure | None:
    """Draw the memorized share of clusters against their number of copies."""
    rows = evaluation["duplication_curve"]
    if not rows:
        return None
    panel = Panel()
    x = logarithmic([row["copies"] for row in rows], panel.left, panel.right)
    y = linear([row["memorized"] for row in rows] + [row.get("high") or 0 for row in rows], panel.bottom, panel.top, from_zero=True)
    panel.axes(x, y, ("Copies in the training subsample", "Share memorized"), (short_count, short_percent))
    _with_intervals(panel, x, y, rows, "copies", "memorized")
    return panel.figure(
        "duplication-curve",
        "Do copies drive memorization here?",
        f"From {percent(rows[0]['memorized'])} at {decimal(rows[0]['copies'])} to {percent(rows[-1]['memorized'])} at "
        f"{decimal(rows[-1]['copies'])} copies. Bars are 95% intervals.",
        ("Copies", "Share memorized", "Low", "High", "Clusters"),
        [
            (decimal(r["copies"]), percent(r["memorized"]), percent(r.get("low")), percent(r.get("high")), count(r.get("count")))
            for r in rows
        ],
    )


def trajectories(evaluation: Row) -> Figure | None:
    """Draw the mean loss over training of sinks, ordinary text and text never seen."""
    curves = [curve for curve in evaluation["trajectories"] if curve["points"]][:MAX_SERIES]
    if not curves:
        return None
    panel = Panel.with_legend([curve["group"] for curve in curves])
    x = linear([step for curve in curves for step, _ in curve["points"]], panel.left, panel.right, pad=0.03)
    y = linear([loss for curve in curves for _, loss in curve["points"]], panel.bottom, panel.top)
    panel.axes(x, y, ("Training step", "Loss, nats per token"), (short_count, decimal))
    for series, curve in enumerate(curves, start=1):
        panel.line([(x(step), y(loss)) for step, loss in curve["points"]], series)
    ends = ", ".join(f"{curve['group']} {decimal(curve['points'][-1][1])}" for curve in curves)
    return panel.figure(
        "trajectories",
        "How proxies learn sinks and ordinary text",
        f"Loss at the last step, nats per token: {ends}.",
        ("Group", "Step", "Loss"),
        [(c["group"], decimal(a, 6), decimal(b, 4)) for c in curves for a, b in _sparse(c["points"])],
    )


def scale_slope(evaluation: Row, target: float) -> Figure | None:
    """Draw the counterfactual gain against proxy size, and how far from there the model lies that scores are for."""
    rows = evaluation["scale_slope"]
    if not rows:
        return None
    panel = Panel()
    x = logarithmic([target, *(row["size"] for row in rows)], panel.left, panel.right)
    known = [value for row in rows for value in (row["gain"], row.get("low"), row.get("high")) if value is not None]
    y = linear(known, panel.bottom, panel.top, from_zero=True)
    panel.axes(x, y, ("Parameters", "Gain from training on it, nats per token"), (short_count, decimal))
    panel.rule(x(target), f"scores are for {large(target)}", is_low=True)
    _with_intervals(panel, x, y, rows, "size", "gain")
    return panel.figure(
        "scale-slope",
        "Does memorization grow with model size?",
        f"From {decimal(rows[0]['gain'])} at {large(rows[0]['size'])} to {decimal(rows[-1]['gain'])} nats per token at "
        f"{large(rows[-1]['size'])} parameters. Bars are 95% intervals; between them and the dotted line nothing was measured.",
        ("Parameters", "Gain", "Low", "High"),
        [(large(r["size"]), decimal(r["gain"]), decimal(r.get("low")), decimal(r.get("high"))) for r in rows],
    )


def _curves(evaluation: Row, stratum: str) -> list[Row]:
    of_stratum = [curve for curve in evaluation["precision_recall"] if curve["stratum"] == stratum and len(curve["points"]) > 1]
    return of_stratum[:MAX_SERIES]


def _with_intervals(panel: Panel, x: Scale, y: Scale, rows: Sequence[Row], key: str, value: str) -> None:
    for row in rows:
        if row.get("low") is not None and row.get("high") is not None:
            panel.whisker(x(row[key]), y(row["low"]), y(row["high"]), 1)
    panel.line([(x(row[key]), y(row[value])) for row in rows], 1)


def _sparse(points: Sequence[Sequence[float]], wanted: int = 40) -> Sequence[Sequence[float]]:
    """Return about as many points of a curve as its table should have."""
    return points[:: max(1, len(points) // wanted)]


def _listing(names: Sequence[str]) -> str:
    return "; ".join(names) if names else "none"


def _thin(evaluation: Row, *names: str) -> str:
    """Say how many memorized clusters curves rest on, where those are too few to judge."""
    few = [row for row in evaluation["strata"] if row["stratum"] in names and not row["is_judged"] and row["num_positive"] is not None]
    told = [f"{count(row['num_positive'])}" + (f" ({row['stratum']})" if len(names) > 1 else "") for row in few]
    return f" Memorized clusters are too few to judge: {', '.join(told)}." if told else ""
