"""What was promised, held against what was measured: every bar of the design's section 5, misses included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.proof.agreement import MIN_POSITIVES
from pipeline.proof.discrimination import COMPARED_POSITIVES
from pipeline.proof.outcome import COST_BAR, MIN_BASE, MIN_CLUSTERS, RECALL_BAR
from pipeline.proof.strata import FEW, NATURAL, UNIQUE
from pipeline.proof.verdicts import MISSED, NOT_ENOUGH, UNRESOLVED, Bar, Limits, hold_to

AGREEMENT = Limits(low=0.80, aim=0.90)
AUROC_OF_FEW = Limits(low=0.75)
OVER_RIVAL = Limits(low=0.05)
SKILL = Limits(low=0.0, is_strict=True)
SLOPE = Limits(low=0.8, high=1.25)
COMPUTE = Limits(high=0.10)
GAP = Limits(low=20.0)
SAME = "the policy's runs are the deduplicated ones: it acts on nothing, so it costs nothing"
Entry = Mapping[str, Any]


def prediction_bars(agreements: Sequence[Entry], discriminations: Sequence[Entry], calibrations: Sequence[Entry]) -> list[Bar]:
    """Return the bars on how well memorization was predicted, on natural text."""
    unique = _entry(agreements, UNIQUE)
    few = _by_label(discriminations, FEW)
    calibrated = _entry(calibrations, NATURAL)
    by_extraction = few.get("label") == "memorized"
    too_few = f"fewer than {MIN_POSITIVES} memorized clusters"
    return [
        hold_to(
            "Natural unique clusters: Spearman of predicted with measured gain over the root of the labels' reliability",
            unique.get("disattenuated"),
            AGREEMENT,
            lacking=None if unique.get("enough_data") else "too few clusters",
        ),
        hold_to(
            "Natural unique clusters: (AUROC - .5) / (ceiling - .5) for the top decile of gains",
            unique.get("normalised"),
            AGREEMENT,
            lacking=None if unique.get("enough_data_top") else f"fewer than {MIN_POSITIVES} clusters in the top decile",
        ),
        hold_to(
            f"Natural clusters of up to 5 copies: AUROC for {'memorized clusters' if by_extraction else 'the top decile of gains'}",
            _own(few, "auroc"),
            AUROC_OF_FEW,
            lacking=None if few.get("enough_data") else f"fewer than {MIN_POSITIVES} positives",
        ),
        _over_rival(discriminations),
        hold_to(
            "Natural clusters: Brier skill of sink_score over the base rate",
            calibrated.get("brier_skill"),
            SKILL,
            lacking=None if calibrated.get("enough_data") else too_few,
        ),
        hold_to(
            "Natural clusters: slope of sink_score's recalibration",
            calibrated.get("slope"),
            SLOPE,
            lacking=None if calibrated.get("enough_data") else too_few,
        ),
    ]


def cost_bars(flops: Mapping[str, float], target_parameters: float, largest_proxy: float | None) -> list[Bar]:
    """Return the bars on what the prediction cost: the proxies' work over one target run's, and the gap in size."""
    share = flops["proxies"] / flops["target"] if flops.get("target") and "proxies" in flops else None
    gap = target_parameters / largest_proxy if largest_proxy else None
    unknown = "what it takes to say so was not recorded"
    return [
        hold_to("Proxies' work over one target run's, FLOPs", _point(share), COMPUTE, lacking=None if share else unknown),
        hold_to("Target over largest proxy, non-embedding parameters", _point(gap), GAP, lacking=None if gap else unknown),
    ]


def outcome_bars(outcomes: Sequence[Entry]) -> list[Bar]:
    """Return the outcome's two bars for each kind of arms: what is removed beyond a random drop, and what it costs."""
    bars = []
    for entry in outcomes:
        where = f"After deduplication, {str(entry['kind']).replace('_', ' ')}"
        measurable = bool(entry["is_measurable"])
        removed = f"{where}: recall of natural text removed beyond a matched random drop"
        bars.append(_of_runs(removed, entry["policy_against_random"], Limits(low=RECALL_BAR), is_measurable=measurable))
        cost = f"{where}: relative cost in loss on unique held-out text"
        bars.append(_of_runs(cost, entry["policy_cost"], Limits(high=COST_BAR), is_measurable=measurable, lacking_if_same=SAME))
    return bars


def _of_runs(bar: str, found: Entry, limits: Limits, *, is_measurable: bool, lacking_if_same: str | None = None) -> Bar:
    if not is_measurable:
        lacking = f"the deduplicated arm's natural recall is under {MIN_BASE:.0%} or {MIN_CLUSTERS} clusters: not measurable"
        return hold_to(bar, found, limits, lacking=lacking)
    if found["value"] is None:
        return hold_to(bar, found, limits, lacking="an arm is missing")
    if found["is_same"] and lacking_if_same is not None:
        return hold_to(bar, found, limits, lacking=lacking_if_same)
    if not found["is_resolved"]:
        needed = found["runs_needed"]
        lacking = f"{needed} paired runs would resolve it" if needed else "one seed has no spread: more runs are needed"
        return hold_to(bar, found, limits, lacking=lacking, verdict=UNRESOLVED) | {"runs_needed": needed}
    return hold_to(bar, found, limits, lacking=None)


def _over_rival(discriminations: Sequence[Entry]) -> Bar:
    """Hold the gain in average precision to its limit; one whose interval holds 0 is no gain, whatever its figure.

    On natural text if the rival scored it all, else on what the largest proxy trained on.
    """
    entries = [_entry(discriminations, stratum, label="memorized") for stratum in (NATURAL, f"{NATURAL}, by the teacher")]
    entry = next((entry for entry in entries if entry.get("differences")), entries[0])
    found = next((row["average_precision"] for row in entry.get("differences", []) if row["name"] == "sink_score"), None)
    lacking = None if entry.get("enough_data_differences") else f"fewer than {COMPARED_POSITIVES} memorized clusters"
    where = str(entry.get("stratum", NATURAL)).capitalize()
    name = f"{where}: average precision of sink_score less that of a logistic on copies, loss and zlib"
    bar = hold_to(name, found, OVER_RIVAL, lacking=lacking)
    if bar["verdict"] == NOT_ENOUGH or found is None or (found["low"] or 0.0) > 0:
        return bar
    sentence = bar["sentence"].replace(f": {bar['verdict']} (", f": {MISSED} (") + " The interval holds 0: no gain."
    return bar | {"verdict": MISSED, "sentence": sentence}


def _entry(entries: Sequence[Entry], stratum: str, **wanted: str) -> Entry:
    return next((row for row in entries if row["stratum"] == stratum and all(row[key] == value for key, value in wanted.items())), {})


def _by_label(entries: Sequence[Entry], stratum: str) -> Entry:
    """Return the stratum's entry by extraction, or where that is too rare by strong gain."""
    exact = _entry(entries, stratum, label="memorized")
    return exact if exact.get("enough_data") else _entry(entries, stratum, label="strong gain")


def _own(entry: Entry, metric: str) -> Mapping[str, Any] | None:
    """Return the figure of the output that claims the label: sink_score for memorized, predicted_gain for strong gain."""
    name = "sink_score" if entry.get("label") == "memorized" else "predicted_gain"
    return next((row[metric] for row in entry.get("predictors", []) if row["name"] == name), None)


def _point(value: float | None) -> dict[str, float | None]:
    return {"value": value, "low": None, "high": None}
