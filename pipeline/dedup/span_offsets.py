"""Offsets: which bytes of the user's raw text each unit of the normalised text came from.

Units are words, or characters in scripts without blanks. Normalisation (NFKC, casefold, white space collapsed) does not map them one to
one, so the raw text is read again, character by character:

- Words end at white space, and inside the few characters whose normal form holds a blank, such as U+00B4 (blank, accent) or U+FDFA (four
  words). A word reaches over every raw character that gave some of it; such a character then belongs to two words or more. No other
  character makes or takes a blank, and none normalises to nothing: so this counts the normalised text's own words.
- Characters may grow (U+337F, four), compose (a kana and its voicing mark) or change places (vowel signs). None of it crosses the
  beginning of a character that is no combining mark and never the second of a composition, so the raw text is cut there, and all
  units of a piece map to the whole of it. Only pieces that may compose are normalised again.

Source: Unicode Standard Annex 15, section 9 (stable code points, boundaries of normalisation) and section 1.2 (composition).
"""

from __future__ import annotations

import unicodedata
from functools import cache, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from pipeline.text import Bytes, Offsets, Texts, normalise

NUM_POINTS = 0x20000
"""Code points beyond are ordinary: one unit each, neither blank nor combining (a test looks)."""
# of a word's character: whether it holds a blank, whether it has something before the first and behind the last, words between blanks
BREAKS, HAS_HEAD, HAS_TAIL, FIRST_INNER = 1, 2, 4, 3
# of a unit's character: number of units, whether it may join what stands before it, whether they may compose
NUM_UNITS, JOINS, COMPOSES = 31, 32, 64
NUM_KEPT = 1 << 14
WIDE = 64
ONE = np.uint64(1)


def unit_bounds(texts: Texts, spaceless: npt.NDArray[np.bool_], unit_offsets: Offsets) -> tuple[Offsets, Offsets]:
    """Return where each unit starts and ends in its own raw text, in bytes, end exclusive; whole characters.

    Text i has units `unit_offsets[i]` to `unit_offsets[i + 1]`: characters if it is `spaceless`, else words.
    """
    data, offsets = _raw_buffers(texts)
    unit_kinds = _unit_kinds() if spaceless.any() else np.empty(0, np.uint8)  # the table takes a tenth of a second
    composed_starts, composed_ends = _find_composed(data, offsets, spaceless, unit_kinds)
    view = data.data
    pieces = (bytes(view[start:end]) for start, end in zip(composed_starts.tolist(), composed_ends.tolist(), strict=True))
    composed = np.fromiter(map(_count_units, pieces), np.int64, len(composed_starts))
    starts, ends, counts = _map_units(data, offsets, spaceless, unit_offsets, _word_kinds(), unit_kinds, composed_starts, composed)
    assert np.array_equal(counts, np.diff(unit_offsets)), "raw and normalised text differ in their number of units"
    return starts, ends


def _raw_buffers(texts: Texts) -> tuple[Bytes, Offsets]:
    filled = pc.fill_null(texts.cast(pa.large_string()), "")
    _, offsets, data = filled.buffers()
    raw = np.frombuffer(data, np.uint8) if data is not None and data.size else np.empty(0, np.uint8)
    return raw, np.frombuffer(offsets, np.int64)[filled.offset : filled.offset + len(filled) + 1]


@lru_cache(maxsize=NUM_KEPT)
def _count_units(piece: bytes) -> int:
    return len(normalise(piece.decode()).replace(" ", ""))


@cache
def _word_kinds() -> Bytes:
    """Return for each code point 0 if it belongs to a word whole, else the flags of its blanks."""
    kinds = np.zeros(NUM_POINTS, np.uint8)
    for point, character in enumerate(_characters()):
        if character in _decompositions() or character.isspace():
            normal = unicodedata.normalize("NFKC", character).casefold()
            words = normal.split()
            if normal != "".join(words):
                has_head, has_tail = not normal[0].isspace(), not normal[-1].isspace()
                num_inner = len(words) - has_head - has_tail
                kinds[point] = BREAKS | HAS_HEAD * has_head | HAS_TAIL * has_tail | num_inner << FIRST_INNER
    return kinds


