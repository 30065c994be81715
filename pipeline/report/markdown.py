"""Say the verdict in a few lines of Markdown, for places that show only text; nothing in it comes from the corpus."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.report.wording import gate_value

MARKUP = frozenset("\\`*_[]()<>#|!&~")
"""What an approver wrote is shown as it is: no letter of it is read as Markdown."""

WORDS = {"pass": "PASS", "warn": "WARN", "fail": "FAIL"}


def render_markdown(summary: Mapping[str, Any]) -> str:
    """Return verdict, findings and gates as Markdown."""
    gates = summary["gates"]
    lines = [f"# {WORDS[gates['verdict']]}: {summary['name']}", "", f"Run `{summary['run']}`.", ""]
    lines += [f"- {sentence}" for sentence in summary["opinion"]]
    lines += ["", "| result | gate | value | limit |", "|---|---|---|---|"]
    lines += ["| " + " | ".join(_cells(gate)) + " |" for gate in gates["gates"]]
    if waived := [gate for gate in gates["gates"] if gate["waiver"]]:
        lines += ["", *(_waiver(gate) for gate in waived)]
    return "\n".join(lines) + "\n"


def _cells(gate: Mapping[str, Any]) -> list[str]:
    value = gate_value(gate["value"], gate["unit"])
    if gate["low"] is not None and gate["high"] is not None:
        value += f" ({gate_value(gate['low'], gate['unit'])} to {gate_value(gate['high'], gate['unit'])})"
    limit = "" if gate["limit"] is None else gate_value(gate["limit"], gate["unit"])
    cells = (gate["outcome"].replace("_", " "), gate["name"].replace("_", " "), value, limit)
    return [cell.replace("|", "\\|").replace("\n", " ") for cell in cells]


def _waiver(gate: Mapping[str, Any]) -> str:
    waiver = gate["waiver"]
    said = f"{waiver['state'].replace('_', ' ')}, until {waiver['until']}, by {waiver['approver']}: {waiver['reason']}"
    return f"- Waiver of {gate['name'].replace('_', ' ')}: " + "".join(f"\\{letter}" if letter in MARKUP else letter for letter in said)
