"""In a real browser the page is silent, inert, readable without script, and sorts with the keyboard."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

from pipeline.report.render import render_report
from pipeline.report.summary import build_summary

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from tests.pipeline.report.conftest import MakeInputs

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        if os.environ.get("CI"):
            pytest.fail("chromium is not installed, and under CI the report must be seen in a browser")
        pytest.skip("chromium is not installed: the report was not looked at in a browser")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def report(
    make_inputs: MakeInputs, samples: list[dict[str, Any]], hostile_texts: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> str:
    """Return the address of a report whose texts, sources and ids are all hostile."""
    inputs = make_inputs(report={"excerpts": "full"})
    evil = pl.Series([hostile_texts[doc_id % len(hostile_texts)] for doc_id in inputs.ids["doc_id"]])
    summary = build_summary(replace(inputs, ids=inputs.ids.with_columns(source=evil, source_id=evil)))
    path: Path = tmp_path_factory.mktemp("report") / "index.html"
    path.write_text(render_report(summary, samples), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    opened = browser.new_page(viewport={"width": 1280, "height": 900})
    yield opened
    opened.close()


def test_a_hostile_corpus_does_nothing(page: Page, report: str) -> None:
    """No message on the console, no dialog, no request but the page itself, the title as we set it, texts shown as text."""
    seen: list[str] = []
    page.on("console", lambda message: seen.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: seen.append(f"error: {error}"))
    page.on("dialog", lambda dialog: seen.append(f"dialog: {dialog.message}"))
    page.on("request", lambda request: seen.append(request.url))
    page.goto(report)
    page.wait_for_timeout(200)
    assert seen == [report]
    assert page.title() == "WARN: risk report of demo-corpus"
    assert page.locator("script").count() == page.locator("style").count() == 1
    assert page.locator(".excerpt", has_text="<script>document.title='owned'</script>").count() > 0
    assert page.locator(".excerpt", has_text="{{7*7}}").count() > 0
    assert page.locator("a[href^='javascript']").count() == 0


def test_our_style_and_script_are_let_through(page: Page, report: str) -> None:
    """The policy's hashes fit: the page is styled, and headers became buttons."""
    page.goto(report)
    assert page.evaluate("getComputedStyle(document.querySelector('.verdict')).borderRadius") == "6px"
    assert page.locator("th button").count() > 10


def test_tables_sort_and_filter_with_the_keyboard(page: Page, report: str) -> None:
    """Enter on a header sorts the rows, typing in the filter hides the others."""
    page.goto(report)
    table = page.locator("#decisions table.cases")
    button = table.locator("th button").nth(1)
    button.focus()
    page.keyboard.press("Enter")
    scores = [float(cell) for cell in table.locator("td:nth-child(2)").evaluate_all("cells => cells.map(c => c.dataset.value)")]
    assert scores == sorted(scores, reverse=True)
    page.keyboard.press("Enter")
    assert table.locator("th").nth(1).get_attribute("aria-sort") == "ascending"
    page.locator("#decisions .filter input").last.fill("downweight")
    assert 0 < table.locator("tbody tr:visible").count() < len(scores)


def test_everything_is_there_without_script(browser: Browser, report: str) -> None:
    """With scripts off all sections and charts show; only sorting and filtering are missing."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(report)
    assert page.locator("section").count() == 13
    assert page.locator("figure svg").count() == 13
    assert page.locator("th button").count() == 0
    assert page.locator("#glossary").inner_text()
    context.close()


@pytest.mark.parametrize("width", [375, 640, 1280])
def test_no_width_needs_sideways_scrolling(page: Page, report: str, width: int) -> None:
    """At the width of a phone, at 200% zoom and on a desk the page itself never scrolls sideways."""
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(report)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
