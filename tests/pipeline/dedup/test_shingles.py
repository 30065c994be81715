"""Shingles: the compiled hashes equal the plain definition, and the definition keeps its promises."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import DedupConfig
from pipeline.dedup.shingles import shingle_hashes, shingle_sets
from pipeline.text import are_spaceless, normalise, normalised_buffers

MASK = (1 << 64) - 1


def hash_unit(unit: bytes) -> int:
    h = 0x243F6A8885A308D3
    for start in range(0, len(unit), 8):
        h = (h ^ int.from_bytes(unit[start : start + 8], "little")) * 0x9E3779B97F4A7C15 & MASK
        h ^= h >> 32
    h = (h ^ (len(unit) * 0xA0761D6478BD642F & MASK)) * 0xFF51AFD7ED558CCD & MASK
    return h ^ (h >> 32)


def plain_hashes(text: str, ngram: int, spaceless: bool) -> list[int]:
    """Hash a text's shingles as the module's docstring says, one at a time."""
    whole = normalise(text)
    units = [hash_unit(unit.encode()) for unit in (whole.replace(" ", "") if spaceless else whole.split(" ")) if unit]
    runs = [units[i : i + ngram] for i in range(max(1, len(units) - ngram + 1))] if units else []
    return [sum(unit * pow(0xD6E8FEB86659FD93, len(run) - 1 - i, 1 << 64) for i, unit in enumerate(run)) & MASK for run in runs]


def fast_hashes(texts: list[str], config: DedupConfig) -> tuple[list[list[int]], list[bool]]:
    hashes, offsets, spaceless = shingle_hashes(pa.array(texts, pa.large_string()), config)
    return [hashes[offsets[i] : offsets[i + 1]].tolist() for i in range(len(texts))], spaceless.tolist()


WORDS = st.one_of(
    st.sampled_from(
        ["a", "of", "seventy", "eightlet", "ninelette", "seventeen-letters", "twenty-four-letter-words", "é", "漢字", "ไทย", "\0"]
    ),
    st.text(max_size=6),
)
TEXTS = st.lists(WORDS, max_size=14).map(" ".join)


@settings(max_examples=300, deadline=None)
@given(texts=st.lists(TEXTS, max_size=5), ngram=st.integers(1, 6))
def test_compiled_hashes_equal_the_plain_definition(texts: list[str], ngram: int) -> None:
    """Every hash of every document equals the documented formula, whatever stands before and after it in the buffer."""
    hashes, spaceless = fast_hashes(list(texts), DedupConfig(ngram=ngram))
    assert hashes == [plain_hashes(text, ngram, cut) for text, cut in zip(texts, spaceless, strict=True)]


def test_a_known_value_never_changes() -> None:
    """Stored signatures depend on these numbers: they are part of the format."""
    (hashes,), _ = fast_hashes(["The quick brown fox jumps over"], DedupConfig())
    assert hashes == plain_hashes("The quick brown fox jumps over", 5, False)
    assert [f"{value:016x}" for value in hashes] == ["539c741b39021b07", "17a11294ae21f4d7"]


def test_short_documents_are_one_shingle_and_empty_ones_none() -> None:
    """Fewer words than a shingle make one whole-text shingle; white space alone makes none."""
    hashes, _ = fast_hashes(["", " \n\t", "one", "One  two", "one two three four", "one two three four five", "1 2 3 4 5 6"], DedupConfig())
    assert [len(each) for each in hashes] == [0, 0, 1, 1, 1, 1, 2]
    assert len({each[0] for each in hashes if each}) == 5


@pytest.mark.parametrize("text", ["这是一个很长的中文文档，没有空格。", "นี่คือข้อความภาษาไทยที่ยาวพอสมควร"])
def test_scripts_without_blanks_are_cut_into_characters(text: str) -> None:
    """Chinese and Thai give character n-grams, the same ones when the lines are broken elsewhere."""
    broken = text[:7] + "\n" + text[7:12] + " " + text[12:]
    (one, two), spaceless = fast_hashes([text, broken], DedupConfig())
    assert spaceless == [True, True]
    assert len(one) == len(normalise(text)) - 4
    assert one == two


def test_right_to_left_and_emoji_are_words_like_others() -> None:
    """Arabic, Hebrew and emoji are split on blanks."""
    hashes, spaceless = fast_hashes(["هذا نص عربي طويل بما يكفي", "זה טקסט בעברית ארוך דיו כאן", "🎉 🎊 🎈 🎁 🎂 🍰"], DedupConfig())
    assert spaceless == [False] * 3
    assert [len(each) for each in hashes] == [2, 2, 2]


@settings(max_examples=100, deadline=None)
@given(texts=st.lists(st.lists(st.sampled_from("abc"), max_size=30).map(" ".join), max_size=5))
def test_sets_are_the_distinct_hashes_in_rising_order(texts: list[str]) -> None:
    """Each document keeps its own distinct hashes."""
    hashes, offsets, _ = shingle_hashes(pa.array(texts, pa.large_string()), DedupConfig(ngram=2))
    values, bounds = shingle_sets(hashes, offsets)
    for i in range(len(texts)):
        assert values[bounds[i] : bounds[i + 1]].tolist() == sorted(set(hashes[offsets[i] : offsets[i + 1]].tolist()))


def test_a_very_long_document_is_hashed_whole() -> None:
    """131,072 shingles of one document, ten and more megabytes of one word, and the document after them."""
    long = " ".join(str(i) for i in range(131_076))
    (one, two, three), _ = fast_hashes([long, "x" * 10_000_000, "a b c d e"], DedupConfig())
    assert len(set(one)) == 131_072
    assert two == plain_hashes("x" * 10_000_000, 5, False)
    assert three == plain_hashes("a b c d e", 5, False)


def test_spaceless_detection_is_per_document() -> None:
    """A Chinese document does not change how its neighbours are cut."""
    texts = pa.array(["plain words here", "中文文档中文文档", "plain words here"], pa.large_string())
    assert are_spaceless(*normalised_buffers(texts)).tolist() == [False, True, False]
