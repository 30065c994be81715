"""In a real browser the page is silent, inert, readable without script or colour, and wholly usable from the keyboard."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from pipeline.release.overrides import parse_overrides
from pipeline.report.render import render_index, render_report
from pipeline.report.summary import build_summary
from pipeline.report.validation import render_validation

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from tests.pipeline.report.conftest import MakeInputs, WithSpans

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
TEXTS = "body, .note, .sub, a, .tone, .excerpt, svg .tick, .answers dd, .flag, nav a, th"
CONTRAST = """selector => {
  const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
  const rgb = colour => { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); return canvas.getImageData(0, 0, 1, 1).data; };
  const light = colour => [0.2126, 0.7152, 0.0722].reduce((sum, part, at) => {
    const share = rgb(colour)[at] / 255;
    return sum + part * (share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4);
  }, 0);
  const behind = node => { while (node) {
    const colour = getComputedStyle(node).backgroundColor;
    if (colour !== "rgba(0, 0, 0, 0)") { return colour; }
    node = node.parentElement;
  } };
  return Math.min(...[...document.querySelectorAll(selector)].map(node => {
    const style = getComputedStyle(node), text = node instanceof SVGElement ? style.fill : style.color;
    const pair = [light(text), light(behind(node))].sort((a, b) => b - a);
    return (pair[0] + 0.05) / (pair[1] + 0.05);
  }));
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        if os.environ.get("SINKAUDIT_REQUIRE_BROWSER") or os.environ.get("CI"):
            pytest.fail("chromium is not installed, and here the report must be seen in a browser")
        pytest.skip("chromium is not installed: the report was not looked at in a browser")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def summary(make_inputs: MakeInputs, with_spans: WithSpans, hostile_texts: tuple[str, ...]) -> dict[str, Any]:
    """Return the summary of a corpus whose sources and ids are all hostile, texts shown in full."""
    inputs = with_spans(make_inputs(report={"excerpts": "full", "max_rows": 60}))
    evil = pl.Series([hostile_texts[doc_id % len(hostile_texts)] for doc_id in inputs.ids["doc_id"]])
    return build_summary(replace(inputs, ids=inputs.ids.with_columns(source=evil, source_id=evil)))


