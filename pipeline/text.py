"""Normalised text: the one definition of which texts are equal, plain and fast.

Normalised = NFKC, then casefold, then white space (what `str.split` splits on) collapsed to single blanks and stripped. A compiled kernel
does it straight from Arrow's buffers: ASCII 64 bytes at a time (3 GB/s on one core), any other character by a table of what it becomes
by itself. That is right wherever no character combines with the one before it: neither a combining mark nor the second half of a
composition. Runs of words that hold one that may take the slow path through Python; white space parts what composes.

Source: Unicode Standard Annex 15, sections 1.3 (composition) and 9 (quick check).

Numba keeps the compiled kernels in `__pycache__` beside this file. Where that folder cannot be written it falls back to the user's
cache folder; set NUMBA_CACHE_DIR to name another. The cache sees changes of a function's own file only, so no kernel calls one of
another file.
"""

from __future__ import annotations

import threading
import unicodedata
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from blake3 import blake3
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from pipeline.hashing import HASH_BYTES, as_binary, hash_messages

Texts: TypeAlias = Any  # pa.Array or pa.ChunkedArray of large_string, string or null; pyarrow ships no types
Bytes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]

SLACK = 64
"""Bytes behind the last text of `padded_buffers`: a kernel may read, but never minds, 64 bytes from any byte of a text."""
BLOCK_BYTES = 2 * 2**20
"""Text that is normalised and hashed at a time: keeps memory level and what comes of it near the processor."""
BLANK = 32
LONGEST_KEPT, NUM_KEPT = 32, 1 << 16
"""Bytes of the longest run of words whose normalised form is kept, and how many are kept: 10 MB."""
NUM_POINTS, PAGE = 0x110000, 256
PRIVATE = "\ue000"
COMBINES = 255
"""In place of its length, of a character that may combine with the one before it."""
ZERO, ONE, EIGHT = np.uint64(0), np.uint64(1), np.uint64(8)
CHUNK, ALL = np.uint64(64), np.uint64(0xFFFFFFFFFFFFFFFF)
# Burmese, Khmer, Lao, Thai, Tibetan, Tai Lue, kana, bopomofo, Han; Hangul separates its words with blanks
SPACELESS = (
    (0x0E00, 0x0EFF),
    (0x0F00, 0x0FFF),
    (0x1000, 0x109F),
    (0x1780, 0x17FF),
    (0x1980, 0x19FF),
    (0x3040, 0x312F),
    (0x31A0, 0x31BF),
    (0x31F0, 0x31FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),
    (0xA9E0, 0xA9FF),
    (0xAA60, 0xAA7F),
    (0xF900, 0xFAFF),
    (0x20000, 0x3FFFF),
)


