"""Normalised text: fast and plain forms agree on every text."""

from itertools import pairwise

import pyarrow as pa
import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.text import are_spaceless, content_hashes, empty_content_hash, normalise, normalised_buffers

# ligatures, letters that fold to two, combining marks alone and after a letter, spaces outside ASCII
PIECES = st.sampled_from(
    "The ﬁne Straße İ ΣΑΣ é e\u0301 \u0301 \u00b4 漢字 ﾊﾟ 🎉 \0 ½".split(" ") + list("\u00a0\u2003\u3000\x1c\x85")  # noqa: SIM905
)
SPACES = st.sampled_from(["", " ", "  ", "\n", "\t \r", "\x1f", "\x0b\x0c"])
MIXED = st.lists(st.one_of(PIECES, SPACES, st.text(max_size=8), st.characters(max_codepoint=127)), max_size=25).map("".join)


def fast(texts: list[str | None]) -> list[str]:
    data, offsets = normalised_buffers(pa.array(texts, pa.large_string()))
    return [bytes(data[start:end]).decode() for start, end in pairwise(offsets)]


@settings(max_examples=400, deadline=None)
@given(st.lists(MIXED, max_size=6))
def test_the_fast_form_equals_the_plain_form(texts: list[str]) -> None:
    """Kernel and Python agree byte for byte, whatever mixture of ASCII and other scripts a batch holds."""
    assert fast(list(texts)) == [normalise(text) for text in texts]


def test_every_ascii_and_every_space_character_agrees() -> None:
    """Each ASCII byte and each character that str.split splits on is treated as the plain form treats it."""
    points = [*range(128), *(point for point in range(0x3100) if chr(point).isspace())]
    texts = [f"a{chr(point)}B" for point in points] + [f"é{chr(point)}É" for point in points]
    assert fast(list(texts)) == [normalise(text) for text in texts]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(alphabet="aBz [@`{\x08\t\r\x0e\x1b\x1f !é", max_size=300), max_size=4), st.integers(0, 200))
def test_long_runs_of_ascii_are_normalised_like_short_ones(texts: list[str], padding: int) -> None:
    """The kernel that takes 64 bytes at a time equals the plain definition wherever chunks, runs of blanks and texts begin and end."""
    data, offsets = normalised_buffers(pa.array([*texts, "x" * padding], pa.large_string()))
    assert [data[offsets[i] : offsets[i + 1]].tobytes().decode() for i in range(len(texts))] == [normalise(text) for text in texts]


def test_every_character_is_normalised_as_python_does_it() -> None:
    """By itself, between letters, before an accent, after itself: each of the first two planes, and the last of a few others."""
    points = [*range(0x20000), 0x2F800, 0x2FA1D, 0x30000, 0xE0001, 0xE01EF, 0x10FFFD]
    lines = [chr(point) for point in points if not 0xD800 <= point < 0xE000]
    texts = [f"{each} a{each}b {each}\u0301 {each}{each}" for each in lines]
    data, offsets = normalised_buffers(pa.array(texts, pa.large_string()))
    ours = [data[offsets[i] : offsets[i + 1]].tobytes().decode() for i in range(len(texts))]
    assert ours == [normalise(text) for text in texts]


def test_null_is_empty_and_slices_and_chunks_are_read_where_they_lie() -> None:
    """Offsets into shared buffers are respected, and a null is the empty text."""
    whole = pa.array(["left out", "A  b", None, "Ünï  X"], pa.large_string())
    chunked = pa.chunked_array([whole.slice(1, 2), whole.slice(3)])
    data, offsets = normalised_buffers(chunked)
    assert bytes(data) == "a bünï x".encode()
    assert offsets.tolist() == [0, 3, 3, 10]
    assert fast([]) == []
    assert fast([None]) == [""]
    assert normalised_buffers(pa.array([None, None]))[1].tolist() == [0, 0, 0]


def test_content_hashes_are_of_the_normalised_text() -> None:
    """Case, width and white space do not change the hash; a word does; blank and null are the empty text."""
    hashes = content_hashes(pa.array(["Full  Width", "ｆｕｌｌ\nwidth ", "full widths", " \n", None], pa.large_string()))
    assert hashes.type == pa.binary(16)
    one, two, three, blank, null = hashes.to_pylist()
    assert one == two == blake3(b"full width").digest(length=16)
    assert three != one
    assert blank == null == empty_content_hash()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain english", False),
        ("这是一个中文文档", True),
        ("日本語の文章です", True),
        ("นี่คือข้อความภาษาไทย", True),
        ("ພາສາລາວ", True),
        ("ភាសាខ្មែរ", True),
        ("မြန်မာဘာသာ", True),
        ("བོད་སྐད", True),
        ("한국어 문장은 띄어 쓴다", False),
        ("это русский текст", False),
        ("هذا نص عربي", False),
        ("🎉🎉🎉", False),
        ("", False),
        ("a mostly english text with 漢字", False),
    ],
)
def test_spaceless_scripts_are_recognised_by_the_majority_of_letters(text: str, expected: bool) -> None:
    """Scripts that put no blanks between words are told from those that do, Hangul included."""
    data, offsets = normalised_buffers(pa.array([text, "é"], pa.large_string()))
    assert are_spaceless(data, offsets).tolist() == [expected, False]
