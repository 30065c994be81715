"""The record of a validation says every verdict, which came first, every figure of results.json, and nothing else."""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Set
from html import unescape
from html.parser import HTMLParser
from typing import Any

import pytest

from pipeline.report import validation, wording
from pipeline.report.validation import render_validation, render_validations, validation_entry
from pipeline.report.validation_figures import entry_says

SECTIONS = (
    *("verdict", "bars", "order", "labels", "agreement", "discrimination"),
    *("calibration", "ablation", "outcome", "hypotheses", "limits"),
)
UNSHOWN = {"target", "seed_noise", "noise", "num_units", "num_validation_windows", "num_clusters"}
"""Keys whose figures have no cell: told in words, or told already."""
VOID = {"meta"}


class Cells(HTMLParser):
    """Collect attributes, visible words, and check that tags nest."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.attributes: list[dict[str, str | None]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes.append({"": tag, **dict(attrs)})
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes something else"

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in {"style", "script"}:
            self.words.append(data)

    def figures(self) -> set[float]:
        return {float(each["data-value"]) for each in self.attributes if each.get("data-value")}  # type: ignore[arg-type]


def _numbers(value: Any) -> set[float]:
    if isinstance(value, dict):
        return set().union(*map(_numbers, value.values()), set())
    if isinstance(value, list):
        return set().union(*map(_numbers, value), set())
    return {float(value)} if isinstance(value, (int, float)) else set()


def _estimates(value: Any, hidden: Set[str], key: str = "") -> Iterator[float]:
    """Yield the value of every estimate, and every plain figure of a stratum, an arm or a predictor."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield from _estimates(item, hidden, name) if name not in hidden else ()
    elif isinstance(value, list):
        for item in value:
            yield from _estimates(item, hidden, key)
    elif isinstance(value, float) and key not in {"low", "high", "limit", "interval", "predicted", "observed", *UNSHOWN}:
        yield value


@pytest.fixture
def page(validation_values: dict[str, Any]) -> str:
    return render_validation("demo", validation_values, "sinkaudit validate demo.yaml --set a='<b>'")


def test_every_figure_of_a_cell_stands_in_the_results(page: str, validation_values: dict[str, Any]) -> None:
    """No cell holds a figure that results.json does not have, digit for digit."""
    shown = Cells(page).figures()
    assert len(shown) > 300
    assert shown <= _numbers(validation_values)


@pytest.mark.parametrize(
    "part", ["bars", "agreement", "discrimination", "calibration", "ablation", "onion", "drop_curve", "hypotheses", "capacity_tax"]
)
def test_every_figure_of_the_results_has_a_cell(page: str, validation_values: dict[str, Any], part: str) -> None:
    """Whatever was judged is shown: strata, predictors, blocks, bounds, criteria, claims."""
    hidden = {"auroc", "normalised", "ceiling", "reliability"} if part == "ablation" else set()
    wanted = set(_estimates(validation_values[part], hidden)) - {validation_values["capacity_tax"]["target"]["bits_per_parameter"]}
    assert wanted
    assert wanted <= Cells(page).figures()


def test_what_is_told_in_words_is_of_the_results_too(page: str, validation_values: dict[str, Any]) -> None:
    """Sizes, shares, visits and counts stand in sentences, said by the page's rules."""
    spent, corpus = validation_values["efficiency"], validation_values["corpus"]
    said = unescape(re.sub(r"<[^>]+>", "", page))
    for told in (
        wording.large(spent["target_parameters"]) + " non-embedding",
        wording.decimal(spent["size_gap"]) + " times as large",
        f"{wording.power(spent['proxy_flops'])} for all of the proxies' work",
        f": {wording.percent(spent['flops_share'])}. No whole target was trained",
        f"by one target: {wording.percent(spent['token_visit_share'])}",
        wording.count(corpus["num_not_identifiable_clusters"]) + " clusters, of whose windows",
        wording.count(validation_values["outcome"][0]["policy_cost"]["runs_needed"]) + " paired runs would",
        "6 of 8 label halves",
        "audit 11, targets 12",
    ):
        assert told in said


def test_a_changed_figure_changes_the_page(page: str, validation_values: dict[str, Any]) -> None:
    """Figures are read from the results, not remembered; equal results give equal bytes."""
    assert render_validation("demo", validation_values, "sinkaudit validate demo.yaml --set a='<b>'") == page
    other = copy.deepcopy(validation_values)
    other["agreement"][1]["disattenuated"]["value"] = 0.123456
    assert 0.123456 in Cells(render_validation("demo", other)).figures()
    assert 0.123456 not in Cells(page).figures()


def test_misses_stand_where_met_bars_do(page: str, validation_values: dict[str, Any]) -> None:
    """All four verdicts are said in words, in the order of the results, and the tally does not hide a miss."""
    told = re.findall(r"</svg> (Met|Missed|Not enough data|Cannot be resolved)</span><span class=\"sub\">([a-z ]+)<", page)
    assert told == [("Met", "certain"), ("Missed", "not certain"), ("Not enough data", "not judged"), ("Cannot be resolved", "not judged")]
    assert "1 of 4 bars met" in page
    assert "1 missed, 1 not enough data, 1 cannot be resolved" in page
    assert validation.overall(validation_values["bars"]) == "fail"
    assert validation.overall(validation_values["bars"][:1]) == "pass"
    assert validation.overall(validation_values["bars"][2:]) == "warn"