def normalise(text: str) -> str:
    """Return the text after NFKC and casefold, its white space collapsed to single blanks and stripped."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def normalised_buffers(texts: Texts) -> tuple[Bytes, Offsets]:
    """Normalise many texts at once: text i is `data[offsets[i]:offsets[i + 1]]`, UTF-8; null is the empty text.

    Equal to `normalise` on every text, byte for byte.
    """
    data, offsets = padded_buffers(texts)
    return data[: offsets[-1]], offsets


def padded_buffers(texts: Texts) -> tuple[Bytes, Offsets]:
    """Normalise as `normalised_buffers` does, with at least `SLACK` bytes of no meaning behind the last text."""
    data, offsets = _arrow_buffers(texts)
    mapping = _mapping.of_pages(_find_pages(data, offsets))
    starts, ends, num_more = _find_combining_runs(data, offsets, mapping.lengths, _is_space())
    view = data.data
    runs = [bytes(view[start:end]) for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
    slow = [_normalise_word(run) if len(run) <= LONGEST_KEPT else _normalise_bytes(run) for run in runs]
    slow_data = np.frombuffer(b"".join(slow), np.uint8)
    slow_offsets = np.cumsum([0, *map(len, slow)], dtype=np.int64)
    # the kernel, too, writes 64 bytes without asking how many are wanted
    out = np.empty(offsets[-1] - offsets[0] + num_more + len(slow_data) + 2 * SLACK, np.uint8)
    tables = (_byte_map(), mapping.starts, mapping.lengths, mapping.data)
    out_offsets = _write_normalised(data, offsets, *tables, starts, ends, slow_data, slow_offsets, out)
    return out, out_offsets


def cut_blocks(texts: Texts) -> list[Any]:
    """Cut texts into runs of about `BLOCK_BYTES` bytes, in order: what kernels work on at a time."""
    blocks = []
    for chunk in texts.chunks if isinstance(texts, pa.ChunkedArray) else [texts]:
        lengths = pc.fill_null(pc.binary_length(chunk), 0).to_numpy(zero_copy_only=False)
        block_of = (np.cumsum(lengths) - lengths) // BLOCK_BYTES
        starts = [0, *(np.flatnonzero(np.diff(block_of)) + 1).tolist(), len(chunk)] if len(chunk) else []
        blocks += [chunk.slice(start, end - start) for start, end in pairwise(starts)]
    return blocks


def content_hashes(texts: Texts) -> Any:
    """Return the 128-bit BLAKE3 hash of each normalised text as an Arrow array of binary(16)."""
    return hash_normalised(*padded_buffers(texts))


def hash_normalised(data: Bytes, offsets: Offsets) -> Any:
    """Return `content_hashes` of texts that are normalised already."""
    return as_binary(hash_messages(data, offsets[:-1], offsets[1:]))


@cache
def empty_content_hash() -> bytes:
    """Return the content hash that every text without a visible character has."""
    return blake3(b"").digest(length=HASH_BYTES)


def are_spaceless(data: Bytes, offsets: Offsets) -> npt.NDArray[np.bool_]:
    """Say of each normalised text whether most of its letters belong to scripts that put no blanks between words."""
    suspects = _find_suspects(data, offsets)
    return _find_spaceless(data, offsets, suspects, _letter_kinds()) if suspects.any() else suspects


def _arrow_buffers(texts: Texts) -> tuple[Bytes, Offsets]:
    whole = texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts
    if whole.type != pa.large_string():
        whole = whole.cast(pa.large_string())
    if whole.null_count:
        whole = pc.fill_null(whole, "")
    if not len(whole):
        return np.empty(0, np.uint8), np.zeros(1, np.int64)
    _, offset_buffer, data_buffer = whole.buffers()
    offsets = np.frombuffer(offset_buffer, np.int64)[whole.offset : whole.offset + len(whole) + 1]
    data = np.frombuffer(data_buffer, np.uint8) if data_buffer is not None and data_buffer.size else np.empty(0, np.uint8)
    return data, offsets


def _normalise_bytes(run: bytes) -> bytes:
    return normalise(run.decode()).encode()


# words with an accent or a curly quote come again and again
_normalise_word = lru_cache(maxsize=NUM_KEPT)(_normalise_bytes)


@dataclass(frozen=True)
class _Mapping:
    """Hold what characters become by themselves: point p becomes `data[starts[p]:starts[p] + lengths[p]]`; it has the pages asked for."""

    starts: npt.NDArray[np.int32]
    lengths: Bytes
    data: Bytes


class _Pages:
    """Fill the mapping a page of 256 characters at a time, when a text first holds one of them: all of Unicode would take two seconds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_filled = np.zeros(NUM_POINTS // PAGE, np.bool_)
        self._held = _Mapping(np.zeros(NUM_POINTS, np.int32), np.zeros(NUM_POINTS, np.uint8), np.empty(0, np.uint8))

    def of_pages(self, wanted: npt.NDArray[np.bool_]) -> _Mapping:
        """Return a mapping that holds the pages."""
        if not (wanted & ~self._is_filled).any():
            return self._held
        with self._lock:
            for page in np.flatnonzero(wanted & ~self._is_filled).tolist():
                self._fill(page)
            return self._held

    def _fill(self, page: int) -> None:
        """Add to the tables in place, which nobody reads there yet, and put what characters become into new bytes."""
        alone, points = _alone(page), slice(page * PAGE, (page + 1) * PAGE)
        data = b"".join(each or b"" for each in alone)
        sizes = np.array([len(each or b"") for each in alone], np.int64)
        self._held.starts[points] = len(self._held.data) + np.cumsum(sizes) - sizes
        self._held.lengths[points] = [COMBINES if each is None else len(each) for each in alone]
        self._held = _Mapping(self._held.starts, self._held.lengths, np.append(self._held.data, np.frombuffer(data, np.uint8)))
        self._is_filled[page] = True


_mapping = _Pages()


def _alone(page: int) -> list[bytes | None]:
    """Return what each character of a page becomes where nothing combines with it; None if it may combine with the one before it."""
    points = range(page * PAGE, (page + 1) * PAGE)
    if 0xD800 <= points.start < 0xE000:
        return [None] * PAGE  # surrogates: no text holds one
    # a character of private use between them keeps characters from combining, and whole pages are much quicker
    characters = [chr(point) for point in points]
    joined = PRIVATE.join(characters)
    folded = unicodedata.normalize("NFKC", joined).casefold()
    if folded == joined and "".join(characters).isalnum() and _second_halves().isdisjoint(points):
        return [each.encode() for each in characters]  # most pages of Han and Hangul, of which there are many; marks are not alphanumeric
    firsts = [each[:1] for each in unicodedata.normalize("NFKD", joined).split(PRIVATE)]
    alone = folded.split(PRIVATE)
    if len(alone) != PAGE:
        return [each.encode() for each in characters]  # the private page itself: nothing there changes
    return [
        None if unicodedata.combining(first) or ord(first) in _second_halves() else _with_blanks(each).encode()
        for first, each in zip(firsts, alone, strict=True)
    ]


def _with_blanks(text: str) -> str:
    return text if text.isalnum() else "".join(" " if each.isspace() else each for each in text)


@cache
def _second_halves() -> frozenset[int]:
    """Return the characters that some composition ends with, Hangul vowels and finals among them, and some that none does."""
    # beyond the second plane, and by Unicode's stability policy for good, no character decomposes into two
    points = (*range(0x3400), *range(0xA000, 0xAC00), *range(0xD7A4, 0xD800), *range(0xE000, 0x20000))
    decomposed = unicodedata.normalize("NFD", PRIVATE.join(map(chr, points))).split(PRIVATE)
    behind = set("".join(each[1:] for each in decomposed if len(each) > 1))
    return frozenset(map(ord, behind)) | {*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)}