@cache
def _unit_kinds() -> Bytes:
    """Return for each code point its number of units and the flags of what it does to its neighbour."""
    kinds = np.ones(NUM_POINTS, np.uint8)
    composing, apart = _composing(), _decompositions()
    for point, character in enumerate(_characters()):
        if character in apart or len(character.casefold()) > 1 or character.isspace():
            kinds[point] = len("".join(unicodedata.normalize("NFKC", character).casefold().split()))
        marks = unicodedata.normalize("NFKD", character) if character in apart else character
        if unicodedata.combining(marks[0]) or marks[0] in composing:
            kinds[point] |= JOINS | COMPOSES * any(mark in composing for mark in marks)
    return kinds


@cache
def _characters() -> tuple[str, ...]:
    return tuple(map(chr, range(NUM_POINTS)))


@cache
def _decompositions() -> dict[str, str]:
    """Return what characters decompose into, as Unicode's tables write it; of Hangul syllables, which are one unit each, nothing."""
    return {character: apart for character in _characters() if (apart := unicodedata.decomposition(character))}


def _composing() -> set[str]:
    """Return the characters that may be the second of a canonical composition, vowels and finals of Hangul included."""
    pairs = (apart.split() for apart in _decompositions().values())
    marks = {chr(int(pair[1], 16)) for pair in pairs if len(pair) == 2 and not pair[0].startswith("<")}
    return marks | {chr(point) for point in range(0x1161, 0x11C3)}


@njit(cache=True, nogil=True, inline="always")
def _decode(data: Bytes, at: int) -> tuple[int, int]:
    """Return the code point that begins at a byte, and its bytes."""
    lead = int(data[at])
    if lead < 0x80:
        return lead, 1
    size = 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
    point = lead & (0x7F >> size)
    for i in range(at + 1, at + size):
        point = (point << 6) | (int(data[i]) & 0x3F)
    return point, size


@njit(cache=True, nogil=True)
def _find_composed(data: Bytes, offsets: Offsets, spaceless: npt.NDArray[np.bool_], kinds: Bytes) -> tuple[Offsets, Offsets]:
    """Find the pieces of the spaceless texts that may compose."""
    starts, ends = [np.int64(0) for _ in range(0)], [np.int64(0) for _ in range(0)]
    for document in np.flatnonzero(spaceless):
        i, start, is_composed = offsets[document], offsets[document], False
        while i < offsets[document + 1]:
            point, size = _decode(data, i)
            kind = kinds[point] if point < len(kinds) else 1
            if kind & JOINS:
                is_composed |= kind & COMPOSES > 0 and i > start
            else:
                if is_composed:
                    starts.append(start)
                    ends.append(i)
                start, is_composed = i, False
            i += size
        if is_composed:
            starts.append(start)
            ends.append(i)
    return np.array(starts, np.int64), np.array(ends, np.int64)


@njit(cache=True, nogil=True)
def _map_units(
    data: Bytes,
    offsets: Offsets,
    spaceless: npt.NDArray[np.bool_],
    unit_offsets: Offsets,
    word_kinds: Bytes,
    unit_kinds: Bytes,
    composed_starts: Offsets,
    composed: Offsets,
) -> tuple[Offsets, Offsets, Offsets]:
    starts, ends = np.empty(unit_offsets[-1], np.int64), np.empty(unit_offsets[-1], np.int64)
    counts = np.empty(len(spaceless), np.int64)
    piece = 0
    for document in range(len(spaceless)):
        raw = data[offsets[document] : offsets[document + 1]]
        own_starts = starts[unit_offsets[document] : unit_offsets[document + 1]]
        own_ends = ends[unit_offsets[document] : unit_offsets[document + 1]]
        if spaceless[document]:
            stop = piece + np.searchsorted(composed_starts[piece:], offsets[document + 1])
            own_pieces = composed_starts[piece:stop] - offsets[document]
            counts[document] = _map_characters(raw, unit_kinds, own_pieces, composed[piece:stop], own_starts, own_ends)
            piece = stop
        else:
            counts[document] = _map_words(raw, word_kinds, own_starts, own_ends)
    return starts, ends, counts