@pytest.mark.parametrize("came_first", [True, False])
def test_predictions_that_came_after_targets_are_not_passed_off_as_first(validation_values: dict[str, Any], came_first: bool) -> None:
    """The page says which came first, and that a test with labels in view is not blind."""
    validation_values["order"]["predictions_came_first"] = came_first
    page = render_validation("demo", validation_values)
    assert ("frozen before any target was trained" in page) == came_first
    assert ("8 targets stood trained and 1 begun" in page) != came_first
    assert ("no blind test" in page) != came_first


def test_an_interval_that_holds_0_is_no_gain(validation_values: dict[str, Any]) -> None:
    """The word beside a difference follows its interval and the number of positives, never the figure alone."""
    entry = validation_values["discrimination"][0]
    found = entry["differences"][0]["average_precision"]
    assert entry_says(entry) == "gain"
    found.update(is_gain=False, low=-0.1)
    assert entry_says(entry) == "no gain"
    found.update(high=-0.05)
    assert entry_says(entry) == "worse"
    assert entry_says({**entry, "enough_data_differences": False}) == "too few"
    assert entry_says({**entry, "differences": []}) == "not measured"


def test_the_upper_bound_is_marked_as_one(page: str) -> None:
    """Whatever was fitted to the target's own labels says so wherever it stands."""
    assert page.count("fitted WITH the target's labels: no prediction") == 2
    assert "fitted to the target&#39;s own labels: no prediction" in page


def test_missing_parts_are_said_to_be_missing() -> None:
    """A record of nothing but names still has every section; nothing is filled in."""
    page = render_validation("empty", {})
    cells = Cells(page)
    assert [each["id"] for each in cells.attributes if each[""] == "section"] == list(SECTIONS)
    assert cells.figures() == set()
    assert page.count("Not run.") == 2
    assert page.count("Not run, or no arm differs from the deduplicated one.") == 1
    assert page.count("ot measured") > 10
    assert "No bar was judged" in page


def test_results_of_an_earlier_format_still_have_a_page(validation_values: dict[str, Any]) -> None:
    """Records without arms, ablation, seeds and interval are drawn, and say what they lack."""
    for part in ("outcome", "drop_curve", "ablation", "interval", "settings", "trained", "scored_for", "record_bytes", "null_quantile"):
        del validation_values[part]
    for key in ("run", "digests", "code_versions"):
        del validation_values["order"][key]
    validation_values["calibration"]["travelled"] = None
    assert "Not run." in render_validation("old", validation_values)


def test_the_page_loads_nothing_and_leaves_for_its_own_record_only(page: str) -> None:
    """No element can fetch, no handler is inline, names from the corpus stay text, links stay beside the page."""
    cells = Cells(page)
    assert not {"img", "iframe", "link", "object", "form", "base"} & {each[""] for each in cells.attributes}
    assert not [key for each in cells.attributes for key in each if key.startswith("on") or key in {"src", "style", "action"}]
    links = {str(each["href"]) for each in cells.attributes if "href" in each}
    assert {link for link in links if not link.startswith("#")} == {"results.json", "frozen.json"}
    assert "<b>corpus" not in page
    assert "<script>document.title" not in page
    assert "source &lt;script&gt;document.title" in page
    assert "a=&#39;&lt;b&gt;&#39;" in page


def test_the_list_names_each_validation_with_its_headline(validation_values: dict[str, Any]) -> None:
    """One row a validation: bars met, corpus, headline figures, and whether predictions came first."""
    page = render_validations([validation_entry("a<b", validation_values, "a/index.html"), validation_entry("none", {}, "none/index.html")])
    unique = next(row for row in validation_values["agreement"] if row["stratum"] == "natural, copies 1")
    assert {unique["disattenuated"]["value"], validation_values["efficiency"]["size_gap"]} <= Cells(page).figures()
    assert Cells(page).figures() <= _numbers(validation_values)
    assert '<a href="a/index.html">a&lt;b</a>' in page
    assert "after targets were trained" in page
    assert "No bar was judged" in page
    assert "No validations yet" in render_validations([])


def test_one_pair_of_halves_has_no_reliability_and_still_a_row(validation_values: dict[str, Any]) -> None:
    """Where there is nothing to divide by, the list says so in the cell and does not stop."""
    unknown = {"value": None, "low": None, "high": None}
    values = {**validation_values, "agreement": [{**row, "disattenuated": unknown} for row in validation_values["agreement"]]}
    page = render_validations([validation_entry("early", values, "early/index.html")])
    assert '<a href="early/index.html">early</a>' in page
    assert not {row["disattenuated"]["value"] for row in validation_values["agreement"]} & Cells(page).figures()
