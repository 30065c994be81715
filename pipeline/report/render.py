"""Draw the report: one HTML file that needs nothing but a browser, and its short forms.

Text from the corpus is hostile. Templates escape everything; a content security policy forbids all but our own style and script, named
by their hashes; excerpts pass `redact_excerpt` here, so no caller can forget it. Nothing is loaded: no font, image, frame or request.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from pipeline.report import evidence_figures, figures, wording
from pipeline.report.excerpts import redact_excerpt
from pipeline.report.markdown import WORDS
from pipeline.report.plot import Figure
from pipeline.report.summary import shown_spans, wanted_excerpts

TEMPLATES = Path(__file__).parent / "templates"
MAX_BYTES = 2_000_000


def render_report(summary: Mapping[str, Any], samples: Iterable[Mapping[str, Any]] = ()) -> str:
    """Return the report as one self-contained HTML page.

    samples: `doc_id` and raw `text` of the documents that `wanted_excerpts` names; others are ignored. How much of a text is shown is
    the summary's `scope.excerpts`. Equal arguments give equal bytes.
    """
    mode, samples = summary["scope"]["excerpts"], list(samples)
    wanted = set(wanted_excerpts(summary))
    excerpts = {sample["doc_id"]: redact_excerpt(sample["text"], mode) for sample in samples if sample["doc_id"] in wanted}
    return _page("report.html.j2", s=summary, excerpts=excerpts, passages=_passages(summary, samples), figures=draw_figures(summary))


def render_index(runs: Sequence[Mapping[str, Any]]) -> str:
    """Return the page that lists runs, in the order given; each is an `index_entry`."""
    return _page("index.html.j2", runs=runs)


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
    }


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
        "duplication_curve": evidence_figures.duplication_curve(evaluation),
        "trajectories": evidence_figures.trajectories(evaluation),
        "scale_slope": evidence_figures.scale_slope(evaluation),
        "what_if": figures.what_if(decisions),
        "shift": figures.source_shift(decisions),
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


def _page(template: str, **values: Any) -> str:
    style, script = _asset("report.css"), _asset("report.js")
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
    words = ("count", "percent", "decimal", "size", "large", "power", "predictor", "seconds", "score", "spread")
    environment.filters.update({word: getattr(wording, word) for word in words}, gate=wording.gate_value)
    environment.globals.update(VERDICTS=WORDS, plural=wording.plural)
    return environment


def _asset(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8").strip()


def _source_hash(text: str) -> str:
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