@intrinsic
def _find_turns(_: Any, data: Any, at: Any, was_white: Any) -> Any:
    """Return, for the 64 bytes from byte `at` on, a bit where white space begins or ends, and a bit where a byte is not ASCII."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        wide, bits = ir.VectorType(ir.IntType(8), WIDE), ir.IntType(WIDE)
        start = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        chunk = builder.load(builder.bitcast(builder.gep(start, [arguments[1]]), wide.as_pointer()), align=1)

        def among(low: int, count: int) -> Any:
            return builder.icmp_unsigned("<", builder.sub(chunk, ir.Constant(wide, [low] * WIDE)), ir.Constant(wide, [count] * WIDE))

        white = builder.bitcast(builder.or_(among(9, 5), among(28, 5)), bits)  # what `str.isspace` says of ASCII
        before = builder.or_(builder.shl(white, ir.Constant(bits, 1)), arguments[2])
        turns, foreign = builder.xor(white, before), builder.bitcast(among(128, 128), bits)
        return context.make_tuple(builder, signature.return_type, (turns, foreign))

    return types.UniTuple(types.uint64, 2)(data, at, was_white), generate


@intrinsic
def _count_trailing_zeros(_: Any, value: Any) -> Any:
    """Return the place of the lowest set bit, 64 if there is none."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(value), generate


@njit(cache=True, nogil=True)
def _map_words(raw: Bytes, kinds: Bytes, starts: Offsets, ends: Offsets) -> int:
    """Write each word's bounds and return the number of words, which may be more than there is room for."""
    word, i, start = 0, 0, -1
    while i < len(raw):
        # a chunk ends no more words than half its bytes
        while i + WIDE <= len(raw) and word + WIDE // 2 <= len(starts):
            turns, foreign = _find_turns(raw, i, np.uint64(start < 0))
            if foreign:
                break
            while turns:
                at = i + int(_count_trailing_zeros(turns))
                turns &= turns - ONE
                if start < 0:
                    start = at
                else:
                    starts[word], ends[word] = start, at
                    word, start = word + 1, -1
            i += WIDE
        while i < len(raw) and raw[i] < 128:
            if kinds[raw[i]] == 0:
                start = i if start < 0 else start
            elif start >= 0:
                word, start = _put(starts, ends, word, start, i), -1
            i += 1
        if i == len(raw):
            break
        point, size = _decode(raw, i)
        kind = kinds[point] if point < len(kinds) else 0
        if kind == 0:
            start = i if start < 0 else start
        else:
            if kind & HAS_HEAD and start < 0:
                start = i
            if start >= 0:
                word = _put(starts, ends, word, start, i + size if kind & HAS_HEAD else i)
            for _ in range(kind >> FIRST_INNER):
                word = _put(starts, ends, word, i, i + size)
            start = i if kind & HAS_TAIL else -1
        i += size
    return _put(starts, ends, word, start, i) if start >= 0 else word


@njit(cache=True, nogil=True)
def _map_characters(raw: Bytes, kinds: Bytes, composed_starts: Offsets, composed: Offsets, starts: Offsets, ends: Offsets) -> int:
    """Write the bounds of each piece for all of its units and return the number of units."""
    unit, i, piece = 0, 0, 0
    while i < len(raw):
        start, units = i, 0
        while i < len(raw):
            point, size = _decode(raw, i)
            kind = kinds[point] if point < len(kinds) else 1
            if i > start and not kind & JOINS:
                break
            units += kind & NUM_UNITS
            i += size
        if piece < len(composed_starts) and composed_starts[piece] == start:
            units = composed[piece]
            piece += 1
        for _ in range(units):
            unit = _put(starts, ends, unit, start, i)
    return unit


@njit(cache=True, nogil=True, inline="always")
def _put(starts: Offsets, ends: Offsets, unit: int, start: int, end: int) -> int:
    if unit < len(starts):
        starts[unit], ends[unit] = start, end
    return unit + 1
