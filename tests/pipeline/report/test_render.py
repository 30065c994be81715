"""The page is one inert file: escaped, self-contained, small, the same every time, and without a number of its own."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
from markupsafe import escape

from pipeline.report import wording
from pipeline.report.markdown import render_markdown
from pipeline.report.render import MAX_BYTES, draw_figures, index_entry, render_index, render_report
from pipeline.report.summary import SummaryInputs, build_summary, wanted_excerpts

if TYPE_CHECKING:
    from tests.pipeline.report.conftest import MakeInputs, WithSpans

Samples = list[dict[str, Any]]
SECTIONS = (
    *("verdict", "scope", "rows", "copies", "sinks", "decisions", "sensitive", "limits"),
    *("reproduce", "frameworks", "changes", "sign-off", "glossary"),
)
CONSTANTS = {"95"}
"""Figures that sentences hold and no run does: of 95% intervals."""
VOID = {"meta", "link", "input", "br", "hr", "img"}


class Outline(HTMLParser):
    """Collect tags and attributes and check that tags nest."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"


@pytest.fixture(scope="module")
def inputs(make_inputs: MakeInputs, with_spans: WithSpans) -> SummaryInputs:
    return with_spans(make_inputs())


@pytest.fixture(scope="module")
def summary(inputs: SummaryInputs) -> dict[str, Any]:
    return build_summary(inputs)


@pytest.fixture(scope="module")
def page(summary: dict[str, Any], samples: Samples) -> str:
    return render_report(summary, samples)


def _numbers(value: Any) -> set[float]:
    if isinstance(value, dict):
        return set().union(*(_numbers(item) for item in value.values()), set())
    if isinstance(value, list):
        return set().union(*(_numbers(item) for item in value), set())
    return {float(value)} if isinstance(value, (int, float)) else set()


def test_every_number_in_a_table_stands_in_the_summary(page: str, summary: dict[str, Any]) -> None:
    """Each sortable cell's value is found in summary.json, digit for digit."""
    cells = [attributes.get("data-value") for _, attributes in Outline(page).tags]
    values = {float(cell) for cell in cells if cell}
    assert len(values) > 100
    assert values <= _numbers(summary)


def test_rows_to_look_at_carry_the_summary_whole(page: str, summary: dict[str, Any]) -> None:
    """Each row's id and hashes on the page are those of the summary, uncut: an override is exported from them."""
    keys = ("data-doc", "data-content", "data-row", "data-action", "data-reason")
    told = [tuple(attributes[key] for key in keys) for _, attributes in Outline(page).tags if "data-doc" in attributes]
    names = ("doc_id", "content_hash", "row_hash", "action", "reason")
    assert told == [tuple(str(row[name]) for name in names) for row in summary["samples"]]


def test_every_number_in_a_sentence_stands_in_the_summary(page: str, summary: dict[str, Any]) -> None:
    """Whatever answers, findings and charts say in figures is one of the summary's numbers, said by one of the page's rules."""
    rules = (wording.count, wording.percent, wording.decimal, wording.size, wording.large, wording.score, "{:.2f}".format, "{:.3f}".format)
    known = set().union(*(re.findall(r"\d[\d.,]*\d|\d", rule(number)) for number in _numbers(summary) for rule in rules))
    findings = [figure.finding for figure in draw_figures(summary).values() if figure is not None]
    sentences = [*summary["opinion"], *(row["answer"] for row in summary["answers"]), *findings]
    assert all(escape(row["answer"]) in page for row in summary["answers"])
    told = set().union(*(re.findall(r"\d[\d.,]*\d|\d", sentence) for sentence in sentences))
    assert len(told) > 40
    names = {number for rows in summary["decisions"]["shift"].values() for row in rows for number in re.findall(r"\d+", row["name"])}
    assert told - known - names <= CONSTANTS


def test_the_page_has_every_section_and_chart(page: str) -> None:
    """All sections are there, linked from the navigation; each chart is an image with a title, words and data."""
    outline = Outline(page)
    ids = [attributes.get("id") for _, attributes in outline.tags]
    links = [attributes.get("href") for tag, attributes in outline.tags if tag == "a"]
    assert [key for key in ids if key in SECTIONS] == list(SECTIONS)
    assert {f"#{key}" for key in SECTIONS} <= set(links)
    figures = [attributes for tag, attributes in outline.tags if tag == "figure"]
    assert len(figures) == 17
    for figure in figures:
        assert figure["role"] == "img"
        assert all(key in ids for key in (figure["aria-labelledby"] or "").split())
    assert page.count("Data of this chart") == 17
    assert len([key for key in ids if key]) == len({key for key in ids if key})


def test_nothing_is_loaded_and_no_style_or_handler_is_inline(page: str) -> None:
    """No element can fetch, no link leaves the page, no attribute holds style or script."""
    for tag, attributes in Outline(page).tags:
        assert tag not in {"img", "iframe", "object", "embed", "link", "base", "form", "audio", "video", "source"}
        assert not {"src", "srcset", "style", "action", "data", "poster", "xlink:href"} & attributes.keys()
        assert not [key for key in attributes if key.startswith("on")]
        assert (attributes.get("href") or "#").startswith("#")
    assert not re.search(r"url\((?!#)|@import", page)


