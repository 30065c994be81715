"""Say numbers the way a reader takes them in: separators, sensible digits, intervals in words."""

from __future__ import annotations

import json
import math
from typing import Any

MISSING = "not measured"

GROUNDS = {
    "review": "predictor abstained",
    "sink": "high score",
    "undecided": "undecided score",
    "near_copy": "least alike copy",
    "cluster": "large cluster",
    "span": "repeated passage",
}
"""Why a row is among those that a person should look at."""

_CLAIMS = {
    "rows_balance": ("Every row is accounted for", "exactly"),
    "filtered_rows": ("Rows are left to train on", "more than"),
    "source_loss": ("No source loses most of its rows", "at most"),
    "largest_cluster": ("No single cluster dominates", "at most"),
    "transitive_only": ("Few rows are tied to a cluster by a chain alone", "at most"),
    "bucket_cap": ("Few comparisons were left out", "at most"),
    "outside_support": ("The predictor knows this kind of text", "at most"),
    "predictor_beats_rival": ("The proxies beat a simple rival", "more than"),
    "calibration": ("The scores mean what they say", "more than"),
    "removal_recall": ("Made-up copies, put in as a test, were removed", "at least"),
    "secrets_in_kept_rows": ("No secrets in kept rows of high risk", "at most"),
}
"""What each gate claims, and how its limit bounds the value."""
_BESIDE = frozenset({"cluster_size", "is_supported", "sink_score", "sink_score_low", "sink_score_high", "jaccard"})
_EVIDENCE = {
    "link": "place in its cluster",
    "stands_for": "copies it stands for",
    "sink_threshold": "threshold",
    "containment_removed": "of its shingles in the kept copy",
    "containment_kept": "of the kept copy's in it",
}
"""What a decision's evidence is called, where its own name says too little; what is told beside it already is left out."""

_PREDICTORS = {
    "sink_score": "sink score",
    "signal_score": "sink score without copies",
    "rival": "rival: copies, loss, zlib",
    "fuzzy_mass": "fuzzy mass",
    "-loss": "low loss",
    "loss": "high loss",
    "min_k++": "Min-K%++",
    "small-model-extractable": "extractable from a proxy",
}

_FEATURES = {
    "greedy_match": "suffix recited",
    "exposure_drop": "fall of loss if seen",
    "trajectory_sum": "loss over training",
    "suffix_log_prob": "suffix's probability",
    "suffix_loss": "loss on the suffix",
    "prompt_loss": "loss on the prompt",
    "reference_loss": "loss if never seen",
    "min_k_plus_plus": "Min-K%++",
    "grad_norm": "gradient's size",
    "loss_per_zlib": "loss/zlib",
}
"""What features are called, where their own names say too little."""


def count(value: Any) -> str:
    """Say a whole number with thousands separators."""
    return MISSING if value is None else f"{round(value):,}"


def percent(value: Any) -> str:
    """Say a share in percent: one decimal place, more for small shares, never a rounded-away 0 or 100."""
    if value is None:
        return MISSING
    scaled = 100 * value
    if 0 < abs(scaled) < 0.01:
        return "under 0.01%"
    if 99.95 < scaled < 100:
        return f"{math.floor(scaled * 100) / 100:.2f}%"
    if 0 < abs(scaled) < 0.1:
        return f"{scaled:.2f}%"
    return f"{scaled:.0f}%" if scaled in (0, 100) else f"{scaled:.1f}%"


def decimal(value: Any, digits: int = 3) -> str:
    """Say a number with about `digits` significant digits and no trailing zeros."""
    if value is None:
        return MISSING
    if value == 0:
        return "0"
    if abs(value) >= 10 ** (digits - 1):
        return f"{value:,.0f}"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:.{min(places, 8)}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def size(value: Any) -> str:
    """Say bytes in decimal units."""
    return MISSING if value is None else _scaled(value, ("bytes", "kB", "MB", "GB", "TB", "PB"))


