"""Draw the record of a validation: what was promised, what was found, in which order it happened, and what it cannot tell.

Every figure is one of results.json; nothing is computed here but counts of verdicts. A part that results.json lacks is said to be not
measured. Nothing of the corpus is shown but the names of its sources.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pipeline.report import validation_figures as figures
from pipeline.report.forest import strip
from pipeline.report.render import compose
from pipeline.report.wording import plural

NATURAL, UNIQUE, PLANTED = "natural", "natural, copies 1", "planted"
VERDICTS = ("met", "missed", "not enough data", "cannot be resolved")
TONES = {"met": "pass", "missed": "fail"}
"""How the report draws a verdict; the others are drawn as not measured."""
GROUPS: tuple[tuple[str, Callable[[str], bool]], ...] = (
    ("Natural text", lambda name: name == NATURAL),
    ("Natural text, by copies", lambda name: name.startswith(NATURAL) and ", by the" not in name),
    ("Natural text, by who scored it", lambda name: name.startswith(NATURAL)),
    ("Plants", lambda name: name.startswith(PLANTED)),
    ("Everything together", lambda name: name == "all"),
    ("By source", lambda name: name.startswith("source ")),
)
LISTS = ("bars", "agreement", "discrimination", "ablation", "outcome", "onion", "drop_curve", "hypotheses", "limits")
PARTS = ("labels", "calibration", "capacity_tax", "order", "efficiency", "corpus", "settings", "trained")

Row = Mapping[str, Any]


def render_validation(name: str, values: Row, command: str = "") -> str:
    """Return the page of results.json as HTML that needs nothing else; missed bars stand where met ones do.

    `command`: what repeats it. Equal arguments give equal bytes.
    """
    found = {**{part: [] for part in LISTS}, **{part: {} for part in PARTS}, **values}
    return compose(
        "validation.html.j2",
        v=found,
        name=name,
        command=command,
        tally=tell_tally(found["bars"]),
        tones=TONES,
        verdict=overall(found["bars"]),
        strips=[strip(bar) for bar in found["bars"]],
        headline=headline(found),
        agreement=grouped(_with_labels(found)),
        exact=grouped(_of_label(found, "memorized")),
        strong=grouped(_of_label(found, "strong gain")),
        says=figures.entry_says,
        figures=draw_figures(found),
    )


def render_validations(entries: Sequence[Row]) -> str:
    """Return the page that lists validations, in the order given; each is a `validation_entry`."""
    return compose("validations.html.j2", entries=entries)


def validation_entry(name: str, values: Row, href: str) -> dict[str, Any]:
    """Return what the list of validations shows of one; `href` is relative to the list."""
    found = {**{part: [] for part in LISTS}, **{part: {} for part in PARTS}, **values}
    return {
        "name": name,
        "href": href,
        "frozen": found["order"].get("frozen"),
        "came_first": found["order"].get("predictions_came_first"),
        "tokens": found["corpus"].get("num_tokens"),
        "clusters": found["corpus"].get("num_natural_clusters"),
        "verdict": overall(found["bars"]),
        "tally": tell_tally(found["bars"]),
        **headline(found),
    }


def tell_tally(bars: Sequence[Row]) -> str:
    """Say how many bars there are of each verdict: 3 of 8 bars met, 4 missed, 1 not enough data."""
    counts = {verdict: sum(bar["verdict"] == verdict for bar in bars) for verdict in VERDICTS}
    others = "".join(f", {number} {verdict}" for verdict, number in counts.items() if verdict != "met" and number)
    return f"{counts['met']} of {plural(len(bars), 'bar')} met{others}" if bars else "No bar was judged"


def overall(bars: Sequence[Row]) -> str:
    """Return pass only where every bar is met, fail where any is missed."""
    verdicts = {bar["verdict"] for bar in bars}
    if "missed" in verdicts:
        return "fail"
    return "pass" if verdicts == {"met"} else "warn"


def headline(found: Row) -> dict[str, Any]:
    """Return the figures that a reader wants first, None where there is none."""
    unique, planted = ({**_named(found["agreement"], name)} for name in (UNIQUE, PLANTED))
    natural = next((row for row in _of_label(found, "memorized") if row["stratum"] == NATURAL), {})
    gain = next((row for row in natural.get("differences", []) if row["name"] == "sink_score"), None)
    return {
        "disattenuated": unique.get("disattenuated"),
        "spearman": unique.get("spearman"),
        "planted": planted.get("disattenuated"),
        "over_rival": gain and {**gain["average_precision"], "says": figures.entry_says(natural)},
        "skill": _named(found["calibration"].get("strata", []), NATURAL).get("brier_skill"),
        "flops_share": found["efficiency"].get("flops_share"),
        "size_gap": found["efficiency"].get("size_gap"),
    }


def grouped(rows: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """Return rows of strata under headings; each stands under the first that fits."""
    left, found = list(rows), []
    for title, belongs in GROUPS:
        own = [row for row in left if belongs(row["stratum"])]
        left = [row for row in left if not belongs(row["stratum"])]
        found += [(title, own)] if own else []
    return found + ([("Others", left)] if left else [])


def draw_figures(found: Row) -> dict[str, Any]:
    """Draw every chart of the page; None stands where there was nothing to draw."""
    calibrated = found["calibration"].get("strata", [])
    drawn = {
        "agreement": figures.agreement(found["agreement"]),
        "exact": figures.over_rival(_of_label(found, "memorized"), "over-rival"),
        "strong": figures.over_rival(_of_label(found, "strong gain"), "over-rival-strong"),
        "blocks": figures.blocks(found["ablation"]),
    }
    for key, name in (("natural", NATURAL), ("planted", PLANTED)):
        row = _named(calibrated, name)
        drawn[f"reliable_{key}"] = figures.reliability_chart(row, f"reliable-{key}") if row else None
    arms = {f"arms_{entry['kind']}": figures.arms(entry) for entry in found["outcome"]}
    return drawn | arms | {f"tokens_{entry['scope']}": figures.free_tokens(entry) for entry in found["drop_curve"]}


def _with_labels(found: Row) -> list[dict[str, Any]]:
    """Join what is known of a stratum's labels to what is known of agreement with them."""
    labels = {row["stratum"]: row for row in found["labels"].get("strata", [])}
    return [{**labels.get(row["stratum"], {}), **row} for row in found["agreement"]]


def _of_label(found: Row, label: str) -> list[Row]:
    return [row for row in found["discrimination"] if row["label"] == label]


def _named(rows: Sequence[Row], stratum: str) -> Row:
    return next((row for row in rows if row["stratum"] == stratum), {})
