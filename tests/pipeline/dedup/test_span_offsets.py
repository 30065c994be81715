"""Offsets into raw text: each unit's bytes are those that a plain search over all cuts of the text finds."""

from __future__ import annotations

import unicodedata

import numpy as np
import pyarrow as pa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.dedup.span_offsets import NUM_POINTS, unit_bounds
from pipeline.text import normalise

SPECIAL = "ab \n\u0301\u0323é´¨ﷺﷻﬁß\u00a0\u2003\u0085\u1680\u3000漢か\u3099ｶﾞ가\u1100\u1161\u11a8株㍿ไี่\u0e38🙂👍🏽ŉÅ\u0345\u037a\u09c7\u09be"
CHARACTERS = st.one_of(st.sampled_from(SPECIAL), st.characters(exclude_categories=["Cs"]))
TEXTS = st.lists(CHARACTERS, max_size=12).map("".join)


def words_of(text: str) -> list[str]:
    return normalise(text).split()


def characters_of(text: str) -> list[str]:
    return list(normalise(text).replace(" ", ""))


def bounds(texts: list[str | None], spaceless: bool) -> list[list[tuple[int, int]]]:
    units = [(characters_of if spaceless else words_of)(text or "") for text in texts]
    offsets = np.cumsum([0, *map(len, units)], dtype=np.int64)
    starts, ends = unit_bounds(pa.array(texts, pa.large_string()), np.full(len(texts), spaceless), offsets)
    both = list(zip(starts.tolist(), ends.tolist(), strict=True))
    return [both[offsets[i] : offsets[i + 1]] for i in range(len(texts))]


def plain_word_bounds(text: str) -> list[tuple[int, int]]:
    """Find each word's bytes: the shortest suffix that still ends in it and its followers, the shortest prefix that still has it."""
    words, found = words_of(text), []
    for i in range(len(words)):
        start = max(cut for cut in range(len(text)) if words_of(text[cut:])[i - len(words) :] == words[i:])
        end = min(cut for cut in range(len(text) + 1) if words_of(text[:cut])[: i + 1] == words[: i + 1])
        found.append((len(text[:start].encode()), len(text[:end].encode())))
    return found


@settings(max_examples=300, deadline=None)
@given(texts=st.lists(st.one_of(st.none(), TEXTS), max_size=3))
@example(["a´b ﷺ c", None, "\u0301", "x\u00a0y"])
@example(["ß ﬁn\u2028e\u0301e", "´", "¨¨", "ﷺﷻ"])
def test_words_are_where_a_plain_search_finds_them(texts: list[str | None]) -> None:
    """Start and end of every word are the tightest cuts of the raw text that leave the word as it is."""
    assert bounds(texts, spaceless=False) == [plain_word_bounds(text or "") for text in texts]


@settings(max_examples=300, deadline=None)
@given(texts=st.lists(TEXTS, max_size=3))
@example(["ｶﾞ㍿か\u3099", "각각", "ไี่\u0e38", "\u0301漢"])
def test_characters_lie_between_safe_cuts(texts: list[str]) -> None:
    """Text before a unit, its own bytes, and the text behind it normalise on their own to the units that they are said to hold."""
    for text, own in zip(texts, bounds(list(texts), spaceless=True), strict=True):
        raw, units = text.encode(), characters_of(text)
        for i, (start, end) in enumerate(own):
            first = min(j for j, other in enumerate(own) if other == (start, end))
            last = max(j for j, other in enumerate(own) if other == (start, end))
            assert first <= i <= last
            assert characters_of(raw[:start].decode()) == units[:first]
            assert characters_of(raw[start:end].decode()) == units[first : last + 1]
            assert characters_of(raw[end:].decode()) == units[last + 1 :]


@settings(max_examples=200, deadline=None)
@given(text=st.text(alphabet=st.sampled_from("漢字仮名交じり文ABCか\u3099㍿🙂 \n"), max_size=20))
def test_characters_that_stand_alone_are_found_alone(text: str) -> None:
    """No unit reaches over more raw characters than its own and the voicing marks that follow, and blanks belong to none."""
    for start, end in bounds([text], spaceless=True)[0]:
        own = text.encode()[start:end].decode()
        assert own.strip("\u3099")[1:] == ""
        assert not own[0].isspace() or own[1:]


def test_code_points_beyond_the_tables_are_ordinary() -> None:
    """From `NUM_POINTS` on no character is blank or combining, makes a blank, or normalises to anything but one character."""
    for point in range(NUM_POINTS, 0x110000):
        character = chr(point)
        if unicodedata.category(character) not in ("Cn", "Co"):
            assert len(characters_of(character)) == 1
            assert not unicodedata.combining(unicodedata.normalize("NFKD", character)[0])
