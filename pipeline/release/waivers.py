"""Waive gates by somebody's word, for a while: who, why and until when stays beside the gate wherever it is shown.

A waiver acts only on a gate that does not hold, and up to its last day. What it takes back is the gate's effect on the verdict, never
its value. A waiver that is past its day, or was not needed, is reported as such.

The day is an argument: it decides a verdict, so the run's identity holds which waivers were past (`expired`). The same audit run again
after a waiver's last day is therefore another run, with its own verdict; what was published before stays as it is, and
`pipeline.release.manifest.verify_release`, told the day, no longer takes it for a pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date
from typing import Any

from pipeline.config import WaiverConfig
from pipeline.release.gate import Gate, Verdict


def waive(gates: Sequence[Gate], waivers: Sequence[WaiverConfig], today: date) -> tuple[Gate, ...]:
    """Return the gates, each with its waiver if there is one, and waived where that is in force and needed.

    A waiver of a gate that is not among the given ones has no effect here.
    """
    named = {waiver.gate: waiver for waiver in waivers}
    return tuple(_waived(gate, named[gate.name], today) if gate.name in named else gate for gate in gates)


def expired(waivers: Sequence[WaiverConfig], today: date) -> list[str]:
    """Return the names of the gates whose waiver is past its last day, in order."""
    return sorted(waiver.gate for waiver in waivers if waiver.until < today)


def verdict_on(gates: Sequence[Mapping[str, Any]], today: date) -> tuple[Verdict, list[str]]:
    """Return the verdict of gates as a manifest holds them on a later day, and what is past of the waivers it rests on, in words."""
    past = [gate for gate in gates if gate["status"] == "waived" and date.fromisoformat(gate["waiver"]["until"]) < today]
    statuses = {gate["waiver"]["waived"] if gate in past else gate["status"] for gate in gates}
    verdict: Verdict = "FAIL" if "fail" in statuses else "WARN" if "warn" in statuses else "PASS"
    return verdict, [f"{gate['name']} until {gate['waiver']['until']} by {gate['waiver']['approver']}" for gate in past]


def _waived(gate: Gate, waiver: WaiverConfig, today: date) -> Gate:
    is_needed, is_past = gate.status in ("warn", "fail"), waiver.until < today
    told = {
        "until": waiver.until.isoformat(),
        "approver": waiver.approver,
        "reason": waiver.reason,
        "state": "expired" if is_past else "in_force" if is_needed else "not_needed",
        "waived": gate.status,
    }
    return replace(gate, status="waived" if is_needed and not is_past else gate.status, waiver=told)
