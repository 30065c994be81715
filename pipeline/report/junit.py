"""Say the gates as a JUnit file, which every CI system shows: a test case a gate, in the report's order.

| gate | test case |
|---|---|
| pass | nothing inside |
| warn | passes, as the run's exit code does; what exceeds what is in `system-out` |
| fail | `failure` |
| waived | `skipped`, naming until when, by whom and why |
| not measured | `skipped`, saying so |

Time is left out: a gate takes none, and equal runs give equal files. Characters that XML cannot hold are spelled out.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET  # writes only; nothing is parsed
from collections.abc import Mapping
from typing import Any

from pipeline.report.excerpts import make_visible
from pipeline.report.wording import gate_value

MAX_TEXT = 1_000


def render_junit(summary: Mapping[str, Any]) -> str:
    """Return gates.junit.xml of a summary."""
    gates, name = summary["gates"], str(summary["name"])
    cases = [_case(gate, name) for gate in gates["gates"]]
    skipped = sum(case.find("skipped") is not None for case in cases)
    counts = {"tests": str(len(cases)), "failures": str(gates["tally"]["fail"]), "errors": "0", "skipped": str(skipped)}
    root = ET.Element("testsuites", {"name": "sinkaudit", **counts})
    suite = ET.SubElement(root, "testsuite", {"name": _text(f"sinkaudit {summary['run']}"), **counts})
    properties = ET.SubElement(suite, "properties")
    for key, value in (("run", summary["run"]), ("verdict", gates["verdict"])):
        ET.SubElement(properties, "property", {"name": key, "value": _text(value)})
    suite.extend(cases)
    ET.indent(root, " ")
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _case(gate: Mapping[str, Any], name: str) -> ET.Element:
    case = ET.Element("testcase", {"classname": _text(f"sinkaudit.{name}"), "name": _text(gate["name"])})
    told = _told(gate)
    if gate["outcome"] == "fail":
        ET.SubElement(case, "failure", {"message": _text(told), "type": "gate"}).text = _text(gate["meaning"])
    elif gate["outcome"] == "waived":
        waiver = gate["waiver"]
        said = f"waived until {waiver['until']} by {waiver['approver']}: {waiver['reason']}"
        ET.SubElement(case, "skipped", {"message": _text(said)})
    elif gate["outcome"] == "not_measured":
        ET.SubElement(case, "skipped", {"message": _text(f"not measured: {gate['meaning']}")})
    prefix = "WARN: " if gate["outcome"] == "warn" else ""
    ET.SubElement(case, "system-out").text = _text(f"{prefix}{told}. {gate['meaning']}{_waiver_that_does_nothing(gate)}")
    return case


def _told(gate: Mapping[str, Any]) -> str:
    """Say a gate's value, interval, limit and place in a line."""
    if gate["value"] is None:
        return "no value"
    value = f"value {gate_value(gate['value'], gate['unit'])}"
    if gate["low"] is not None and gate["high"] is not None:
        value += f" ({gate_value(gate['low'], gate['unit'])} to {gate_value(gate['high'], gate['unit'])})"
    limit = "" if gate["limit"] is None else f", limit {gate_value(gate['limit'], gate['unit'])}"
    return value + limit + (f", {gate['where']}" if gate["where"] else "")


def _waiver_that_does_nothing(gate: Mapping[str, Any]) -> str:
    waiver = gate["waiver"]
    if not waiver or gate["outcome"] == "waived":
        return ""
    state = {"expired": "expired", "not_needed": "not needed"}[waiver["state"]]
    return f" Waiver {state}: until {waiver['until']}, by {waiver['approver']}: {waiver['reason']}"


def _text(value: object) -> str:
    """Return text that XML 1.0 can hold, on one line: control characters and lone surrogates are spelled out."""
    return make_visible(str(value), MAX_TEXT)
