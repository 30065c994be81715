"""What the report tells of sensitive patterns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from pipeline.report.sensitive import MEANINGS
from pipeline.report.summary import SummaryInputs, build_summary
from pipeline.tables import PERSONAL_KINDS, SECRET_KINDS, SENSITIVE_PATTERNS, SensitivePatterns

MakeInputs = Callable[..., SummaryInputs]


@pytest.fixture(scope="module")
def inputs(make_inputs: MakeInputs) -> SummaryInputs:
    return make_inputs()


@pytest.fixture(scope="module")
def patterns(inputs: SummaryInputs) -> SensitivePatterns:
    assert inputs.sensitive is not None
    return inputs.sensitive


@pytest.fixture(scope="module")
def told(inputs: SummaryInputs) -> dict[str, Any]:
    found: dict[str, Any] = build_summary(inputs)["sensitive"]
    return found


def test_every_kind_is_explained_and_told(told: dict[str, Any]) -> None:
    """The kinds of the table, secrets first, each have a line, found or not."""
    assert tuple(MEANINGS) == (*SECRET_KINDS, *PERSONAL_KINDS)
    assert [row["kind"] for row in told["kinds"]] == list(MEANINGS)
    assert {row["group"] for row in told["kinds"][: len(SECRET_KINDS)]} == {"secret"}


def test_counts_are_the_table_s(told: dict[str, Any], patterns: SensitivePatterns) -> None:
    """Values and rows by kind, of high risk and in all, equal plain sums."""
    for row in told["kinds"]:
        mine = patterns.filter(pl.col("kind") == row["kind"])
        risky = mine.filter("is_high_risk")
        assert (row["values"], row["documents"]) == (mine["count"].sum(), mine.height)
        assert (row["high_risk_values"], row["high_risk_documents"]) == (risky["count"].sum(), risky.height)
    assert told["examined"]["documents"] == patterns["doc_id"].n_unique()
    assert told["examined"]["high_risk"] == patterns.filter("is_high_risk")["doc_id"].n_unique()


def test_sources_add_up(told: dict[str, Any], patterns: SensitivePatterns) -> None:
    """Rows searched, and values of both groups, add up over sources."""
    sources = told["by_source"]
    assert sum(row["documents"] for row in sources) == patterns["doc_id"].n_unique()
    secrets = patterns.filter(pl.col("kind").is_in(SECRET_KINDS))
    assert sum(row["secret_values"] for row in sources) == secrets["count"].sum()
    assert sum(row["secret_documents"] for row in sources) == secrets["doc_id"].n_unique()
    both = sum(row["secret_values"] + row["personal_values"] for row in sources)
    assert both == patterns["count"].sum()


def test_many_sources_share_a_line(inputs: SummaryInputs, patterns: SensitivePatterns) -> None:
    """Beyond forty sources the rest stand together."""
    many = replace(inputs, ids=inputs.ids.with_columns(source=pl.format("s{}", pl.col("doc_id") % 1_000)))
    rows = build_summary(many)["sensitive"]["by_source"]
    assert len(rows) == 41
    assert sum(row["documents"] for row in rows) == patterns["doc_id"].n_unique()


def test_nobody_looked(inputs: SummaryInputs) -> None:
    """Without a table the report says nothing, and with an empty one that nothing was searched."""
    assert build_summary(replace(inputs, sensitive=None))["sensitive"] is None
    empty = build_summary(replace(inputs, sensitive=SENSITIVE_PATTERNS.empty()))["sensitive"]
    assert (empty["examined"]["documents"], empty["by_source"]) == (0, [])
    assert all(row["values"] == 0 for row in empty["kinds"])
