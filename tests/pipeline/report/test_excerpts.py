"""Excerpts of the corpus are short, masked, and hide nothing."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.report.excerpts import FULL, SHORT, redact_excerpt

SECRET = "Zx81Qw34Er56Ty78Ui90"


@given(st.text(max_size=4_000), st.sampled_from(["short", "full"]))
def test_nothing_invisible_survives_and_length_is_bounded(text: str, mode: str) -> None:
    """Whatever the text, no control, format, private or surrogate character is left, and the limit holds."""
    shown = redact_excerpt(text, mode)  # type: ignore[arg-type]
    assert len(shown) <= (SHORT if mode == "short" else FULL)
    assert not {unicodedata.category(character) for character in shown} & {"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"}
    shown.encode("utf-8")


@pytest.mark.parametrize(
    ("text", "secret", "mark"),
    [
        ("write to jane.doe+x@mail.example.org now", "jane.doe", "[email]"),
        ("key sk-" + SECRET, SECRET, "[key]"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIEow\nabc\n-----END RSA PRIVATE KEY----- after", "MIIEow", "[key]"),
        ("-----BEGIN PRIVATE KEY-----\nMIIEow and no end", "MIIEow", "[key]"),
        ("call +44 20 7946 0958", "7946", "[number]"),
        ("an access key q3fv rrvp s4x6 trwq, then", "rrvp", "access key [key], then"),
        ("card 4111 1111 1111 1111", "1111", "[number]"),
        ("id 123456", "123456", "[number]"),
        ("https://user:hunter2@example.org/x", "hunter2", "[credentials]"),
    ],
)
def test_short_masks_what_identifies(text: str, secret: str, mark: str) -> None:
    """E-mail addresses, keys, credentials and runs of digits are replaced by what they were."""
    shown = redact_excerpt(text, "short")
    assert secret not in shown
    assert mark in shown


def test_words_after_the_name_of_a_key_stay() -> None:
    """Without a group that mixes letters and digits, what follows the word key is text."""
    text = "the key that opens this old door has 12 teeth"
    assert redact_excerpt(text) == text


def test_a_secret_across_the_cut_is_masked_whole() -> None:
    """Masks run before the cut, so half a key at the edge does not slip through."""
    shown = redact_excerpt("word " * 38 + SECRET * 20, "short")
    assert "Zx81" not in shown


def test_hidden_characters_are_spelled_out() -> None:
    """Escapes, bells, direction overrides and zero-width characters can be seen."""
    assert redact_excerpt("\x1b[31m\x07\u202eabc\u200b\x7f") == "␛[31m␇⟨U+202E⟩abc⟨U+200B⟩⟨U+007F⟩"


def test_none_shows_nothing_and_full_masks_nothing() -> None:
    """`none` is empty; `full` keeps digits but is still cut and made visible."""
    assert redact_excerpt("some text", "none") == ""
    assert redact_excerpt(None) == ""
    assert redact_excerpt("call 555123456\u202e", "full") == "call 555123456⟨U+202E⟩"


def test_stacked_marks_do_not_paint_over_other_lines() -> None:
    """At most three combining marks stay on one letter."""
    assert redact_excerpt("a" + "\u0301" * 40 + "b") == "a\u0301\u0301\u0301b"
