"""CI systems read the gates as test cases, and count what we count."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from pipeline.report.junit import render_junit
from pipeline.report.summary import build_summary

if TYPE_CHECKING:
    from tests.pipeline.report.conftest import MakeInputs

HOSTILE = "<b>&\"'\x00\x1b[31m]]> \u202e \ud800 \uffff"


def _waiver(state: str, waived: str) -> dict[str, str]:
    return {"until": "2027-01-31", "approver": f"R. Roe {HOSTILE}", "reason": HOSTILE, "state": state, "waived": waived}


def _gate(name: str, status: str, severity: str = "warn", **more: Any) -> dict[str, Any]:
    return {"name": name, "status": status, "severity": severity, "value": 0.25, "low": 0.2, "high": 0.3, "limit": 0.2, "unit": "share"} | {
        "meaning": f"share of things {HOSTILE}",
        **more,
    }


GATES = [
    _gate("fine", "pass"),
    _gate("late", "pass", waiver=_waiver("not_needed", "pass")),
    _gate("high", "warn", where=f"source {HOSTILE}"),
    _gate("broken", "fail", "error"),
    _gate("again", "fail", "error", waiver=_waiver("expired", "fail")),
    _gate("known", "waived", "error", waiver=_waiver("in_force", "fail")),
    _gate("thin", "not_measured", value=None, low=None, high=None),
]


@pytest.fixture(scope="module")
def suite(make_inputs: MakeInputs) -> ET.Element:
    summary = build_summary(replace(make_inputs(50), gates=GATES, verdict="FAIL"))
    root = ET.fromstring(render_junit(summary).encode())
    assert root.tag == "testsuites"
    (suite,) = root
    return suite


def _read(case: ET.Element) -> str:
    """Say how a CI system takes a case: the child decides, and none is a success."""
    found = [child.tag for child in case if child.tag in ("failure", "error", "skipped")]
    assert len(found) <= 1
    return found[0] if found else "passed"


def test_each_outcome_has_its_kind_of_case(suite: ET.Element) -> None:
    """A warning passes, as the exit code does; waived and unmeasured gates are skipped."""
    assert {case.attrib["name"]: _read(case) for case in suite.iter("testcase")} == {
        "fine": "passed",
        "late": "passed",
        "high": "passed",
        "broken": "failure",
        "again": "failure",
        "known": "skipped",
        "thin": "skipped",
    }


def test_the_suite_counts_its_cases(suite: ET.Element) -> None:
    """Readers that trust the attributes and readers that count cases agree."""
    read = Counter(map(_read, suite.iter("testcase")))
    told = {key: int(suite.attrib[key]) for key in ("tests", "failures", "errors", "skipped")}
    assert told == {"tests": read.total(), "failures": read["failure"], "errors": 0, "skipped": read["skipped"]}
    assert [child.tag for child in suite][:1] == ["properties"]
    assert {child.tag for child in suite} == {"properties", "testcase"}
    assert all(case.attrib["classname"] == "sinkaudit.demo-corpus" for case in suite.iter("testcase"))


def test_values_limits_and_waivers_are_told(suite: ET.Element) -> None:
    """A reader of the CI page needs no other file to know what exceeded what, and by whose word it may."""
    cases = {case.attrib["name"]: case for case in suite.iter("testcase")}
    output = {name: case.findtext("system-out", "") for name, case in cases.items()}
    assert output["high"].startswith("WARN: value 25.0% (20.0% to 30.0%), limit 20.0%, source ")
    failure, skipped = cases["broken"].find("failure"), cases["known"].find("skipped")
    assert failure is not None
    assert skipped is not None
    assert failure.attrib["message"] == "value 25.0% (20.0% to 30.0%), limit 20.0%"
    assert skipped.attrib["message"].startswith("waived until 2027-01-31 by R. Roe <b>&\"'")
    assert "Waiver expired: until 2027-01-31" in output["again"]
    assert "Waiver not needed" in output["late"]


def test_no_character_breaks_the_file(make_inputs: MakeInputs) -> None:
    """Controls, surrogates and non-characters are spelled out; equal summaries give equal bytes."""
    summary = build_summary(replace(make_inputs(50), gates=GATES))
    text = render_junit(summary)
    assert text == render_junit(summary)
    assert not any(letter in text for letter in "\x00\x1b\u202e\ud800\uffff")
    assert "⟨U+D800⟩" in text