def test_the_policy_names_our_style_and_script_by_hash(page: str) -> None:
    """The content security policy forbids all but the two blocks whose bytes it names."""
    policy = next(a["content"] for tag, a in Outline(page).tags if tag == "meta" and a.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        (block,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        assert f"'sha256-{base64.b64encode(hashlib.sha256(block.encode()).digest()).decode()}'" in policy


@pytest.mark.parametrize("mode", ["short", "full"])
def test_hostile_documents_stay_text(make_inputs: MakeInputs, samples: Samples, hostile_texts: tuple[str, ...], mode: str) -> None:
    """Markup, template syntax and script in texts, sources and ids add no tag to the page and are never evaluated."""
    clean = make_inputs(report={"excerpts": mode})
    evil = pl.Series([hostile_texts[doc_id % len(hostile_texts)] for doc_id in clean.ids["doc_id"]])
    hostile = replace(clean, ids=clean.ids.with_columns(source=evil, source_id=evil))
    page = render_report(build_summary(hostile), samples)
    allowed = {tag for tag, _ in Outline(render_report(build_summary(clean), samples)).tags}
    assert {tag for tag, _ in Outline(page).tags} <= allowed
    assert page.count("<script>") == page.count("<style>") == 1
    assert "{{7907*7919}}" in page
    assert "62615533" not in page
    assert not any(character in page for character in "\x1b\u202e\u200b\u2066")


def test_excerpts_follow_the_mode(make_inputs: MakeInputs, samples: Samples) -> None:
    """Off shows no text, short masks what identifies, full shows it."""
    pages = {mode: render_report(build_summary(make_inputs(report={"excerpts": mode})), samples) for mode in ("none", "short", "full")}
    assert "excerpts are off" in pages["none"]
    assert "document.title" not in pages["none"]
    assert "jane.doe" not in pages["short"]
    assert "[email]" in pages["short"]
    assert "jane.doe" in pages["full"]


def test_the_largest_page_stays_under_two_megabytes(make_inputs: MakeInputs) -> None:
    """Two hundred rows and the copies kept instead, in full, of characters that escape longest, forty long-named sources: under 2 MB."""
    inputs = make_inputs(report={"excerpts": "full", "max_rows": 200})
    wide = inputs.ids.with_columns(source=pl.format("{}{}", pl.col("doc_id") % 60, pl.lit("'" * 100)), source_id=pl.lit('"' * 500))
    summary = build_summary(replace(inputs, ids=wide))
    page = render_report(summary, [{"doc_id": doc_id, "text": "'\"<>&" * 2_000} for doc_id in wanted_excerpts(summary)])
    assert len(page.encode()) < MAX_BYTES


def test_equal_summaries_give_equal_bytes(summary: dict[str, Any], samples: Samples, page: str) -> None:
    """Rendering is a function of its arguments; samples come in any order, unwanted ones are ignored."""
    unwanted = {"doc_id": 10**9, "text": "never asked for"}
    assert render_report(summary, [unwanted, *reversed(samples)]) == page


def test_an_empty_run_still_has_a_page(make_inputs: MakeInputs) -> None:
    """Where nothing was measured the page says so."""
    bare = replace(make_inputs(0, evaluated=False), facts={}, gates=(), band_curve=(), timing=(), digests={}, environment={})
    page = render_report(build_summary(bare))
    Outline(page)
    assert page.count("Not measured in this run.") >= 8


def test_verdicts_are_words_not_colours(inputs: SummaryInputs) -> None:
    """Each verdict is written out, in the title too."""
    for verdict in ("PASS", "WARN", "FAIL"):
        page = render_report(build_summary(replace(inputs, verdict=verdict)))
        assert f"<title>{verdict}: risk report of demo-corpus</title>" in page
        assert f'<span class="verdict-word tone">{verdict}</span>' in page


def test_the_index_lists_runs_and_escapes(summary: dict[str, Any]) -> None:
    """Runs are listed with verdict and link; an empty list says how to start."""
    entry = index_entry(summary, "demo/index.html")
    page = render_index([entry, {**entry, "name": "<b>x</b>"}])
    Outline(page)
    assert page.count('href="demo/index.html"') == 2
    assert "&lt;b&gt;x&lt;/b&gt;" in page
    assert "No runs yet" in render_index([])


def test_markdown_is_short_and_holds_no_corpus_text(inputs: SummaryInputs) -> None:
    """Verdict, findings and gates, and not one name from the corpus."""
    named = replace(inputs, ids=inputs.ids.with_columns(source=pl.lit("SECRET-SOURCE"), source_id=pl.lit("SECRET-ID")))
    text = render_markdown(build_summary(named))
    assert text.startswith("# WARN: demo-corpus\n")
    assert "| warn | outside support | 4.1% | 3.0% |" in text
    assert "SECRET" not in text
    assert len(text) < 4_000
