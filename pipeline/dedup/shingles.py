"""Shingles: the set of short runs of words that stands for a document, as 64-bit hashes.

Words are what blanks separate in the normalised text. A shingle is `ngram` words in a row; a shorter document is one whole-text
shingle, an empty one has none. In scripts without blanks between words (majority of the document's letters) the units are characters
and blanks are dropped, so that text wrapped elsewhere has the same shingles.

The hashes are part of the ledger and never change between machines or versions. A unit of n bytes is read in little-endian chunks of
eight, the last padded with zeros:

    h = SEED;  for each chunk: h = (h ^ chunk) * CHUNK, h ^= h >> 32;  unit = fmix64(h ^ n * LENGTH)

A shingle of units u_1 .. u_n is the polynomial u_1 STEP^(n-1) + ... + u_n. All arithmetic is modulo 2^64; fmix64 is MurmurHash3's
finaliser. Only the low 32 bits enter signatures, all 64 enter exact comparison.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from pipeline.config import DedupConfig
from pipeline.text import Bytes, Offsets, Texts, are_spaceless, padded_buffers

Hashes = npt.NDArray[np.uint64]

SEED = np.uint64(0x243F6A8885A308D3)
CHUNK = np.uint64(0x9E3779B97F4A7C15)
LENGTH = np.uint64(0xA0761D6478BD642F)
STEP = np.uint64(0xD6E8FEB86659FD93)
# Source: MurmurHash3, fmix64, Appleby 2011
FMIX_1 = np.uint64(0xFF51AFD7ED558CCD)
FMIX_2 = np.uint64(0xC4CEB9FE1A85EC53)

ONE, SEVEN, EIGHT = np.uint64(1), np.uint64(7), np.uint64(8)
LOW_BITS, HIGH_BITS = np.uint64(0x0101010101010101), np.uint64(0x8080808080808080)
BLANKS = np.uint64(0x2020202020202020)
SMALL_SORT = 24
"""Run of hashes that insertion sorts faster than anything else."""


def shingle_hashes(texts: Texts, config: DedupConfig) -> tuple[Hashes, Offsets, npt.NDArray[np.bool_]]:
    """Return every shingle's hash in order of appearance, where each text's begin, and which texts were cut into characters.

    Text i has `hashes[offsets[i]:offsets[i + 1]]`: (number of units - ngram + 1) of them, repeated ones included.
    """
    data, offsets = padded_buffers(texts)
    spaceless = are_spaceless(data, offsets)
    hashes, hash_offsets = _hash_shingles(data, offsets, spaceless, config.ngram)
    return hashes, hash_offsets, spaceless


def shingle_sets(hashes: Hashes, offsets: Offsets) -> tuple[Hashes, Offsets]:
    """Return each document's distinct hashes in rising order."""
    return _sort_and_unique(hashes, offsets)


@intrinsic
def _load(_: Any, data: Any, at: Any) -> Any:
    """Read eight bytes from byte `at` on, the first in the lowest place, wherever they lie: numba reads only what is aligned."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        start = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        word = builder.bitcast(builder.gep(start, [arguments[1]]), ir.IntType(64).as_pointer())
        return builder.load(word, align=1)

    return types.uint64(data, at), generate


@intrinsic
def _count_trailing_zeros(_: Any, value: Any) -> Any:
    """Return the place of the lowest set bit, 64 if there is none."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(value), generate


@njit(cache=True, nogil=True)
def _hash_shingles(data: Bytes, offsets: Offsets, spaceless: npt.NDArray[np.bool_], ngram: int) -> tuple[Hashes, Offsets]:
    out_offsets = np.zeros(len(offsets), np.int64)
    # every unit but the last is followed by a blank, or is a character
    longest, most = 0, 0
    for document in range(len(spaceless)):
        size = offsets[document + 1] - offsets[document]
        units = size if spaceless[document] else (size + 1) // 2
        longest, most = max(longest, units), most + units
    # memory that is never touched costs nothing
    hashes, units_of = np.empty(most, np.uint64), np.empty(longest, np.uint64)
    for document in range(len(spaceless)):
        start, end = np.uint64(offsets[document]), np.uint64(offsets[document + 1])
        num_units = _hash_characters(data, start, end, units_of) if spaceless[document] else _hash_words(data, start, end, units_of)
        _roll(units_of, num_units, ngram, hashes, out_offsets[document])
        out_offsets[document + 1] = out_offsets[document] + (max(1, num_units - ngram + 1) if num_units else 0)
    return hashes[: out_offsets[-1]], out_offsets


@njit(cache=True, nogil=True, inline="always")
def _fmix64(h: np.uint64) -> np.uint64:
    h = (h ^ (h >> np.uint64(33))) * FMIX_1
    h = (h ^ (h >> np.uint64(33))) * FMIX_2
    return h ^ (h >> np.uint64(33))