def large(value: Any) -> str:
    """Say a large number in words: 1.2 million."""
    return MISSING if value is None else _scaled(value, ("", "thousand", "million", "billion", "trillion", "quadrillion"))


def _scaled(value: float, units: tuple[str, ...]) -> str:
    step = 0
    while abs(value) >= 999.5 and step < len(units) - 1:
        value, step = value / 1000, step + 1
    number = f"{value:,.0f}" if step == 0 or abs(value) >= 100 else decimal(value)
    return f"{number} {units[step]}".strip()


def power(value: Any) -> str:
    """Say a count of operations as a power of ten: 3.1 × 10¹²."""
    if value is None:
        return MISSING
    if value < 1e4:
        return count(value)
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa} × 10" + str(int(exponent)).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))


def seconds(value: Any) -> str:
    """Say a duration."""
    if value is None:
        return MISSING
    if value < 90:
        return f"{decimal(value, 2)} s"
    if value < 5400:
        return f"{value // 60:.0f} min {value % 60:.0f} s"
    return f"{value // 3600:.0f} h {value % 3600 // 60:.0f} min"


def spread(raw: Any, kind: str = "decimal") -> str:
    """Say an interval in words: 0.83 (0.78 to 0.87)."""
    if not raw or raw.get("value") is None:
        return MISSING
    known = [abs(bound) for bound in (raw["value"], raw.get("low"), raw.get("high")) if bound is not None]
    say = {"decimal": lambda value: f"{value:.{2 if max(known) >= 0.1 else 3}f}", "percent": percent, "count": count}[kind]
    if raw.get("low") is None or raw.get("high") is None:
        return f"{say(raw['value'])} (no interval)"
    return f"{say(raw['value'])} ({say(raw['low'])} to {say(raw['high'])})"


def score(value: Any) -> str:
    """Say a probability with two decimals that never round to certainty."""
    if value is None:
        return MISSING
    if 0.0 < value < 0.005:
        return "<0.01"
    return ">0.99" if 0.995 <= value < 1.0 else f"{value:.2f}"


def predictor(name: str) -> str:
    """Say a predictor's name in words."""
    return _PREDICTORS.get(name, name.replace("_", " "))


def feature(name: str) -> str:
    """Say a feature's name in words short enough for the side of a chart."""
    return _FEATURES.get(name, name.replace("_", " "))


def claim(gate: str) -> str:
    """Say what a gate claims, in plain words."""
    return _CLAIMS[gate][0] if gate in _CLAIMS else gate.replace("_", " ").capitalize()


def bound(gate: str) -> str:
    """Say how a gate's limit bounds its value; nothing for a gate of another version."""
    return _CLAIMS[gate][1] if gate in _CLAIMS else ""


def sentence(text: str) -> str:
    """Say something with a capital and a full stop; nothing stays nothing."""
    text = text.strip()
    return text and text[0].upper() + text[1:] + ("" if text.endswith((".", "?", "!", "…")) else ".")


def evidence(text: str) -> list[tuple[str, str]]:
    """Return a decision's evidence as names and values in words, less what stands beside it; what is no JSON object stands as it is."""
    try:
        values = json.loads(text)
    except json.JSONDecodeError:
        return [("recorded", text)] if text else []
    if not isinstance(values, dict):
        return [("recorded", text)]
    told = {key: value for key, value in values.items() if key not in _BESIDE and value not in (None, "none")}
    return [(_EVIDENCE.get(key, key.replace("_", " ")), _said(value)) for key, value in told.items()]


def _said(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return count(value)
    return decimal(value, 4) if isinstance(value, float) else str(value).replace("_", " ")


def plural(number: int, one: str, many: str = "") -> str:
    """Say a count with its noun: 1 row, 2 rows."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"


def gate_value(value: Any, unit: str) -> str:
    """Say a gate's value or limit in its unit."""
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (int, float)):
        say = {"share": percent, "count": count}.get(unit, decimal)
        return say(value)
    return str(value)
