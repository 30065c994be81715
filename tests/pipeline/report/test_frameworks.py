"""The framework map leads to evidence and claims nothing."""

from __future__ import annotations

import re
from pathlib import Path

import pipeline.report
from pipeline.report.frameworks import EVIDENCE, FRAMEWORKS, NONE, PART, SECTIONS

TOPICS = [topic for topics in FRAMEWORKS.values() for topic in topics]


def test_every_link_leads_to_a_section_of_the_page() -> None:
    """Anchors are sections that some template has."""
    templates = "".join(path.read_text() for path in (Path(pipeline.report.__path__[0]) / "templates").glob("*.j2"))
    assert set(SECTIONS) <= set(re.findall(r'<section id="([a-z-]+)"', templates))
    assert {section for topic in TOPICS for section in topic.sections} <= set(SECTIONS)


def test_what_is_covered_has_evidence_and_what_is_not_has_none() -> None:
    """Partial coverage says what is missing."""
    for topic in TOPICS:
        assert topic.covered in (EVIDENCE, PART, NONE)
        assert bool(topic.sections) == (topic.covered != NONE)
        assert topic.covered != PART or topic.note


def test_no_dates_and_no_claim() -> None:
    """Nobody may read the map as a statement that something complies with something."""
    for topic in TOPICS:
        assert not re.search(r"\b(19|20)\d\d\b|compl(y|ies|iant|iance)|conform", f"{topic.topic} {topic.note}")


def test_each_framework_is_whole() -> None:
    """Twelve risks, seven headings, eight letters of Article 10(2): what is not covered is listed, too."""
    numbers = {name: [topic.topic.split()[0] for topic in topics] for name, topics in FRAMEWORKS.items()}
    assert numbers["NIST AI 600-1"] == [f"2.{number}" for number in range(1, 13)]
    assert numbers["Datasheets for Datasets"] == [f"3.{number}" for number in range(1, 8)]
    assert numbers["EU AI Act, Article 10"] == [*(f"2({letter})" for letter in "abcdefgh"), "3", "4", "5"]
