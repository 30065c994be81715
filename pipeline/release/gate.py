"""What a gate is: a value, an interval, a limit and one line that says what it means; and what many of them come to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from pipeline.statistics import wilson_interval

Severity = Literal["error", "warn", "off"]
Status = Literal["pass", "warn", "fail", "waived", "not_measured"]
Unit = Literal["share", "count", ""]
Verdict = Literal["PASS", "WARN", "FAIL"]


@dataclass(frozen=True)
class Measure:
    """Hold an estimate with its 95% interval and the number of observations behind it."""

    value: float
    low: float
    high: float
    n: int


def measured(value: float | None, low: float | None, high: float | None, n: int | None) -> Measure | None:
    """Return an estimate, or None if any of its numbers is missing."""
    if value is None or low is None or high is None or n is None:
        return None
    return Measure(value, low, high, n)


@dataclass(frozen=True)
class Gate:
    """State one gate's outcome; `value`, `low`, `high` and `limit` share one unit, and None is not measured.

    waiver: if the user gave one, `until, approver, reason, state` (in_force, not_needed or expired) and `waived`, the status without it.
    """

    name: str
    value: float | None
    low: float | None
    high: float | None
    limit: float | None
    severity: Severity
    status: Status
    meaning: str
    min_n: int = 0
    unit: Unit = ""
    where: str = ""  # the source or cluster that has this value
    waiver: Mapping[str, str] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the gate as JSON values."""
        return asdict(self)


def verdict_of(gates: Sequence[Gate]) -> Verdict:
    """Return FAIL if a gate failed, WARN if one warns, else PASS; what was not measured or is waived changes nothing and is listed."""
    statuses = {gate.status for gate in gates}
    return "FAIL" if "fail" in statuses else "WARN" if "warn" in statuses else "PASS"


def count_gate(name: str, count: int, is_passed: bool, meaning: str) -> Gate:
    """State a count that fails the audit unless it holds."""
    return Gate(name, float(count), None, None, 0.0, "error", "pass" if is_passed else "fail", meaning, unit="count")


def share_gate(name: str, count: int, n: int, limit: float, meaning: str, min_n: int, where: str = "") -> Gate:
    """Judge a share against an upper limit that warns when exceeded."""
    if n < min_n:
        return not_measured(name, limit, "share", f"{meaning}; not enough rows ({n})", min_n)
    low, high = wilson_interval(count, n)
    status: Status = "pass" if count / n <= limit else "warn"
    return Gate(name, count / n, low, high, limit, "warn", status, meaning, min_n, "share", where)


def not_measured(name: str, limit: float, unit: Unit, meaning: str, min_n: int = 0) -> Gate:
    """State that a gate had nothing to judge."""
    return Gate(name, None, None, None, limit, "warn", "not_measured", meaning, min_n, unit)


def with_severity(gate: Gate, severity: str, setting: str) -> Gate:
    """Return a gate that warns as the user's severity has it: off, warn, fail or abort (which fails in the report).

    setting: where the severity stands, for the reader of a gate that is off.
    """
    if severity == "off":
        return replace(gate, severity="off", status="not_measured", meaning=f"{gate.meaning}; not judged: {setting} is off")
    if severity == "warn":
        return gate
    return replace(gate, severity="error", status="fail" if gate.status == "warn" else gate.status)
