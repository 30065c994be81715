"""Tell Prefect how an audit ended: artifacts on the flow run's page, and an event for each gate that automations can act on.

Everything is taken from summary.json, so a run that was finished before is told like a new one. Told are numbers, settings and the names
of runs and gates; no text, no id and no source of the corpus, because the orchestrator's readers are not the report's.
"""

from __future__ import annotations

import flows.settings  # noqa: F401  before prefect is imported

# isort: split
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact
from prefect.events import emit_event

from flows.board import artifact_key
from pipeline.report.wording import gate_value

WORDS = {"pass": "passed", "warn": "warned", "fail": "failed", "waived": "waived", "not_measured": "not_measured"}
"""What a gate came to -> the last part of its event, `sinkaudit.gate.WORD`."""
TOLD_OF_GATES = ("value", "low", "high", "limit", "unit", "severity")


def announce(summary: Mapping[str, Any], report: str, reports_url: str | None) -> None:
    """Leave the summary, the gates, the stages and the way to the report as artifacts of the current flow run, and emit the gates."""
    corpus, gates = summary["name"], summary["gates"]["gates"]
    create_markdown_artifact(render_risks(summary), artifact_key(corpus, "summary"), "verdict and what the audit found")
    create_table_artifact([_row(gate) for gate in gates], artifact_key(corpus, "gates"), "what each gate came to, worst first")
    stages = [_stage(stage) for stage in summary["timing"]["stages"]]
    create_table_artifact(stages, artifact_key(corpus, "stages"), "what each stage took: rows that it made, MB of the corpus's text")
    create_link_artifact(
        report_link(report, reports_url), summary["run"], artifact_key(corpus, "report"), "the risk report, one page that works offline"
    )
    emit_gates(corpus, summary["run"], gates)


def emit_gates(corpus: str, run: str, gates: Iterable[Mapping[str, Any]]) -> None:
    """Emit one event a gate, `sinkaudit.gate.passed|warned|failed|waived|not_measured`, about `sinkaudit.gate.CORPUS.GATE`.

    gates: `name`, `outcome` (a key of WORDS) and, where there, what TOLD_OF_GATES lists and `waiver`.
    """
    for gate in gates:
        emit_event(
            f"sinkaudit.gate.{WORDS[gate['outcome']]}",
            resource={
                "prefect.resource.id": gate_resource(corpus, gate["name"]),
                "prefect.resource.name": f"{gate['name']} of {corpus}",
                "sinkaudit.corpus": corpus,
                "sinkaudit.gate": gate["name"],
                "sinkaudit.run": run,
            },
            payload={
                "run": run,
                **{name: gate.get(name) for name in TOLD_OF_GATES},
                "waived_until": gate["waiver"]["until"] if gate.get("waiver") else None,
            },
        )


def gate_resource(corpus: str, gate: str) -> str:
    """Return the resource id that events about a gate of a corpus carry; `*` for the gate matches each of them."""
    return f"sinkaudit.gate.{corpus}.{gate}"


def report_link(report: str, reports_url: str | None) -> str:
    """Return where the report can be opened: below the given address, or as a file, which browsers open only when it is pasted."""
    if reports_url is not None:
        run, page = report.rsplit("/", 2)[-2:]
        return f"{reports_url.rstrip('/')}/{run}/{page}"
    return report if "://" in report else Path(report).absolute().as_uri()


def render_risks(summary: Mapping[str, Any]) -> str:
    """Return verdict, rows and risk as Markdown."""
    gates, sinks = summary["gates"], summary["sinks"]
    tally = ", ".join(f"{count} {outcome.replace('_', ' ')}" for outcome, count in gates["tally"].items() if count)
    lines = [f"# {gates['verdict'].upper()}: {summary['name']}", "", f"Run `{summary['run']}`. Gates: {tally}.", ""]
    lines += ["| step | rows | share |", "|:---|---:|---:|"]
    lines += [f"| {step['label']} | {step['rows']:,} | {step['share']:.1%} |" for step in summary["flow"]["steps"]]
    if sinks["expected_memorized"] is not None:
        parameters = summary["reproduce"]["config"]["risk"]["target_parameters"]
        span = f"{sinks['expected_memorized_low']:,.1f} to {sinks['expected_memorized_high']:,.1f}"
        lines += ["", f"A model of {parameters:,.0f} parameters is expected to memorize {sinks['expected_memorized']:,.1f} of the"]
        lines[-1] += f" {sinks['rows_judged']:,} rows that deduplication left ({span})."
    return "\n".join(lines) + "\n"


def _stage(stage: Mapping[str, Any]) -> dict[str, str]:
    """Return a stage as a person reads it; what it found in the ledger has no rates."""
    work = stage.get("work", {}).values()
    tokens = next((kind["tokens_per_second"] for kind in work if kind["tokens_per_second"] is not None), None)
    return {
        "stage": stage["stage"] + (" (in the ledger already)" if stage["was_cached"] else ""),
        "seconds": f"{stage['seconds']:,.2f}",
        "rows": f"{stage['rows']:,}",
        "rows/s": _figure(stage["rows_per_second"]),
        "MB/s": _figure(stage["megabytes_per_second"]),
        "tokens/s": _figure(tokens),
        "FLOPs": f"{flops:.2e}" if (flops := sum(kind["flops"] for kind in work)) else "",
        "peak memory": f"{stage['peak_memory_bytes'] / 1e6:,.0f} MB",
    }


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}" if value >= 10 else f"{value:.2g}"


def _row(gate: Mapping[str, Any]) -> dict[str, Any]:
    shown = {name: "" if gate[name] is None else gate_value(gate[name], gate["unit"]) for name in ("value", "low", "high", "limit")}
    waiver = gate["waiver"]
    return {
        "gate": gate["name"],
        "outcome": gate["outcome"].replace("_", " "),
        "value": shown["value"],
        "95% interval": f"{shown['low']} to {shown['high']}" if shown["low"] and shown["high"] else "",
        "limit": shown["limit"],
        "severity": gate["severity"],
        "waiver": f"{waiver['state'].replace('_', ' ')}, until {waiver['until']}" if waiver else "",
    }
