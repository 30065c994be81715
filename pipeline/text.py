"""Normalised text: the one definition of which texts are equal, plain and fast.

Normalised = NFKC, then casefold, then white space (what `str.split` splits on) collapsed to single blanks and stripped. Both steps
work on each side of an ASCII white space byte alone, so only runs of words that hold a non-ASCII byte take the slow path through
Python; the rest goes through a compiled kernel straight from Arrow's buffers, 64 bytes at a time, 3 GB/s of ASCII on one core.

Numba keeps the compiled kernels in `__pycache__` beside this file. Where that folder cannot be written it falls back to the user's
cache folder; set NUMBA_CACHE_DIR to name another. The cache sees changes of a function's own file only, so no kernel calls one of
another file.
"""

from __future__ import annotations

import unicodedata
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

Texts: TypeAlias = Any  # pa.Array or pa.ChunkedArray of large_string, string or null; pyarrow ships no types
Bytes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]

HASH_BYTES = 16
SLACK = 64
"""Bytes behind the last text of `padded_buffers`: a kernel may read, but never minds, 64 bytes from any byte of a text."""
BLOCK_BYTES = 2 * 2**20
"""Text that is normalised and hashed at a time: keeps memory level and what comes of it near the processor."""
BLANK = 32
LONGEST_KEPT, NUM_KEPT = 32, 1 << 16
"""Bytes of the longest run of foreign words whose normalised form is kept, and how many are kept: 10 MB."""
ZERO, ONE, EIGHT = np.uint64(0), np.uint64(1), np.uint64(8)
CHUNK, ALL = np.uint64(64), np.uint64(0xFFFFFFFFFFFFFFFF)
HIGHEST = np.uint64(0x8080808080808080)
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
    starts, ends = _find_foreign_runs(data, offsets, _is_space())
    view = data.data
    runs = [bytes(view[start:end]) for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
    foreign = [_normalise_word(run) if len(run) <= LONGEST_KEPT else _normalise_bytes(run) for run in runs]
    foreign_data = np.frombuffer(b"".join(foreign), np.uint8)
    foreign_offsets = np.cumsum([0, *map(len, foreign)], dtype=np.int64)
    # the kernel, too, writes 64 bytes without asking how many are wanted
    out = np.empty(offsets[-1] - offsets[0] + len(foreign_data) + 2 * SLACK, np.uint8)
    out_offsets = _write_normalised(data, offsets, _byte_map(), starts, ends, foreign_data, foreign_offsets, out)
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
    view = data.data
    bounds = offsets.tolist()
    digests = b"".join(blake3(view[start:end]).digest(length=HASH_BYTES) for start, end in pairwise(bounds))
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(HASH_BYTES), len(offsets) - 1, [None, pa.py_buffer(digests)])


@cache
def empty_content_hash() -> bytes:
    """Return the content hash that every text without a visible character has."""
    return blake3(b"").digest(length=HASH_BYTES)


def are_spaceless(data: Bytes, offsets: Offsets) -> npt.NDArray[np.bool_]:
    """Say of each normalised text whether most of its letters belong to scripts that put no blanks between words."""
    has_foreign = _has_foreign(data, offsets)
    return _find_spaceless(data, offsets, has_foreign, _letter_kinds()) if has_foreign.any() else has_foreign


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


@cache
def _is_space() -> npt.NDArray[np.bool_]:
    return np.array([byte < 128 and chr(byte).isspace() for byte in range(256)])


@cache
def _byte_map() -> Bytes:
    return np.array([BLANK if chr(byte).isspace() else ord(chr(byte).casefold()) for byte in range(128)] + [0] * 128, np.uint8)


@cache
def _letter_kinds() -> Bytes:
    """Return 0 for no letter, 1 for a letter, 2 for one of a spaceless script, per code point; vowel signs (marks) count as letters."""
    kinds = np.array([unicodedata.category(chr(point))[0] in "LM" for point in range(0x20000)], np.uint8)
    kinds = np.concatenate([kinds, np.ones(0x110000 - len(kinds), np.uint8)])
    for low, high in SPACELESS:
        kinds[low : high + 1] *= 2
    return kinds


@intrinsic
def _load(_: Any, data: Any, at: Any) -> Any:
    """Read eight bytes from byte `at` on, the first in the lowest place, wherever they lie: numba reads only what is aligned."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        start = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        word = builder.bitcast(builder.gep(start, [arguments[1]]), ir.IntType(64).as_pointer())
        return builder.load(word, align=1)

    return types.uint64(data, at), generate


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
def _count_trailing_zeros(_: Any, value: Any) -> Any:
    """Return the place of the lowest set bit, 64 if there is none."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(value), generate


@njit(cache=True, nogil=True)
def _has_foreign(data: Bytes, offsets: Offsets) -> npt.NDArray[np.bool_]:
    has = np.zeros(len(offsets) - 1, np.bool_)
    for document in range(len(has)):
        bits = np.uint8(0)
        for byte in data[offsets[document] : offsets[document + 1]]:
            bits |= byte
        has[document] = bits >= 128
    return has


@njit(cache=True, nogil=True)
def _find_foreign_runs(data: Bytes, offsets: Offsets, is_space: npt.NDArray[np.bool_]) -> tuple[Offsets, Offsets]:
    """Find the longest runs of whole words that each hold a non-ASCII byte; no run crosses a document's end."""
    has = _has_foreign(data, offsets)
    most = 0
    for document in np.flatnonzero(has):
        most += (offsets[document + 1] - offsets[document] + 1) // 2
    starts, ends = np.empty(most, np.int64), np.empty(most, np.int64)
    count = 0
    for document in np.flatnonzero(has):
        begin, stop = offsets[document], offsets[document + 1]
        first = count
        i = begin
        while i < stop:
            while i + 8 <= stop and _load(data, i) & HIGHEST == 0:
                i += 8
            while i < stop and data[i] < 128:
                i += 1
            if i == stop:
                break
            start, end = i, i
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
                starts[count], ends[count] = start, end
                count += 1
            i = end
    return starts[:count].copy(), ends[:count].copy()


@njit(cache=True, nogil=True)
def _write_normalised(
    data: Bytes,
    offsets: Offsets,
    byte_map: Bytes,
    starts: Offsets,
    ends: Offsets,
    foreign: Bytes,
    foreign_offsets: Offsets,
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
            written, after_blank = _write_ascii(data, i, stop, byte_map, out, written, after_blank)
            i = stop
            if i < end:
                for j in range(np.uint64(foreign_offsets[run]), np.uint64(foreign_offsets[run + 1])):
                    out[written] = foreign[j]
                    written += ONE
                    after_blank = ZERO
                i = np.uint64(ends[run])
                run += 1
        if written > first and out[written - ONE] == BLANK:
            written -= ONE
        out_offsets[document + 1] = written
    return out_offsets


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
def _find_spaceless(data: Bytes, offsets: Offsets, has_foreign: npt.NDArray[np.bool_], kinds: Bytes) -> npt.NDArray[np.bool_]:
    result = np.zeros(len(offsets) - 1, np.bool_)
    for document in np.flatnonzero(has_foreign):
        ascii_letters, foreign = 0, 0
        for byte in data[offsets[document] : offsets[document + 1]]:
            ascii_letters += (byte >= 97) & (byte <= 122)
            foreign += byte >= 128
        # a spaceless letter takes three bytes or more, so most documents are settled without decoding
        if 2 * (foreign // 3) > ascii_letters:
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
