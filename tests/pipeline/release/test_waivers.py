"""A waiver takes back a gate's effect on the verdict, for a while and by name, and nothing else."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import GatesConfig, GuardsConfig, WaiverConfig
from pipeline.release.gate import Gate, Status, verdict_of
from pipeline.release.waivers import expired, verdict_on, waive

DAY = date(2027, 1, 31)
NAMES = (*GuardsConfig.model_fields, *GatesConfig.model_fields)
STATUSES: tuple[Status, ...] = ("pass", "warn", "fail", "not_measured")


def _gate(name: str, status: Status) -> Gate:
    return Gate(name, 0.5, None, None, 0.2, "error" if status == "fail" else "warn", status, "share of things")


def _waiver(gate: str, until: date = DAY) -> WaiverConfig:
    return WaiverConfig(gate=gate, until=until, approver="R. Roe", reason="known templates")


@pytest.mark.parametrize(
    ("status", "until", "wanted", "state"),
    [
        ("fail", DAY, "waived", "in_force"),
        ("warn", DAY, "waived", "in_force"),
        ("warn", DAY - timedelta(1), "warn", "expired"),
        ("fail", DAY - timedelta(1), "fail", "expired"),
        ("pass", DAY, "pass", "not_needed"),
        ("not_measured", DAY, "not_measured", "not_needed"),
        ("pass", DAY - timedelta(1), "pass", "expired"),
    ],
)
def test_a_waiver_acts_where_it_is_needed_and_up_to_its_last_day(status: Status, until: date, wanted: str, state: str) -> None:
    """Value, limit and severity stay; the waiver stands beside the gate whatever it came to."""
    (gate,) = waive([_gate("source_loss", status)], [_waiver("source_loss", until)], DAY)
    assert (gate.status, gate.value, gate.limit) == (wanted, 0.5, 0.2)
    assert gate.waiver == {
        "until": until.isoformat(),
        "approver": "R. Roe",
        "reason": "known templates",
        "state": state,
        "waived": status,
    }


def test_other_gates_are_left_alone() -> None:
    """A waiver names one gate; a waiver of a gate that is not judged here is nothing."""
    gates = [_gate("source_loss", "warn"), _gate("calibration", "fail")]
    assert waive(gates, [_waiver("bucket_cap")], DAY) == tuple(gates)
    assert verdict_of(waive(gates, [_waiver("calibration")], DAY)) == "WARN"
    assert verdict_of(waive(gates, [_waiver("calibration"), _waiver("source_loss")], DAY)) == "PASS"


@given(
    statuses=st.lists(st.sampled_from(STATUSES), min_size=len(NAMES), max_size=len(NAMES)),
    ends=st.dictionaries(st.sampled_from(NAMES), st.integers(-3, 3)),
    later=st.integers(0, 5),
)
def test_on_a_later_day_a_verdict_is_what_that_day_would_judge(statuses: list[Status], ends: dict[str, int], later: int) -> None:
    """What a manifest holds is enough to say so, and past waivers are named exactly where the verdict rests on them."""
    gates = [_gate(name, status) for name, status in zip(NAMES, statuses, strict=True)]
    waivers = [_waiver(name, DAY + timedelta(days)) for name, days in ends.items()]
    today = DAY + timedelta(later)
    released: list[dict[str, Any]] = [gate.to_dict() for gate in waive(gates, waivers, DAY)]
    verdict, past = verdict_on(released, today)
    assert verdict == verdict_of(waive(gates, waivers, today))
    needed = {gate.name for gate in gates if gate.status in ("warn", "fail")}
    assert {text.split()[0] for text in past} == {name for name, days in ends.items() if name in needed and 0 <= days < later}
    assert set(expired(waivers, today)) == {name for name, days in ends.items() if days < later}
