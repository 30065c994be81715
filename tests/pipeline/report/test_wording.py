"""Numbers are said plainly, and never rounded into something they are not."""

from __future__ import annotations

from typing import Any

import pytest

from pipeline.report import wording


@pytest.mark.parametrize(
    ("say", "value", "text"),
    [
        (wording.count, 1234567, "1,234,567"),
        (wording.count, None, "not measured"),
        (wording.percent, 0, "0%"),
        (wording.percent, 1, "100%"),
        (wording.percent, 0.154, "15.4%"),
        (wording.percent, 0.99999, "99.99%"),
        (wording.percent, 0.00001, "under 0.01%"),
        (wording.percent, 0.0005, "0.05%"),
        (wording.decimal, 0.8, "0.8"),
        (wording.decimal, 12345.6, "12,346"),
        (wording.decimal, 0.031, "0.031"),
        (wording.size, 999, "999 bytes"),
        (wording.size, 7_260_000, "7.26 MB"),
        (wording.large, 10_000_000, "10 million"),
        (wording.large, 320_000, "320 thousand"),
        (wording.power, 1.8e13, "1.8 × 10¹³"),
        (wording.seconds, 131.8, "2 min 12 s"),
        (wording.seconds, 7260, "2 h 1 min"),
        (wording.score, 0.997, ">0.99"),
        (wording.score, 0.001, "<0.01"),
        (wording.score, 1.0, "1.00"),
    ],
)
def test_numbers_in_words(say: Any, value: Any, text: str) -> None:
    """Each kind of number has its separators, digits and unit."""
    assert say(value) == text


def test_intervals_in_words() -> None:
    """An interval reads value (low to high); what is absent is said."""
    assert wording.spread({"value": 0.9, "low": 0.871, "high": 0.93}) == "0.90 (0.87 to 0.93)"
    assert wording.spread({"value": 0.01, "low": 0.004, "high": 0.02}) == "0.010 (0.004 to 0.020)"
    assert wording.spread({"value": 0.9, "low": None, "high": None}) == "0.90 (no interval)"
    assert wording.spread({"value": None}) == wording.spread(None) == "not measured"


def test_gate_values_in_their_unit() -> None:
    """Shares read as percent, counts whole, the rest as decimals, flags as words."""
    assert [wording.gate_value(value, unit) for value, unit in ((0.2, "share"), (3, "count"), (0.25, ""), (True, ""), ("x", ""))] == [
        "20.0%",
        "3",
        "0.25",
        "yes",
        "x",
    ]


def test_gates_say_their_claim_and_how_the_limit_bounds() -> None:
    """Each gate that a release judges has a claim in plain words and a direction; an unknown one its own name and none."""
    for gate in ("rows_balance", "filtered_rows", "source_loss", "largest_cluster", "transitive_only", "bucket_cap", "outside_support"):
        assert wording.claim(gate)[0].isupper()
        assert wording.claim(gate).lower() != gate.replace("_", " ")
        assert wording.bound(gate) in ("exactly", "more than", "at most")
    assert (wording.claim("removal_recall"), wording.bound("removal_recall")) == (
        "Made-up copies, put in as a test, were removed",
        "at least",
    )
    assert (wording.claim("new_gate"), wording.bound("new_gate")) == ("New gate", "")


def test_evidence_reads_as_names_and_values() -> None:
    """Values are said in words, what stands beside them is left out, and what is no JSON object is shown as it is."""
    told = wording.evidence(
        '{"cluster_size":3,"link":"none","stands_for":2000,"rule":"keep_undecided","containment_removed":0.91954,"held":true}'
    )
    assert told == [
        ("copies it stands for", "2,000"),
        ("rule", "keep undecided"),
        ("of its shingles in the kept copy", "0.9195"),
        ("held", "yes"),
    ]
    assert wording.evidence("cut {") == [("recorded", "cut {")]
    assert wording.evidence("[1]") == [("recorded", "[1]")]
    assert wording.evidence("") == []


def test_sentences_begin_and_end() -> None:
    """A capital and a full stop, once; nothing stays nothing."""
    assert [wording.sentence(text) for text in ("rows went", "Did they?", "", "cut…")] == ["Rows went.", "Did they?", "", "Cut…"]