@pytest.fixture(scope="module")
def report(summary: dict[str, Any], samples: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the address of that report; the text of its first row is one line of a million letters."""
    long = {"doc_id": summary["samples"][0]["doc_id"], "text": "<b>" + "x" * 1_000_000}
    path: Path = tmp_path_factory.mktemp("report") / "index.html"
    path.write_text(render_report(summary, [*samples, long]), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    opened.set_default_timeout(8_000)
    yield opened
    opened.close()


def _heard(page: Page) -> list[str]:
    """Return a list that fills with whatever the page says, asks for or loads."""
    seen: list[str] = []
    page.on("console", lambda message: seen.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: seen.append(f"error: {error}"))
    page.on("dialog", lambda dialog: seen.append(f"dialog: {dialog.message}"))
    page.on("request", lambda request: seen.append(request.url))
    return seen


def _tab_to(page: Page, selector: str, limit: int = 400) -> None:
    """Press Tab until the focus is on the element, checking on the way that it is seen wherever it goes."""
    for _ in range(limit):
        page.keyboard.press("Tab")
        focused, is_seen = page.evaluate(
            """selector => { const at = document.activeElement, style = getComputedStyle(at);
            return [at.matches(selector), at === document.body || style.outlineStyle !== "none"]; }""",
            selector,
        )
        assert is_seen
        if focused:
            return
    raise AssertionError(f"{selector} is not reached by {limit} presses of Tab")


def test_a_hostile_corpus_does_nothing(page: Page, report: str) -> None:
    """No message on the console, no dialog, no request but the page itself, the title as we set it, texts shown as text."""
    seen = _heard(page)
    page.goto(report)
    page.wait_for_timeout(200)
    assert seen == [report]
    assert page.title() == "WARN: risk report of demo-corpus"
    assert page.locator("script").count() == page.locator("style").count() == 1
    for text in (
        "<script>document.title='owned'</script>",
        "</style><img src=x",
        "{{7907*7919}}",
        "javascript:alert(1)",
        "␛[31mred",
        "⟨U+202E⟩0001",
    ):
        assert page.locator(".excerpt", has_text=text).count() > 0, text
    assert page.locator("a[href^='javascript']").count() == page.locator("img").count() == 0
    long = page.locator("table.samples .excerpt").first.inner_text()
    assert long.startswith("<b>xxx")
    assert len(long) <= 1_000


def test_the_policy_is_in_force(page: Page, report: str) -> None:
    """Our style and script run, by their hashes; a script, a handler, a style, an image and a request slipped in later do not."""
    page.goto(report)
    assert page.evaluate("getComputedStyle(document.querySelector('.verdict')).borderRadius") == "6px"
    assert page.locator("th button").count() > 10
    seen = _heard(page)
    page.evaluate(
        """() => {
        const script = document.createElement("script"); script.textContent = "window.owned = 1"; document.body.append(script);
        document.body.insertAdjacentHTML(
          "beforeend", "<p id='slipped' style='color:red' onclick='window.owned = 2'>x</p><img src='data:,x'>");
        document.getElementById("slipped").click(); }"""
    )
    sent = page.evaluate("fetch('http://127.0.0.1:9/?leak').then(() => 'sent', () => 'refused')")
    assert (page.evaluate("window.owned"), sent) == (None, "refused")
    assert page.evaluate("getComputedStyle(document.getElementById('slipped')).color") != "rgb(255, 0, 0)"
    assert sum("Content Security Policy" in line for line in seen) >= 5
    assert not [line for line in seen if line.startswith(("dialog", "error"))]


def test_overrides_travel_by_keyboard_alone(page: Page, report: str, summary: dict[str, Any]) -> None:
    """Filter, sort, overrule, sign and export without a mouse; the file is the one that `apply` reads, and it can be read back."""
    seen = _heard(page)
    page.goto(report)
    rows = page.locator("table.samples tbody")
    _tab_to(page, ".filter[data-table=samples-table] input")
    page.keyboard.type("abstained")
    shown = rows.locator("visible=true").count()
    assert 0 < shown < len(summary["samples"])
    assert page.locator(".filter[data-table=samples-table] [role=status]").inner_text() == f"{shown} of {len(summary['samples'])} shown"
    _tab_to(page, "select[name=action]")
    page.keyboard.type("review")
    assert {row["action"] for row in summary["samples"] if "review" in row["flags"]} == {"review"}
    assert rows.locator("visible=true").count() == sum("review" in row["flags"] for row in summary["samples"])
    _tab_to(page, "#samples-table th:nth-child(3) button")
    page.keyboard.press("Enter")
    scores = rows.locator("visible=true").evaluate_all("bodies => bodies.map(b => Number(b.rows[0].cells[2].dataset.value))")
    assert scores == sorted(scores, reverse=True)
    page.keyboard.press("Enter")
    assert page.locator("#samples-table th").nth(2).get_attribute("aria-sort") == "ascending"
    _tab_to(page, "tbody .override select")
    page.keyboard.type("drop")
    page.keyboard.press("Tab")
    page.keyboard.type("A template; see ticket 12")
    _tab_to(page, "#reviewer")
    _tab_to(page, "#export")
    page.keyboard.press("Enter")
    assert page.locator("#overrides [role=status]").inner_text() == "Enter the reviewer's name first."
    page.keyboard.type("Ada Lovelace")
    _tab_to(page, "#export")
    with page.expect_download() as caught:
        page.keyboard.press("Enter")
    assert caught.value.suggested_filename == f"overrides-{summary['run']}.json"
    data = Path(caught.value.path()).read_bytes()
    lowest = min((row for row in summary["samples"] if "review" in row["flags"]), key=lambda row: row["score"]["value"])
    order = {key: lowest[key] for key in ("doc_id", "content_hash", "row_hash")} | {"action": "drop", "note": "A template; see ticket 12"}
    wanted = {"format": "sinkaudit-overrides", "version": 1, "run": summary["run"], "reviewer": "Ada Lovelace", "overrides": [order]}
    assert json.loads(data) == wanted
    assert parse_overrides(data, "page").reviewer == "Ada Lovelace"
    assert [line for line in seen if not line.startswith("blob:")] == [report]


def test_a_file_of_overrides_is_read_back(page: Page, report: str, summary: dict[str, Any]) -> None:
    """Rows take what the file says, rows that are not here travel along, the sign-off lists all; another run's file is refused."""
    first = {key: summary["samples"][0][key] for key in ("doc_id", "content_hash", "row_hash")}
    orders = [
        {**first, "action": "keep", "note": "ours"},
        {**first, "doc_id": 10**9, "row_hash": "f" * 32, "action": "drop", "note": "<b>"},
    ]
    file = {"format": "sinkaudit-overrides", "version": 1, "run": summary["run"], "reviewer": "Ada", "overrides": orders}
    page.goto(report)
    payload = {"name": "o.json", "mimeType": "application/json", "buffer": json.dumps({**file, "run": "other"}).encode()}
    page.set_input_files("#import", payload)  # type: ignore[arg-type]
    page.locator("#overrides .fault", has_text="it is about another run").wait_for()
    page.set_input_files("#import", {**payload, "buffer": json.dumps(file).encode()})  # type: ignore[arg-type]
    page.locator("#overrides output", has_text="2 overrides pending").wait_for()
    assert page.locator("table.samples tbody").first.locator(".override select").input_value() == "keep"
    assert page.locator("#reviewer").input_value() == "Ada"
    assert page.locator("#pending li").all_inner_texts() == [f"doc {first['doc_id']}: keep. ours", "doc 1000000000: drop. <b>"]
    with page.expect_download() as caught:
        page.click("#export")
    assert json.loads(Path(caught.value.path()).read_bytes()) == file


def test_print_holds_the_sign_off_and_the_pending_overrides(page: Page, report: str) -> None:
    """On paper there are no controls, twenty rows, the sign-off and what was overruled; the PDF has pages."""
    page.goto(report)
    page.locator("tbody .override select").first.select_option("drop")
    page.emulate_media(media="print")
    assert page.locator("#sign-off .sign").first.is_visible()
    assert page.locator("#pending li").count() == 1
    assert page.locator("#pending").is_visible()
    for hidden in (".filter", "#overrides", ".override", "nav", "th button::after"):
        assert page.locator(hidden.removesuffix("::after")).locator("visible=true").count() == 0 or hidden.endswith("::after")
    assert page.locator("table.samples tbody").locator("visible=true").count() == 20
    made = page.pdf(format="A4")
    assert made.startswith(b"%PDF")
    assert made.count(b"/Type /Page\n") > 10


def test_everything_is_there_without_script(browser: Browser, report: str, summary: dict[str, Any]) -> None:
    """With scripts off all sections, charts and rows show; controls that would do nothing do not."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report)
    assert page.locator("section").count() == 13
    assert page.locator("figure svg").count() == 17
    assert page.locator("table.samples tbody").locator("visible=true").count() == len(summary["samples"])
    assert page.locator("input, select, button").locator("visible=true").count() == 0
    assert page.get_by_text("need scripts, which are off").is_visible()
    assert page.locator("#glossary").inner_text()
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_both_schemes(page: Page, report: str, scheme: Any) -> None:
    """All text has a contrast of at least 4.5 to 1 with what lies behind it. Source: WCAG 2.2, criterion 1.4.3."""
    page.emulate_media(color_scheme=scheme)
    page.goto(report)
    is_dark = page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert is_dark == (scheme == "dark")
    assert page.evaluate(CONTRAST, TEXTS) >= 4.5


def test_no_width_needs_sideways_scrolling(page: Page, report: str) -> None:
    """At the width of a phone, at 200% zoom and on a desk the page itself never scrolls sideways."""
    page.goto(report)
    for width in (320, 375, 640, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_list_of_runs_is_silent_too(page: Page, tmp_path: Path) -> None:
    """The index shares the page's style and script, and says nothing on the console."""
    path = tmp_path / "index.html"
    path.write_text(render_index([]), encoding="utf-8")
    seen = _heard(page)
    page.goto(path.as_uri())
    assert seen == [path.as_uri()]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_record_of_a_validation_is_silent_and_readable(
    page: Page, tmp_path: Path, validation_values: dict[str, Any], scheme: Any
) -> None:
    """It asks for nothing, says nothing, fits every width and stands out in both schemes."""
    path = tmp_path / "index.html"
    path.write_text(render_validation("demo", validation_values, "sinkaudit validate demo.yaml"), encoding="utf-8")
    page.emulate_media(color_scheme=scheme)
    seen = _heard(page)
    page.goto(path.as_uri())
    assert seen == [path.as_uri()]
    assert page.title().startswith("1 of 4 bars met")
    assert page.evaluate(CONTRAST, TEXTS) >= 4.5
    for width in (320, 640, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
