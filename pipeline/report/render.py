"""Draw the report: one HTML file that needs nothing but a browser, and its short forms.

Text from the corpus is hostile. Templates escape everything; a content security policy forbids all but our own style and script, named
by their hashes; excerpts pass `redact_excerpt` here, so no caller can forget it. Nothing is loaded: no font, image, frame or request.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipeline.report import evidence_figures, figures, wording
from pipeline.report.excerpts import Mode, redact_excerpt
from pipeline.report.frameworks import FRAMEWORKS, SECTIONS
from pipeline.report.markdown import WORDS
from pipeline.report.plot import Figure
from pipeline.report.summary import shown_spans, wanted_excerpts

TEMPLATES = Path(__file__).parent / "templates"
SCRIPTS = ("tables.js", "overrides.js")
MAX_BYTES = 2_000_000
SAYINGS: tuple[str, ...] = ("count", "percent", "decimal", "size", "large", "power", "predictor", "seconds", "score", "spread", "sentence")
SAYINGS += ("evidence", "claim", "bound")
LISTED = 8
"""Rows of the short lists in sections; the table of rows to look at has them all."""


def render_report(summary: Mapping[str, Any], samples: Iterable[Mapping[str, Any]] = ()) -> str:
    """Return the report as one self-contained HTML page.

    samples: `doc_id` and raw `text` of the documents that `wanted_excerpts` names; others are ignored. How much of a text is shown is
    the summary's `scope.excerpts`. Equal arguments give equal bytes.
    """
    mode, samples = summary["scope"]["excerpts"], list(samples)
    wanted = set(wanted_excerpts(summary))
    excerpts = {sample["doc_id"]: redact_excerpt(sample["text"], mode) for sample in samples if sample["doc_id"] in wanted}
    return compose("report.html.j2", s=summary, excerpts=excerpts, passages=_passages(summary, samples), figures=draw_figures(summary))


def render_index(runs: Sequence[Mapping[str, Any]]) -> str:
    """Return the page that lists runs, in the order given; each is an `index_entry`."""
    return compose("index.html.j2", runs=runs)


def index_entry(summary: Mapping[str, Any], href: str) -> dict[str, Any]:
    """Return what the list of runs shows of one run; `href` is relative to the list."""
    steps = {step["step"]: step["rows"] for step in summary["flow"]["steps"]}
    return {
        "run": summary["run"],
        "name": summary["name"],
        "href": href,
        "verdict": summary["gates"]["verdict"],
        "rows_in": steps["in"],
        "rows_out": steps["kept"],
        "share_removed": summary["duplication"]["share_removed"],
        "expected_memorized": summary["sinks"]["expected_memorized"],
        "finished": summary["timing"]["finished"],
        "parent": (summary.get("applied") or {}).get("parent"),
        "waived": summary["gates"]["tally"]["waived"],
        "stage": None,
    }


def unfinished_entry(run: str, told: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the list of runs shows of a run without a report: when its log ends, and at which stage."""
    numbers = dict.fromkeys(("rows_in", "rows_out", "share_removed", "expected_memorized"))
    finished = datetime.fromtimestamp(float(told.get("time", 0)), UTC).isoformat(timespec="seconds")
    stage = str(told.get("stage") or told["event"])
    named = {"run": run, "name": run.rpartition("-")[0] or run, "href": None, "verdict": "unfinished"}
    return {**named, **numbers, "finished": finished, "parent": None, "waived": 0, "stage": stage}


def render_differences(found: Mapping[str, Any], texts: Mapping[tuple[str, int], str], mode: Mode = "none") -> str:
    """Return the page that tells what differs between two runs, as `compare_runs` found it.

    texts: raw texts of listed rows by `before` or `after` and doc_id; how much of them is shown is the mode.
    """
    excerpts: dict[int, str] = {}
    for number, row in enumerate(found["rows"] if mode != "none" else ()):
        end = "before" if row["doc_id"]["after"] is None else "after"
        excerpts[number] = redact_excerpt(texts.get((end, row["doc_id"][end])), mode)
    return compose("differences.html.j2", d=found, excerpts=excerpts)


def draw_figures(summary: Mapping[str, Any]) -> dict[str, Figure | None]:
    """Draw every chart of the page; None stands where there was nothing to draw."""
    copies, sinks, decisions = summary["duplication"], summary["sinks"], summary["decisions"]
    evaluation = sinks["evaluation"]
    return {
        "flow": figures.row_flow(summary["flow"]),
        "band_curve": figures.band_curve(copies),
        "jaccard": figures.jaccard_histogram(copies),
        "cluster_sizes": figures.cluster_sizes(copies),
        "overlap": figures.source_overlap(copies),
        "scores": evidence_figures.score_histogram(sinks, decisions["policy"]["sink_threshold"]),
        "calibration": evidence_figures.calibration(evaluation),
        "precision_recall": evidence_figures.precision_recall(evaluation),
        "precision_recall_by_copies": evidence_figures.precision_recall_by_copies(evaluation),
        "features": evidence_figures.features(evaluation),
        "duplication_curve": evidence_figures.duplication_curve(evaluation),
        "trajectories": evidence_figures.trajectories(evaluation),
        "scale_slope": evidence_figures.scale_slope(evaluation, sinks["definition"]["target_parameters"]),
        "what_if": figures.what_if(decisions),
        **{f"shift_{kind}": figures.shift(groups, kind) for kind, groups in decisions["shift"].items()},
    }


def _passages(summary: Mapping[str, Any], samples: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """Return by span_hash the excerpt of each repeated span that is shown."""
    texts = {sample["doc_id"]: str(sample["text"] or "").encode() for sample in samples}
    return {
        span["span_hash"]: redact_excerpt(
            texts[span["doc_id"]][span["start"] : span["end"]].decode(errors="replace"), summary["scope"]["excerpts"]
        )
        for span in shown_spans(summary)
        if span["doc_id"] in texts
    }


def compose(template: str, **values: Any) -> str:
    """Return a template's page with our style, our script and the policy that allows nothing else."""
    style, script = _asset("report.css"), "\n".join(map(_asset, SCRIPTS))
    policy = (
        f"default-src 'none'; style-src '{_source_hash(style)}'; script-src '{_source_hash(script)}'; base-uri 'none'; form-action 'none'"
    )
    # the two files are ours and must stand as they are: the policy holds their hashes
    return _environment().get_template(template).render(style=Markup(style), script=Markup(script), policy=policy, **values)  # noqa: S704


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update({word: getattr(wording, word) for word in SAYINGS}, gate=wording.gate_value)
    environment.tests["hold"] = lambda values, value: value in values
    environment.globals.update(FRAMEWORKS=FRAMEWORKS, SECTIONS=SECTIONS)
    environment.globals.update(VERDICTS=WORDS, GROUNDS=wording.GROUNDS, LISTED=LISTED, plural=wording.plural)
    return environment


def _asset(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8").strip()


def _source_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