@njit(cache=True, nogil=True, inline="always")
def _size_to_blank(chunk: np.uint64) -> np.uint64:
    """Return how many of a chunk's bytes stand before its first blank, 8 if it has none."""
    unlike = chunk ^ BLANKS
    # the lowest set bit is right: a borrow can only come from a blank below
    return _count_trailing_zeros((unlike - LOW_BITS) & ~unlike & HIGH_BITS) >> np.uint64(3)


@njit(cache=True, nogil=True, inline="always")
def _add_chunk(h: np.uint64, chunk: np.uint64, size: np.uint64) -> np.uint64:
    # two shifts, because a shift by 64 is undefined
    half = (EIGHT - size) << np.uint64(2)
    h = (h ^ (chunk & ((~np.uint64(0) >> half) >> half))) * CHUNK
    return h ^ (h >> np.uint64(32))


@njit(cache=True, nogil=True)
def _hash_words(data: Bytes, start: np.uint64, end: np.uint64, out: Hashes) -> int:
    word, begin = np.uint64(0), start
    while begin < end:
        # both chunks without asking whether there is a second: a wrong guess of the processor costs more
        first, second = _load(data, begin), _load(data, min(begin + EIGHT, end))
        first_size, second_size = _size_to_blank(first), _size_to_blank(second)
        size = min(first_size + (second_size if first_size == EIGHT else np.uint64(0)), end - begin)
        h = _add_chunk(SEED, first, min(size, EIGHT))
        longer = _add_chunk(h, second, max(size, EIGHT) - EIGHT)
        h = longer if size > EIGHT else h
        while size >= np.uint64(16) and begin + size < end:
            chunk = _load(data, begin + size)
            more = min(_size_to_blank(chunk), end - begin - size)
            if more:
                h = _add_chunk(h, chunk, more)
                size += more
            if more < EIGHT:
                break
        out[word] = _fmix64(h ^ (size * LENGTH))
        word += ONE
        begin += size + ONE
    return int(np.int64(word))


@njit(cache=True, nogil=True)
def _hash_characters(data: Bytes, start: np.uint64, end: np.uint64, out: Hashes) -> int:
    i, character = start, np.uint64(0)
    while i < end:
        lead = data[i]
        size = np.uint64(1 if lead < 0x80 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4)
        if lead != 32:
            out[character] = _fmix64(_add_chunk(SEED, _load(data, i), size) ^ (size * LENGTH))
            character += ONE
        i += size
    return int(np.int64(character))


@njit(cache=True, nogil=True)
def _roll(units: Hashes, num_units: int, ngram: int, out: Hashes, at: int) -> None:
    h, top = np.uint64(0), ONE
    for i in range(min(ngram, num_units)):
        h = h * STEP + units[i]
        if i:
            top *= STEP
    if num_units:
        out[at] = h
    into, width = np.uint64(at), np.uint64(ngram)
    top *= STEP
    for i in range(width, np.uint64(num_units)):
        h = h * STEP + (units[i] - units[i - width] * top)
        into += ONE
        out[into] = h


@njit(cache=True, nogil=True)
def _sort_and_unique(hashes: Hashes, offsets: Offsets) -> tuple[Hashes, Offsets]:
    """Sort each document by buckets of its hashes' upper bits, about one hash in each: they are as even as random numbers."""
    out_offsets = np.zeros(len(offsets), np.int64)
    longest = 0
    for document in range(len(offsets) - 1):
        longest = max(longest, offsets[document + 1] - offsets[document])
    ends, sorted_hashes = np.zeros(2 * longest + 2, np.uint32), np.empty(longest, np.uint64)
    sets = np.empty(offsets[-1] - offsets[0], np.uint64)
    written = 0
    for document in range(len(offsets) - 1):
        own = hashes[offsets[document] : offsets[document + 1]]
        bits = 1
        while (1 << bits) < len(own):
            bits += 1
        shift = np.uint64(64 - bits)
        num_buckets = (1 << bits) + 1
        ends[:num_buckets] = 0
        for value in own:
            ends[np.int64(value >> shift) + 1] += 1
        for bucket in range(1, num_buckets):
            ends[bucket] += ends[bucket - 1]
        for value in own:
            place = np.int64(value >> shift)
            sorted_hashes[ends[place]] = value
            ends[place] += 1
        _finish_sort(sorted_hashes[: len(own)], ends[: num_buckets - 1])
        for i in range(len(own)):
            if i == 0 or sorted_hashes[i] != sorted_hashes[i - 1]:
                sets[written] = sorted_hashes[i]
                written += 1
        out_offsets[document + 1] = written
    return sets[:written].copy(), out_offsets


@njit(cache=True, nogil=True)
def _finish_sort(values: Hashes, ends: npt.NDArray[np.uint32]) -> None:
    """Sort values that stand in the right buckets, which end at `ends`."""
    start = 0
    for bucket in range(len(ends)):
        end = int(ends[bucket])
        if end - start > SMALL_SORT:
            values[start:end].sort()
        else:
            for i in range(start + 1, end):
                value, at = values[i], i
                while at > start and values[at - 1] > value:
                    values[at] = values[at - 1]
                    at -= 1
                values[at] = value
        start = end