@cache
def _is_space() -> npt.NDArray[np.bool_]:
    return np.array([byte < 128 and chr(byte).isspace() for byte in range(256)])


@cache
def _byte_map() -> Bytes:
    return np.array([BLANK if chr(byte).isspace() else ord(chr(byte).casefold()) for byte in range(128)] + [0] * 128, np.uint8)


@cache
def _letter_kinds() -> Bytes:
    """Return 0 for no letter, 1 for a letter, 2 for one of a spaceless script, per code point; vowel signs (marks) count as letters."""
    names = "".join(map(unicodedata.category, map(chr, range(0x20000)))).encode()  # two characters each
    kinds = np.ones(NUM_POINTS, np.uint8)
    kinds[:0x20000] = np.isin(np.frombuffer(names, np.uint8)[::2], [*b"LM"])
    for low, high in SPACELESS:
        kinds[low : high + 1] *= 2
    return kinds


@intrinsic
def _fold(_: Any, data: Any, at: Any, out: Any, to: Any) -> Any:
    """Copy 64 bytes, capitals made small and white space made blanks; return a bit for each byte that is white space."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def place(array: int) -> Any:
            start = context.make_array(signature.args[array])(context, builder, arguments[array]).data
            return builder.bitcast(builder.gep(start, [arguments[array + 1]]), ir.VectorType(ir.IntType(8), 64).as_pointer())

        def each(value: int) -> Any:
            return ir.Constant(ir.VectorType(ir.IntType(8), 64), [value] * 64)

        def among(low: int, count: int) -> Any:
            return builder.icmp_unsigned("<", builder.sub(chunk, each(low)), each(count))

        chunk = builder.load(place(0), align=1)
        small = builder.select(among(65, 26), builder.or_(chunk, each(32)), chunk)
        white = builder.or_(among(9, 5), among(28, 5))  # what `str.isspace` says of ASCII
        builder.store(builder.select(white, each(BLANK), small), place(2), align=1)
        return builder.bitcast(white, ir.IntType(64))

    return types.uint64(data, at, out, to), generate


@intrinsic
def _find_high(_: Any, data: Any, at: Any) -> Any:
    """Return a bit for each of the 64 bytes from byte `at` on that is not ASCII, the first in the lowest place."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        start = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        chunk_type = ir.VectorType(ir.IntType(8), 64)
        chunk = builder.load(builder.bitcast(builder.gep(start, [arguments[1]]), chunk_type.as_pointer()), align=1)
        return builder.bitcast(builder.icmp_signed("<", chunk, ir.Constant(chunk_type, [0] * 64)), ir.IntType(64))

    return types.uint64(data, at), generate


@intrinsic
def _count_trailing_zeros(_: Any, value: Any) -> Any:
    """Return the place of the lowest set bit, 64 if there is none."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(value), generate


@intrinsic
def _count_bits(_: Any, value: Any) -> Any:
    """Return how many bits are set."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.ctpop(arguments[0])

    return types.uint64(value), generate


