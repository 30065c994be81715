from __future__ import annotations

import re
from datetime import date
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from huggingface_hub import DatasetCard
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from pipeline.config import ReleaseConfig, WaiverConfig
from pipeline.release.card import escape, render_card
from pipeline.release.datasheet import OPEN, QUESTIONS
from pipeline.release.decisions import placed_spans
from pipeline.release.filtering import FilteredData, filter_documents
from pipeline.release.gates import judge
from pipeline.release.waivers import waive
from pipeline.store import Part
from pipeline.tables import LANGUAGES

TODAY = date(2027, 1, 1)
HOSTILE = "<script>alert(1)</script> | [x](javascript:y) \n---\n`code` {{ 7*7 }} *b* https://a.example \u202e"


@pytest.fixture
def card(kit: Any) -> str:
    ledger = kit.ledger([kit.Doc(0, HOSTILE), kit.Doc(0, "web"), kit.Doc(None, "web"), kit.Doc(2, "web", (1.0, 0.0, True))])
    config = ReleaseConfig()
    decisions = ledger.decide(config, with_pairs=False)
    filtered = FilteredData("x", (Part("data/train-00000-of-00001.parquet", 2, 9, "d"),), ("text", HOSTILE, "sink_weight"))
    gates = judge(ledger.ids, ledger.clusters, ledger.scores, decisions, {"web": 1, HOSTILE: 1}, config)
    gates = waive(gates, [WaiverConfig(gate="largest_cluster", until=date(2027, 1, 31), approver="R. <b>Roe</b>", reason="`known`")], TODAY)
    languages = LANGUAGES.check(pl.DataFrame({"doc_id": [0, 1, 2, 3], "language": ["en", "en", "und", "de"], "confidence": [1.0] * 4}))
    parents = {"input_digest": "abc", "note": HOSTILE}
    return render_card("demo", ledger.ids, decisions, filtered, gates, parents, config, "text", languages, [f"Truth. {HOSTILE}"])


def test_the_front_matter_is_what_dataset_tools_read(card: str) -> None:
    """One configuration whose data files are the shards, and the languages that were guessed; no licence, since none was named."""
    data = DatasetCard(card).data.to_dict()  # type: ignore[no-untyped-call]
    assert data["configs"] == [{"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*.parquet"}]}]
    assert (data["size_categories"], data["language"]) == (["n<1K"], ["de", "en"])
    assert "license" not in data


def test_every_heading_of_a_datasheet_is_there(card: str) -> None:
    """In the order of Gebru et al., each with what only a person can answer left open beneath it."""
    body = DatasetCard(card).text
    places = [body.index(f"\n## {heading}\n") for heading in QUESTIONS]
    assert places == sorted(places)
    for start, end in zip(places, [*places[1:], len(body)], strict=True):
        assert OPEN in body[start:end]


def test_waivers_languages_and_what_was_not_done_are_told(card: str) -> None:
    """Who waived what and why, rows by guessed language, and the sentences about what nobody examined."""
    assert "- Waiver of largest_cluster (not needed when this was written), until 2027-01-31, by R. &#60;b&#62;Roe" in card
    assert "| en | 2 | 1 |" in card
    assert "| und | 1 | 0 |" in card
    assert "## What the audit did not examine\n\n- Truth. &#60;script" in card


def test_a_licence_is_what_the_user_named(kit: Any) -> None:
    """In the front matter as it is, in the text escaped; without one the card says that a person has to."""
    ledger = kit.ledger([kit.Doc(0)])
    config = ReleaseConfig(license="cc-by-4.0")
    decisions, filtered = ledger.decide(config, with_pairs=False), FilteredData("x", (), ("text",))
    card = render_card("demo", ledger.ids, decisions, filtered, [], {}, config)
    assert DatasetCard(card).data.get("license") == "cc-by-4.0"
    assert "Licence, as the user of the audit named it: cc-by-4.0." in card
    assert f"Licence: {OPEN}" in render_card("demo", ledger.ids, decisions, filtered, [], {}, ReleaseConfig())


def test_the_card_counts_and_leaves_open_what_only_a_person_knows(card: str) -> None:
    """Rows by reason and source, every gate, the weight's meaning; every open question, and the licence."""
    assert "4 rows went in, 2 are here" in card
    assert "| drop | empty | 1 | no |" in card
    assert "| downweight | sink_risk | 1 | yes |" in card
    assert "| removal_recall | not measured |" in card
    assert "`sink_weight` is the training weight" in card
    assert card.count(OPEN) == sum(map(len, QUESTIONS.values())) + 1


