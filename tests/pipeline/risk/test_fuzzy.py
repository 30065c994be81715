"""Near-copies by 3-gram containment."""

from __future__ import annotations

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.risk.fuzzy import build_index, near_copy_mass, word_grams

WORDS = [f"word{number}" for number in range(400)]


def _text(rng: random.Random, count: int = 200) -> list[str]:
    return rng.choices(WORDS, k=count)


def _changed(words: list[str], share: float, rng: random.Random) -> str:
    return " ".join(f"new{rng.random()}" if rng.random() < share else word for word in words)


def _mass(text: str, key: bytes, rows: list[tuple[bytes, bytes, str]]) -> float | None:
    return near_copy_mass(word_grams(text), key, build_index(rows))


def test_a_copy_with_a_tenth_of_its_words_changed_weighs_about_as_published() -> None:
    """A copy weighs about 0.6 at 10% of words changed and 0.15 to 0.2 at 50%."""
    rng = random.Random(1)
    for share, low, high in ((0.1, 0.5, 0.7), (0.5, 0.12, 0.23)):
        weights = []
        for _ in range(20):
            words = _text(rng, 2_000)
            weights.append(_mass(" ".join(words), b"x", [(b"y", b"1", _changed(words, share, rng))]))
        assert low < float(np.mean([weight or 0.0 for weight in weights])) < high


def test_identical_content_is_no_near_copy_of_itself() -> None:
    """A text's own rows add nothing, another text's copies add each their weight."""
    rng = random.Random(2)
    words = _text(rng)
    other = _changed(words, 0.05, rng)
    rows = [(b"x", b"1", " ".join(words)), (b"x", b"2", " ".join(words))]
    assert _mass(" ".join(words), b"x", rows) == 0.0
    once = _mass(" ".join(words), b"x", [*rows, (b"y", b"3", other)])
    thrice = _mass(" ".join(words), b"x", [*rows, *((b"y", bytes([at]), other) for at in (3, 4, 5))])
    assert once is not None
    assert thrice is not None
    assert thrice == 3 * once > 1.5


def test_unrelated_text_and_short_text() -> None:
    """Unrelated text has no mass; a text of fewer than three grams has none that could be told."""
    rng = random.Random(3)
    assert _mass(" ".join(f"a{n}" for n in range(50)), b"x", [(b"y", b"1", " ".join(_text(rng)))]) == 0.0
    assert _mass("two words", b"x", [(b"y", b"1", "two words")]) is None


def test_scripts_without_spaces_are_read_by_characters() -> None:
    """Chinese text has grams although it has no blanks."""
    text = "他们在昨天晚上去了城里的市场买东西然后回家做饭吃了晚饭"
    assert len(word_grams(text)) > 10


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.sampled_from("abcdef"), max_size=12), max_size=8), st.randoms())
def test_mass_is_as_the_plain_definition_says_in_any_order(texts: list[list[str]], order: random.Random) -> None:
    """The inverted index agrees with set arithmetic, whatever the order of its rows."""
    rows = [(bytes([at]), b"r", " ".join(words)) for at, words in enumerate(texts)]
    shuffled = list(rows)
    order.shuffle(shuffled)
    index = build_index(shuffled)
    for key, _, text in rows:
        assert near_copy_mass(word_grams(text), key, index) == _plain_mass(key, text, rows)


def _plain_mass(key: bytes, text: str, rows: list[tuple[bytes, bytes, str]]) -> float | None:
    def grams(words: str) -> set[tuple[str, ...]]:
        listed = words.split()
        return {tuple(listed[at : at + 3]) for at in range(len(listed) - 2)}

    own = grams(text)
    if len(own) < 3:
        return None
    weights = []
    for other, _, words in rows:
        share = len(own & grams(words)) / len(own)
        if other != key and share >= 0.1:
            weights.append(np.interp(1 - np.cbrt(share), (0.0, 0.1, 0.5, 1.0), (1.0, 0.6, 0.175, 0.0)))
    return float(np.array(weights) @ np.ones(len(weights)))