@njit(cache=True, nogil=True)
def _find_suspects(data: Bytes, offsets: Offsets) -> npt.NDArray[np.bool_]:
    """Say of each text whether its letters have to be counted: a spaceless letter takes three bytes, an ASCII letter is none."""
    are = np.zeros(len(offsets) - 1, np.bool_)
    for document in range(len(are)):
        i, end = np.uint64(offsets[document]), np.uint64(offsets[document + 1])
        num_foreign = ZERO
        while i + CHUNK <= end:
            num_foreign += _count_bits(_find_high(data, i))
            i += CHUNK
        while i < end:
            num_foreign += np.uint64(data[i] >= 128)
            i += ONE
        # nearly always the first few letters settle it
        enough = np.uint64(2) * (num_foreign // np.uint64(3))
        i = np.uint64(offsets[document])
        while enough and i < end:
            enough -= np.uint64((data[i] >= 97) & (data[i] <= 122))
            i += ONE
        are[document] = enough > 0
    return are


@njit(cache=True, nogil=True, inline="always")
def _next_foreign(data: Bytes, i: np.uint64, stop: np.uint64) -> np.uint64:
    """Return the place of the first byte at or after `i` that is not ASCII, `stop` if there is none."""
    while i < stop and i + CHUNK <= np.uint64(len(data)):
        high = _find_high(data, i)
        if high:
            return min(i + _count_trailing_zeros(high), stop)
        i += CHUNK
    while i < stop and data[i] < 128:
        i += ONE
    return min(i, stop)


@njit(cache=True, nogil=True, inline="always")
def _decode(data: Bytes, i: np.uint64, lead: np.uint64) -> tuple[np.uint64, np.uint64]:
    """Return the code point that begins at a byte that is not ASCII, and its size in bytes."""
    low = np.uint64(0x3F)
    second = np.uint64(data[i + ONE]) & low
    if lead < 0xE0:
        return ((lead & np.uint64(0x1F)) << np.uint64(6)) | second, np.uint64(2)
    third = np.uint64(data[i + np.uint64(2)]) & low
    if lead < 0xF0:
        return ((lead & np.uint64(0x0F)) << np.uint64(12)) | (second << np.uint64(6)) | third, np.uint64(3)
    fourth = np.uint64(data[i + np.uint64(3)]) & low
    upper = ((lead & np.uint64(0x07)) << np.uint64(18)) | (second << np.uint64(12))
    return upper | (third << np.uint64(6)) | fourth, np.uint64(4)


@njit(cache=True, nogil=True)
def _find_pages(data: Bytes, offsets: Offsets) -> npt.NDArray[np.bool_]:
    """Say which pages of 256 characters occur beyond ASCII."""
    occurs = np.zeros(NUM_POINTS // PAGE, np.bool_)
    i, end = np.uint64(offsets[0]), np.uint64(offsets[-1])
    while True:
        i = _next_foreign(data, i, end)
        if i >= end:
            return occurs
        point, size = _decode(data, i, np.uint64(data[i]))
        occurs[point >> EIGHT] = True
        i += size


@njit(cache=True, nogil=True)
def _find_combining_runs(data: Bytes, offsets: Offsets, lengths: Bytes, is_space: npt.NDArray[np.bool_]) -> tuple[Offsets, Offsets, int]:
    """Find the longest runs of whole words that each hold a combining character, and how many bytes all others may grow by.

    No run crosses a text's end.
    """
    starts, ends = np.empty(16, np.int64), np.empty(16, np.int64)
    count, num_more = 0, np.int64(0)
    for document in range(len(offsets) - 1):
        begin, stop = offsets[document], offsets[document + 1]
        first = count
        i = np.uint64(begin)
        while True:
            i = _next_foreign(data, i, np.uint64(stop))
            if i >= np.uint64(stop):
                break
            point, size = _decode(data, i, np.uint64(data[i]))
            length = np.int64(lengths[point])
            if length != COMBINES:
                num_more += max(np.int64(0), length - np.int64(size))
                i += size
                continue
            start, end = np.int64(i), np.int64(i)
            while start > begin and not is_space[data[start - 1]]:
                start -= 1
            while end < stop and not is_space[data[end]]:
                end += 1
            gap = start
            while count > first and gap > ends[count - 1] and is_space[data[gap - 1]]:
                gap -= 1
            if count > first and gap == ends[count - 1]:
                ends[count - 1] = end
            else:
                if count == len(starts):
                    starts, ends = np.append(starts, np.empty(count, np.int64)), np.append(ends, np.empty(count, np.int64))
                starts[count], ends[count] = start, end
                count += 1
            i = np.uint64(end)
    return starts[:count].copy(), ends[:count].copy(), int(num_more)


@njit(cache=True, nogil=True)
def _write_normalised(
    data: Bytes,
    offsets: Offsets,
    byte_map: Bytes,
    map_starts: npt.NDArray[np.int32],
    map_lengths: Bytes,
    map_data: Bytes,
    starts: Offsets,
    ends: Offsets,
    slow: Bytes,
    slow_offsets: Offsets,
    out: Bytes,
) -> Offsets:
    # unsigned indices: signed ones may be negative, and looking for that halves the speed
    out_offsets = np.zeros(len(offsets), np.int64)
    written, run = ZERO, 0
    for document in range(len(offsets) - 1):
        first = written
        i, end = np.uint64(offsets[document]), np.uint64(offsets[document + 1])
        after_blank = ONE
        while i < end:
            stop = min(end, np.uint64(starts[run])) if run < len(starts) else end
            while i < stop:
                foreign = _next_foreign(data, i, stop)
                written, after_blank = _write_ascii(data, i, foreign, byte_map, out, written, after_blank)
                i = foreign
                while i < stop and data[i] >= 128:
                    point, size = _decode(data, i, np.uint64(data[i]))
                    start = np.uint64(map_starts[point])
                    written, after_blank = _write_mapped(map_data, start, start + np.uint64(map_lengths[point]), out, written, after_blank)
                    i += size
            if i < end:
                start, stop = np.uint64(slow_offsets[run]), np.uint64(slow_offsets[run + 1])
                written, after_blank = _write_mapped(slow, start, stop, out, written, after_blank)
                i = np.uint64(ends[run])
                run += 1
        if written > first and out[written - ONE] == BLANK:
            written -= ONE
        out_offsets[document + 1] = written
    return out_offsets


@njit(cache=True, nogil=True, inline="always")
def _write_mapped(
    mapped: Bytes, start: np.uint64, stop: np.uint64, out: Bytes, written: np.uint64, after_blank: np.uint64
) -> tuple[np.uint64, np.uint64]:
    """Write bytes in which the only white space is blanks behind `written`, as `_write_ascii` does."""
    for j in range(start, stop):
        byte = mapped[j]
        out[written] = byte
        is_blank = np.uint64(byte == BLANK)
        written += ONE - (is_blank & after_blank)
        after_blank = is_blank
    return written, after_blank


@njit(cache=True, nogil=True)
def _write_ascii(
    data: Bytes, i: np.uint64, stop: np.uint64, byte_map: Bytes, out: Bytes, written: np.uint64, after_blank: np.uint64
) -> tuple[np.uint64, np.uint64]:
    """Write data[i:stop], in which every byte is ASCII, behind `written`; return where it ends and whether the last was a blank."""
    # a chunk may begin at any byte of another, and neither may reach beyond the buffer
    last = np.uint64(max(len(data) - 128, 0))
    while i < stop and i < last:
        size = min(CHUNK, stop - i)
        white = _fold(data, i, out, written)
        surplus = white & ((white << ONE) | after_blank)
        if size < CHUNK:
            surplus &= (ONE << size) - ONE
        after_blank = (white >> (size - ONE)) & ONE
        kept = ZERO
        while surplus:
            run_start = _count_trailing_zeros(surplus)
            written += run_start - kept
            kept = run_start + _count_trailing_zeros(~(surplus >> run_start))
            if kept >= size:
                kept = size
                break
            surplus &= ALL << kept
            _fold(data, i + kept, out, written)
        written += size - kept
        i += size
    while i < stop:
        byte = byte_map[data[i]]
        out[written] = byte
        is_blank = np.uint64(byte == BLANK)
        # no branch: a blank after a blank is overwritten by the next byte
        written += ONE - (is_blank & after_blank)
        after_blank = is_blank
        i += ONE
    return written, after_blank


@njit(cache=True, nogil=True)
def _find_spaceless(data: Bytes, offsets: Offsets, suspects: npt.NDArray[np.bool_], kinds: Bytes) -> npt.NDArray[np.bool_]:
    result = np.zeros(len(offsets) - 1, np.bool_)
    for document in np.flatnonzero(suspects):
        letters, spaceless = _count_letters(data, offsets[document], offsets[document + 1], kinds)
        result[document] = 2 * spaceless > letters
    return result


@njit(cache=True, nogil=True)
def _count_letters(data: Bytes, start: int, end: int, kinds: Bytes) -> tuple[int, int]:
    letters, spaceless = 0, 0
    i = start
    while i < end:
        lead = np.int64(data[i])
        size = 1 if lead < 0x80 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4
        point = lead if size == 1 else lead & (0x7F >> size)
        for j in range(i + 1, min(i + size, end)):
            point = (point << 6) | (np.int64(data[j]) & 0x3F)
        kind = kinds[point if point < len(kinds) else 0]
        letters += kind > 0
        spaceless += kind == 2
        i += size
    return letters, spaceless
