"""Turn gates into one verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.report.excerpts import make_visible
from pipeline.report.measures import tidy
from pipeline.report.wording import sentence

OUTCOMES = ("fail", "warn", "waived", "not_measured", "pass")
"""What a gate can come to, worst first."""

MAX_WHERE, MAX_SAID = 120, 500
"""Characters shown of where a gate's value was found, and of what an approver said."""

_PASSED = ("pass", "passed", "ok", "true")
_UNMEASURED = ("not_measured", "skipped", "unknown", "none", "", "not_enough_data", "not_applicable")


def judge(gates: Sequence[Mapping[str, Any]], verdict: str = "") -> dict[str, Any]:
    """Return `verdict` (pass, warn, fail), how many gates came to what, and the gates, worst first.

    A gate that does not hold fails the audit if its severity is `error`, else it warns; one that is waived or was not measured changes
    nothing and is counted. `verdict` overrides the conclusion where whoever ran the gates has already drawn it, so that page and exit
    code never differ.
    """
    rows = sorted((_gate(gate) for gate in gates), key=lambda gate: OUTCOMES.index(gate["outcome"]))
    tally = {outcome: sum(gate["outcome"] == outcome for gate in rows) for outcome in OUTCOMES}
    concluded = "fail" if tally["fail"] else "warn" if tally["warn"] else "pass"
    return {"verdict": verdict.lower() or concluded, "tally": tally, "gates": rows}


def _gate(raw: Mapping[str, Any]) -> dict[str, Any]:
    status = str(raw.get("status", "")).lower().replace(" ", "_")
    severity = str(raw.get("severity", "warn")).lower()
    if status == "waived":
        outcome = "waived"
    elif status in _PASSED:
        outcome = "pass"
    elif status in _UNMEASURED:
        outcome = "not_measured"
    else:
        outcome = "fail" if severity == "error" else "warn"
    return {
        "name": str(raw.get("name", "")),
        "severity": severity,
        "status": status,
        "outcome": outcome,
        "meaning": sentence(str(raw.get("meaning", ""))),
        "unit": str(raw.get("unit", "")),
        "where": make_visible(str(raw.get("where", "")), MAX_WHERE),
        "min_n": int(raw.get("min_n", 0)),
        "waiver": _waiver(raw.get("waiver")),
        **{key: tidy(raw.get(key)) for key in ("value", "low", "high", "limit")},
    }


def _waiver(raw: Mapping[str, Any] | None) -> dict[str, str] | None:
    """Return who waived a gate, why, until when, whether that is in force, and what the gate is without it."""
    if raw is None:
        return None
    return {key: make_visible(str(raw[key]), MAX_SAID) for key in ("until", "approver", "reason", "state", "waived")}
