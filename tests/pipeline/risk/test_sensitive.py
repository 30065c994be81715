"""Counting sensitive patterns in chosen documents."""

from __future__ import annotations

import json

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.risk import sensitive
from pipeline.risk.sensitive import MAX_CHARACTERS, count_patterns, find_patterns
from pipeline.tables import PERSONAL_KINDS, SECRET_KINDS

TOKEN = "ghp_" + "a1B2" * 9
MEGABYTE = 1_000_000
HOSTILE: dict[str, dict[str, int]] = {
    "a": {},
    "1": {},
    "+1 ": {},
    "+1 650 967 4675 ": {"phone_number": 1},
    "T3BlbkFJsk-": {},
    "//:_authToken": {},
    "secret=`": {"assigned_password": 2},
    "password => '": {"assigned_password": 1},
    "ibm_cloud_iam_api_key ": {},
    "a@a.": {},
    "AA00 ": {},
    "2001:": {},
    "eyJ.": {},
    "://a:": {},
    "\n": {},
}


def _chosen(*doc_ids: int) -> pl.DataFrame:
    return pl.DataFrame({"doc_id": doc_ids, "is_high_risk": [doc_id % 2 == 0 for doc_id in doc_ids]}, schema_overrides={"doc_id": pl.Int64})


def test_counts_are_by_kind() -> None:
    """Secrets and personal data stand side by side, each with how many different values there are."""
    text = f"{TOKEN} {TOKEN} mail a@b.net, c@d.org; <script>alert(1)</script>\x1b[31m"
    assert find_patterns(text) == {"code_host_token": 1, "email_address": 2}


def test_the_table_has_examined_documents_only_and_no_text() -> None:
    """A document without findings has one row that says so; facts say what was examined; nothing found is in either."""
    texts = [(4, f"{TOKEN} a@secret-place.net"), (7, "plain"), (8, "")]
    table, facts = count_patterns(texts, _chosen(4, 7, 8))
    assert table.rows() == [
        (4, True, "code_host_token", 1),
        (4, True, "email_address", 1),
        (7, False, "nothing", 0),
        (8, True, "nothing", 0),
    ]
    assert (facts["num_documents"], facts["num_characters"], facts["num_cut"]) == (3, len(texts[0][1]) + 5, 0)
    told = json.dumps(facts) + str(table.to_dicts())
    assert TOKEN not in told
    assert "secret-place" not in told


def test_nothing_chosen_is_an_empty_table() -> None:
    """Without documents there are no rows, and the facts say 0."""
    table, facts = count_patterns([], _chosen())
    assert (table.height, facts["num_documents"]) == (0, 0)


def test_long_texts_are_cut_and_that_is_said() -> None:
    """What lies beyond the limit is not found, and the document is counted as cut."""
    head = "word " * (MAX_CHARACTERS // 5)
    table, facts = count_patterns([(2, head + TOKEN), (4, head[: -len(TOKEN)] + TOKEN)], _chosen(2, 4))
    assert table.rows() == [(2, True, "nothing", 0), (4, True, "code_host_token", 1)]
    assert (facts["num_cut"], facts["num_characters"]) == (1, 2 * MAX_CHARACTERS)


@pytest.mark.parametrize(("unit", "counts"), HOSTILE.items())
def test_a_hostile_megabyte_in_one_line_is_counted(unit: str, counts: dict[str, int]) -> None:
    """A line made to send some pattern back and forth has its counts; without the bounds on text and pieces some would take hours."""
    assert find_patterns(unit * (MEGABYTE // len(unit))) == counts


def test_detectors_never_see_more_than_the_head(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both groups of detectors are handed the first characters of a text alone."""
    seen: list[int] = []

    def note(text: str, *_: object) -> dict[str, set[str]]:
        seen.append(len(text))
        return {}

    monkeypatch.setattr(sensitive, "find_secrets", note)
    monkeypatch.setattr(sensitive, "find_personal_data", note)
    assert find_patterns("x" * MEGABYTE) == {}
    assert seen == [MAX_CHARACTERS, MAX_CHARACTERS]


@given(text=st.text(max_size=400))
@settings(max_examples=150, deadline=None)
def test_any_text_has_counts(text: str) -> None:
    """Whatever the characters, kinds are the table's and counts are positive."""
    found = find_patterns(text)
    assert set(found) <= {*SECRET_KINDS, *PERSONAL_KINDS}
    assert all(count > 0 for count in found.values())


def test_natural_text_of_the_demo_has_no_secrets() -> None:
    """Licences and novels set off no detector of secrets; their addresses and telephone numbers are real ones."""
    for name, allowed in (("licences", {"email_address", "phone_number"}), ("novels", set())):
        texts = pl.read_parquet(f"data/samples/corpus/{name}.parquet")["text"].to_list()
        assert {kind for text in texts for kind in find_patterns(text)} == allowed