def _masked(kit: Any, folder: Path, policy: str = "mask") -> tuple[str, list[dict[str, Any]]]:
    """Release four rows under a span policy; return the card and the rows as they read back."""
    texts = ["Zürich: <one œuvre two> end", "<one œuvre two> 終わり", "前 <漢字 span> 後", "<漢字 span>"]
    config = ReleaseConfig(spans=policy)
    ledger = kit.with_texts(kit.ledger([kit.Doc(number) for number in range(4)]), texts)
    user = pa.table({'bo"dy `x`': texts})
    documents = kit.store(str(folder / "documents"), ledger.ids, user, 'bo"dy `x`')
    decisions = ledger.decide(config)
    placed = placed_spans(ledger.ids, decisions, ledger.spans, config)
    filtered = filter_documents(documents, decisions, str(folder / "out"), config, placed=placed)
    card = render_card("demo", ledger.ids, decisions, filtered, [], {}, config, 'bo"dy `x`')
    return card, pq.read_table(folder / "out" / filtered.shards[0].path).to_pylist()


def _code(card: str, word: str) -> list[str]:
    return [block for block in re.findall(r"```python\n(.*?)```", card, re.DOTALL) if word in block]


def test_the_loss_mask_of_the_card_leaves_out_the_masked_spans(kit: Any, tmp_path: Path) -> None:
    """Run as printed on every released row: the tokens that count are those which touch no masked byte."""
    card, rows = _masked(kit, tmp_path)
    (code,) = _code(card, "loss_mask")

    def tokenizer(text: str, return_offsets_mapping: bool) -> dict[str, Any]:
        found = list(re.finditer(r"\s?\w+|\W", text))  # a token begins with the blank before its word
        assert return_offsets_mapping
        return {"input_ids": list(range(len(found))), "offset_mapping": [match.span() for match in found]}

    num_masked = 0
    for row in rows:
        space: dict[str, Any] = {"rows": [row], "tokenizer": tokenizer}
        exec(code, space)  # the example that trainers copy
        text = row['bo"dy `x`']
        data, offsets = text.encode(), space["tokens"]["offset_mapping"]
        hidden = {at for span in row["sink_mask_spans"] for at in range(span["start"], span["end"])}
        touched = [hidden & set(range(len(text[:a].encode()), len(text[:b].encode()))) for a, b in offsets]
        assert space["labels"] == [-100 if bytes_ else token for token, bytes_ in enumerate(touched)]
        assert set().union(*touched) == hidden
        assert all(data[span["start"] : span["end"]].decode() in ("<one œuvre two>", "<漢字 span>") for span in row["sink_mask_spans"])
        num_masked += bool(hidden)
    assert num_masked == 2
    assert "Here 2 rows mask" in card


def test_the_card_says_what_was_cut(kit: Any, tmp_path: Path) -> None:
    """Trimmed rows and bytes are told, and that texts differ from the input; no loss mask is offered."""
    card, rows = _masked(kit, tmp_path, "trim")
    assert "Repeated spans were cut out of 2 rows" in card
    assert "their texts are not those of the input" in card
    assert "loss_mask" not in card
    assert sum(row['bo"dy `x`'].count("<") for row in rows) == 2


def test_hostile_names_show_as_they_are_and_mark_up_nothing(card: str) -> None:
    """Rendered with HTML on, no script, link, rule, code or new table row comes from a name."""
    body = card.split("---\n", 2)[2]
    rendered = MarkdownIt("commonmark", {"html": True, "linkify": False}).enable("table").render(body)
    assert "<script" not in rendered
    assert "<a " not in rendered
    assert "<hr" not in rendered
    assert "&lt;script&gt;alert(1)&lt;/script&gt; | [x](javascript:y)" in rendered
    assert "\u202e" not in rendered
    assert rendered.count("<em>") == card.count(OPEN)


@given(st.text())
def test_escaped_text_is_one_line_without_markup(text: str) -> None:
    """Only letters, digits, blanks and character references remain of ASCII, at most 80 characters shown."""
    escaped = escape(text)
    assert "\n" not in escaped
    rendered = MarkdownIt("commonmark", {"html": True}).enable("table").render(f"| a |\n| --- |\n| x{escaped}x |")
    assert rendered.count("<td>") == 1
    assert not set(escaped) & set("<>|[]`*_{}()!~\\\"'")
