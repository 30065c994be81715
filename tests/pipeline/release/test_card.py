from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from pipeline.config import ReleaseConfig
from pipeline.release.card import escape, render_card
from pipeline.release.filtering import FilteredData
from pipeline.release.gates import judge
from pipeline.store import Part

HOSTILE = "<script>alert(1)</script> | [x](javascript:y) \n---\n`code` {{ 7*7 }} *b* https://a.example \u202e"


@pytest.fixture
def card(kit: Any) -> str:
    ledger = kit.ledger([kit.Doc(0, HOSTILE), kit.Doc(0, "web"), kit.Doc(None, "web"), kit.Doc(2, "web", (1.0, 0.0, True))])
    config = ReleaseConfig()
    decisions = ledger.decide(config, with_pairs=False)
    filtered = FilteredData("x", (Part("data/train-00000-of-00001.parquet", 2, 9, "d"),), ("text", HOSTILE, "sink_weight"))
    gates = judge(ledger.ids, ledger.clusters, ledger.scores, decisions, {"web": 1, HOSTILE: 1}, config)
    return render_card("demo", ledger.ids, decisions, filtered, gates, {"input_digest": "abc", "note": HOSTILE}, config)


def test_the_front_matter_is_what_dataset_tools_read(card: str) -> None:
    """One configuration whose data files are the shards."""
    _, front, _ = card.split("---\n", 2)
    described = yaml.safe_load(front)
    assert described["configs"] == [{"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*.parquet"}]}]
    assert described["size_categories"] == ["n<1K"]


def test_the_card_counts_and_leaves_open_what_only_a_person_knows(card: str) -> None:
    """Rows by reason and source, every gate, the weight's meaning, and six open headings."""
    assert "4 rows went in, 2 are here" in card
    assert "| drop | empty | 1 | no |" in card
    assert "| downweight | sink_risk | 1 | yes |" in card
    assert "| removal_recall | not measured |" in card
    assert "`sink_weight` is the training weight" in card
    assert card.count("_To be completed by a person._") == 6


def test_hostile_names_show_as_they_are_and_mark_up_nothing(card: str) -> None:
    """Rendered with HTML on, no script, link, rule, code or new table row comes from a name."""
    body = card.split("---\n", 2)[2]
    rendered = MarkdownIt("commonmark", {"html": True, "linkify": False}).enable("table").render(body)
    assert "<script" not in rendered
    assert "<a " not in rendered
    assert "<hr" not in rendered
    assert "&lt;script&gt;alert(1)&lt;/script&gt; | [x](javascript:y)" in rendered
    assert "\u202e" not in rendered
    assert rendered.count("<em>") == 6


@given(st.text())
def test_escaped_text_is_one_line_without_markup(text: str) -> None:
    """Only letters, digits, blanks and character references remain of ASCII, at most 80 characters shown."""
    escaped = escape(text)
    assert "\n" not in escaped
    rendered = MarkdownIt("commonmark", {"html": True}).enable("table").render(f"| a |\n| --- |\n| x{escaped}x |")
    assert rendered.count("<td>") == 1
    assert not set(escaped) & set("<>|[]`*_{}()!~\\\"'")
