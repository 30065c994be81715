"""Whom the decisions hit, by source, language and length."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from pipeline.report.shifts import length_label
from pipeline.report.summary import SummaryInputs, build_summary
from pipeline.tables import LANGUAGES, REMOVALS

MakeInputs = Callable[..., SummaryInputs]
KINDS = ("source", "language", "length")


@pytest.fixture(scope="module")
def inputs(make_inputs: MakeInputs) -> SummaryInputs:
    return make_inputs(release={"hold_review": True})


@pytest.fixture(scope="module")
def shift(inputs: SummaryInputs) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = build_summary(inputs)["decisions"]["shift"]
    return found


@pytest.mark.parametrize("kind", KINDS)
def test_every_table_adds_up_to_the_corpus(shift: dict[str, list[dict[str, Any]]], inputs: SummaryInputs, kind: str) -> None:
    """Rows in are rows out, copies, sink policy and the rest, in every group; groups together are the corpus."""
    rows = shift[kind]
    assert sum(row["rows"] for row in rows) == inputs.ids.height
    for row in rows:
        assert row["rows"] == row["rows_out"] + row["copies"] + row["sink"] + row["other"]
        assert row["rows"] == sum(row[action] for action in ("keep", "downweight", "mask", "review", "drop"))
    assert sum(row["share_before"] for row in rows) == pytest.approx(1.0, abs=1e-4)
    assert sum(row["share_after"] for row in rows) == pytest.approx(1.0, abs=1e-4)


def test_a_group_is_what_filtering_gives(shift: dict[str, list[dict[str, Any]]], inputs: SummaryInputs) -> None:
    """A language's figures equal those of its own rows, counted plainly."""
    assert inputs.languages is not None
    (german,) = (row for row in shift["language"] if row["name"] == "de")
    mine = inputs.decisions.join(inputs.languages.filter(pl.col("language") == "de"), on="doc_id", how="semi")
    stays = mine.filter(~pl.col("action").is_in(["drop", "review"]))
    assert (german["rows"], german["rows_out"]) == (mine.height, stays.height)
    assert german["effective"] == pytest.approx(float(stays["weight"].sum()), rel=1e-5)
    assert german["copies"] == mine.filter(pl.col("reason").is_in(["exact_duplicate", "near_duplicate"])).height
    assert german["sink"] == mine.filter(pl.col("action") == "review").height


def test_length_bins_are_powers_of_two_in_order(inputs: SummaryInputs) -> None:
    """A text of 2^k bytes begins a bin, one byte less ends the bin before; the first and last bins hold the rest."""
    sizes = [0, 1, 63, 64, 127, 128, 1_023, 1_024, 2_047, 2_048, 2**20 - 1, 2**20, 2**40]
    ids = inputs.ids.head(len(sizes)).with_columns(num_bytes=pl.Series(sizes))
    few = {name: getattr(inputs, name).join(ids, on="doc_id", how="semi") for name in ("clusters", "scores", "decisions")}
    bins = build_summary(replace(inputs, ids=ids, sensitive=None, removals=REMOVALS.empty(), **few))["decisions"]["shift"]["length"]
    assert [(row["name"], row["rows"]) for row in bins] == [
        ("under 64 bytes", 3),
        ("64 to 127 bytes", 2),
        ("128 to 255 bytes", 1),
        ("512 to 1023 bytes", 1),
        ("1 KiB to 2 KiB", 2),
        ("2 KiB to 4 KiB", 1),
        ("512 KiB to 1 MiB", 1),
        ("1 MiB and more", 2),
    ]


def test_every_length_has_one_label() -> None:
    """No two bins are called the same."""
    labels = [length_label(power) for power in range(5, 21)]
    assert len(set(labels)) == len(labels)


def test_groups_beyond_the_limit_share_one_line(inputs: SummaryInputs) -> None:
    """A thousand sources give forty lines and one for the rest, which still add up."""
    many = replace(inputs, ids=inputs.ids.with_columns(source=pl.format("s{}", pl.col("doc_id") % 1_000)))
    rows = build_summary(many)["decisions"]["shift"]["source"]
    assert (len(rows), rows[-1]["name"]) == (41, "(960 smaller ones)")
    assert sum(row["rows"] for row in rows) == inputs.ids.height


def test_nobody_guessed_languages(make_inputs: MakeInputs) -> None:
    """Without a guess there is no table by language; a document without one is undetermined."""
    inputs = make_inputs(300)
    assert build_summary(replace(inputs, languages=None))["decisions"]["shift"]["language"] == []
    (only,) = build_summary(replace(inputs, languages=LANGUAGES.empty()))["decisions"]["shift"]["language"]
    assert (only["name"], only["rows"]) == ("und", 300)
