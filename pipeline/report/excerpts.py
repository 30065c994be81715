"""Make corpus text safe to show: short, masked, and with nothing hidden in it.

A corpus is written by strangers. Terminal escapes, direction overrides and invisible characters can make a reviewer read something other
than what a model would learn, and a report that travels by mail must not carry the secrets it warns of. Escaping for HTML is not done
here: templates escape everything, always.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Literal

Mode = Literal["none", "short", "full"]

SHORT = 200
FULL = 1_000
"""Longest excerpts in characters, after hidden characters were spelled out: 200 rows of 1,000 stay far below 2 MB of HTML."""

_LOOKAHEAD = 1_000
_MASKS = (
    ("[key]", re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]{0,40}PRIVATE KEY-----|\Z)", re.DOTALL)),
    ("[credentials]@", re.compile(r"(?<=://)[^\s/@]{1,256}@")),
    ("[email]", re.compile(r"[\w.+%'-]{1,64}\s?[@＠]\s?[\w-]+(?:\.[\w-]+)+")),
    ("[key]", re.compile(r"(?<![A-Za-z0-9_+=-])(?=[A-Za-z0-9_+=-]*\d)(?=[A-Za-z0-9_+=-]*[A-Za-z])[A-Za-z0-9_+=-]{16,}")),
    # written in groups, a key looks like words: the name before it and one group of letters and digits give it away
    (
        r"\1[key]",
        re.compile(
            r"\b((?:key|password|passphrase|secret|token)s?(?: is)?[ :=]{1,3})(?=(?:[a-z0-9]{3,8}[ -]){0,7}(?:[a-z]+[0-9]|[0-9]+[a-z]))"
            r"(?:[a-z0-9]{3,8}[ -]){2,15}[a-z0-9]{3,8}\b",
            re.IGNORECASE,
        ),
    ),
    ("[number]", re.compile(r"\+?\d[\d\s().\u2010-\u2015-]{5,30}\d")),
    ("[number]", re.compile(r"\d{4,}")),
)
_INVISIBLE = frozenset({"Cc", "Cf", "Co", "Cs", "Cn", "Zl", "Zp"})
_MAX_MARKS = 3


def redact_excerpt(text: str | None, mode: Mode = "short") -> str:
    """Return the part of a document that a report may show.

    `none` returns nothing; `short` masks e-mail addresses, keys, credentials and runs of digits and returns at most 200 characters;
    `full` masks nothing and returns at most 1,000. Control, direction and invisible characters are spelled out in both.
    """
    if not text or mode == "none":
        return ""
    limit = SHORT if mode == "short" else FULL
    head = text[: limit + _LOOKAHEAD]  # masks must see whole secrets, so they run before the cut
    if mode == "short":
        for label, pattern in _MASKS:
            head = pattern.sub(label, head)
    return make_visible(head, limit)


def make_visible(text: str, limit: int) -> str:
    """Spell out every character that would not show, collapse blanks, and cut to `limit` characters with an ellipsis."""
    shown: list[str] = []
    length = marks = 0
    for character in text:
        is_mark = unicodedata.category(character) in ("Mn", "Me")
        marks = marks + 1 if is_mark else 0
        if marks > _MAX_MARKS:  # stacked marks would paint over the lines around them
            continue
        piece = _visible(character)
        if piece == " " and shown and shown[-1] == " ":
            continue
        if length + len(piece) > limit - 1:
            return "".join(shown).rstrip() + "…"
        shown.append(piece)
        length += len(piece)
    return "".join(shown).strip()


def _visible(character: str) -> str:
    category = unicodedata.category(character)
    if character in "\t " or category == "Zs":
        return " "
    if character == "\n":
        return "↵"
    if ord(character) < 0x20:
        return chr(0x2400 + ord(character))
    if category in _INVISIBLE:
        return f"⟨U+{ord(character):04X}⟩"
    return character
