"""Turn gates into one verdict and a few sentences that a reader without the page could act on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pipeline.report.measures import tidy
from pipeline.report.wording import count, decimal, large, percent, plural, spread

OUTCOMES = ("fail", "warn", "waived", "not_measured", "pass")
"""What a gate can come to, worst first."""

_PASSED = ("pass", "passed", "ok", "true")
_UNMEASURED = ("not_measured", "skipped", "unknown", "none", "", "not_enough_data", "not_applicable")


def judge(gates: Sequence[Mapping[str, Any]], verdict: str = "") -> dict[str, Any]:
    """Return `verdict` (pass, warn, fail), how many gates came to what, and the gates, worst first.

    A gate that does not hold fails the audit if its severity is `error`, else it warns; a waived one warns, one without enough data changes
    nothing. `verdict` overrides the conclusion where whoever ran the gates has already drawn it, so that page and exit code never differ.
    """
    rows = sorted((_gate(gate) for gate in gates), key=lambda gate: OUTCOMES.index(gate["outcome"]))
    tally = {outcome: sum(gate["outcome"] == outcome for gate in rows) for outcome in OUTCOMES}
    concluded = "fail" if tally["fail"] else "warn" if tally["warn"] or tally["waived"] else "pass"
    return {"verdict": verdict.lower() or concluded, "tally": tally, "gates": rows}


def _gate(raw: Mapping[str, Any]) -> dict[str, Any]:
    status = str(raw.get("status", "")).lower().replace(" ", "_")
    severity = str(raw.get("severity", "warn")).lower()
    if raw.get("waiver") or status == "waived":
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
        "meaning": _sentence(str(raw.get("meaning", ""))),
        "unit": str(raw.get("unit", "")),
        **{key: tidy(raw.get(key)) for key in ("value", "low", "high", "limit", "waiver")},
    }


def _sentence(text: str) -> str:
    text = text.strip()
    return text and text[0].upper() + text[1:] + ("" if text.endswith((".", "?", "!")) else ".")


def opinion(summary: Mapping[str, Any]) -> list[str]:
    """Return the findings in sentences, each number of which stands elsewhere in the summary."""
    spans = summary["duplication"]["repeated_spans"]
    rows = [_on_rows(summary), *([_on_spans(spans)] if spans else [])]
    return [_on_gates(summary["gates"]), *rows, _on_sinks(summary), _on_decisions(summary["decisions"])]


def _on_gates(gates: Mapping[str, Any]) -> str:
    tally, total = gates["tally"], sum(gates["tally"].values())
    if not total:
        return "No gate was evaluated."
    parts = [f"{tally['pass']} of {plural(total, 'gate')} hold"]
    parts += [f"{tally['fail']} failed"] * bool(tally["fail"]) + [f"{tally['warn']} warned"] * bool(tally["warn"])
    parts += [f"{tally['waived']} waived"] * bool(tally["waived"])
    parts += [f"{tally['not_measured']} could not be measured"] * bool(tally["not_measured"])
    return ", ".join(parts) + "."


def _on_rows(summary: Mapping[str, Any]) -> str:
    steps = {step["step"]: step for step in summary["flow"]["steps"]}
    copies = steps["exact"]["rows"] + steps["near"]["rows"]
    copied = summary["duplication"]["rows_of_references"]
    told = f" ({count(copied)} of them for a document of a reference)" if summary["duplication"]["references"] else ""
    return (
        f"Of {plural(steps['in']['rows'], 'row')}, {count(copies)} ({percent(summary['duplication']['share_removed'])}) copied another row "
        f"that was kept and were removed{told}; {count(steps['kept']['rows'])} rows remain in the filtered data."
    )


def _on_spans(spans: Mapping[str, Any]) -> str:
    if not spans["num_spans"]:
        return f"No passage of {count(spans['min_words'])} words or more repeats across documents that differ as wholes."
    treated = spans["treated"]
    done = f"; {plural(treated['rows_masked'], 'row')} mask such text" if treated["rows_masked"] else ""
    done = f"; it was cut out of {plural(treated['rows_trimmed'], 'row')}" if treated["rows_trimmed"] else done
    return (
        f"{plural(spans['num_distinct'], 'passage')} of {count(spans['min_words'])} words or more "
        f"{'repeats' if spans['num_distinct'] == 1 else 'repeat'} across documents that differ as "
        f"wholes: {percent(spans['share_of_text'])} of the text that deduplication left, "
        f"in {plural(spans['num_documents'], 'document')}{done}."
    )


def _on_sinks(summary: Mapping[str, Any]) -> str:
    sinks = summary["sinks"]
    if not sinks["rows_judged"]:
        return "No row was scored for memorization."
    return (
        f"A model of {large(sinks['definition']['target_parameters'])} parameters is expected to memorize "
        f"{decimal(sinks['expected_memorized'])} of the {count(sinks['rows_judged'])} rows that deduplication left (the sum of their sink "
        f"scores; from {decimal(sinks['expected_memorized_low'])} to {decimal(sinks['expected_memorized_high'])} if all lay at the ends of "
        f"their intervals). {_reach(sinks)}Skill of these scores on held-out clusters (Brier skill, 0 is none): "
        f"{spread(sinks['evaluation']['calibration']['brier_skill'])}."
    )


def _reach(sinks: Mapping[str, Any]) -> str:
    """Say how far beyond the labelled proxies the scores reach, if they do."""
    sizes = sinks["evaluation"]["label_sizes"]
    if not sizes or sinks["definition"]["target_parameters"] <= max(sizes):
        return ""
    times = sinks["definition"]["target_parameters"] / max(sizes)
    return f"This extrapolates to {large(times)} times the largest proxy with labels. "


def _on_decisions(decisions: Mapping[str, Any]) -> str:
    rows: dict[str, int] = {}
    for line in decisions["counts"]:
        rows[line["action"]] = rows.get(line["action"], 0) + line["rows"]
    acted = ", ".join(f"{action} {count(number)}" for action, number in rows.items())
    return (
        f"Policy {decisions['policy']['policy']} at a sink score of {decimal(decisions['policy']['sink_threshold'])}: {acted}. "
        f"For {plural(decisions['num_near_threshold'], 'row')} the interval of the score holds the threshold; look at these first."
    )
