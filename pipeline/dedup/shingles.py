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

import numpy as np
import numpy.typing as npt
from numba import njit

from pipeline.config import DedupConfig
from pipeline.text import Bytes, Offsets, Texts, are_spaceless, normalised_buffers

Hashes = npt.NDArray[np.uint64]

SEED = np.uint64(0x243F6A8885A308D3)
CHUNK = np.uint64(0x9E3779B97F4A7C15)
LENGTH = np.uint64(0xA0761D6478BD642F)
STEP = np.uint64(0xD6E8FEB86659FD93)
# Source: MurmurHash3, fmix64, Appleby 2011
FMIX_1 = np.uint64(0xFF51AFD7ED558CCD)
FMIX_2 = np.uint64(0xC4CEB9FE1A85EC53)

ONE, SEVEN, EIGHT = np.uint64(1), np.uint64(7), np.uint64(8)
KEEP_BYTES = np.array([(1 << (8 * count)) - 1 for count in range(9)], np.uint64)


def shingle_hashes(texts: Texts, config: DedupConfig) -> tuple[Hashes, Offsets, npt.NDArray[np.bool_]]:
    """Return every shingle's hash in order of appearance, where each text's begin, and which texts were cut into characters.

    Text i has `hashes[offsets[i]:offsets[i + 1]]`: (number of units - ngram + 1) of them, repeated ones included.
    """
    data, offsets = normalised_buffers(texts)
    spaceless = are_spaceless(data, offsets)
    # the kernel reads eight bytes at a time and may look past the last
    padded = np.zeros(len(data) // 8 + 3, np.uint64)
    padded.view(np.uint8)[: len(data)] = data
    num_units = _count_units(data, offsets, spaceless)
    hashes, hash_offsets = _hash_shingles(padded, data, offsets, spaceless, num_units, config.ngram)
    return hashes, hash_offsets, spaceless


def shingle_sets(hashes: Hashes, offsets: Offsets) -> tuple[Hashes, Offsets]:
    """Return each document's distinct hashes in rising order."""
    return _sort_and_unique(hashes.copy(), offsets)


@njit(cache=True, nogil=True)
def _count_units(data: Bytes, offsets: Offsets, spaceless: npt.NDArray[np.bool_]) -> Offsets:
    counts = np.zeros(len(offsets) - 1, np.int64)
    for document in range(len(counts)):
        start, end = offsets[document], offsets[document + 1]
        count = 0
        if spaceless[document]:
            for i in range(start, end):
                count += data[i] != 32 and (data[i] & 0xC0) != 0x80
        else:
            for i in range(start, end):
                count += data[i] == 32
            count += end > start
        counts[document] = count
    return counts


@njit(cache=True, nogil=True)
def _hash_shingles(
    padded: Hashes,
    data: Bytes,
    offsets: Offsets,
    spaceless: npt.NDArray[np.bool_],
    num_units: Offsets,
    ngram: int,
) -> tuple[Hashes, Offsets]:
    out_offsets = np.zeros(len(offsets), np.int64)
    for document in range(len(num_units)):
        units = num_units[document]
        out_offsets[document + 1] = out_offsets[document] + (max(1, units - ngram + 1) if units else 0)
    hashes = np.empty(out_offsets[-1], np.uint64)
    longest = num_units.max() if len(num_units) else 0
    bounds, units_of = np.empty(longest + 1, np.uint64), np.empty(longest, np.uint64)
    for document in range(len(num_units)):
        start, end = np.uint64(offsets[document]), np.uint64(offsets[document + 1])
        if spaceless[document]:
            _hash_characters(padded, data, start, end, units_of)
        else:
            _hash_words(padded, data, start, end, bounds, num_units[document], units_of)
        _roll(units_of, num_units[document], ngram, hashes, out_offsets[document])
    return hashes, out_offsets


@njit(cache=True, nogil=True, inline="always")
def _load(padded: Hashes, i: np.uint64) -> np.uint64:
    """Return the eight bytes from byte i on, the first in the lowest place."""
    shift, at = (i & SEVEN) << np.uint64(3), i >> np.uint64(3)
    # two shifts, because a shift by 64 is undefined
    return (padded[at] >> shift) | ((padded[at + ONE] << (np.uint64(63) - shift)) << ONE)


@njit(cache=True, nogil=True, inline="always")
def _fmix64(h: np.uint64) -> np.uint64:
    h = (h ^ (h >> np.uint64(33))) * FMIX_1
    h = (h ^ (h >> np.uint64(33))) * FMIX_2
    return h ^ (h >> np.uint64(33))


@njit(cache=True, nogil=True)
def _hash_words(padded: Hashes, data: Bytes, start: np.uint64, end: np.uint64, bounds: Hashes, num_words: int, out: Hashes) -> None:
    # first where words end, without a branch, so that the processor may hash several words at once
    found = np.uint64(0)
    for at in range(start, end):
        bounds[found] = at
        found += np.uint64(data[at] == 32)
    bounds[found] = end
    begin = start
    for word in range(np.uint64(num_words)):
        stop = bounds[word]
        h, i = SEED, begin
        while stop - i > EIGHT:
            h = (h ^ _load(padded, i)) * CHUNK
            h ^= h >> np.uint64(32)
            i += EIGHT
        h = (h ^ (_load(padded, i) & KEEP_BYTES[stop - i])) * CHUNK
        h ^= h >> np.uint64(32)
        out[word] = _fmix64(h ^ ((stop - begin) * LENGTH))
        begin = stop + ONE


@njit(cache=True, nogil=True)
def _hash_characters(padded: Hashes, data: Bytes, start: np.uint64, end: np.uint64, out: Hashes) -> None:
    i, character = start, np.uint64(0)
    while i < end:
        lead = data[i]
        size = np.uint64(1 if lead < 0x80 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4)
        if lead != 32:
            h = (SEED ^ (_load(padded, i) & KEEP_BYTES[size])) * CHUNK
            h ^= h >> np.uint64(32)
            out[character] = _fmix64(h ^ (size * LENGTH))
            character += ONE
        i += size


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
    for i in range(width, np.uint64(num_units)):
        h = (h - units[i - width] * top) * STEP + units[i]
        into += ONE
        out[into] = h


@njit(cache=True, nogil=True)
def _sort_and_unique(hashes: Hashes, offsets: Offsets) -> tuple[Hashes, Offsets]:
    out_offsets = np.zeros(len(offsets), np.int64)
    written = 0
    for document in range(len(offsets) - 1):
        start, end = offsets[document], offsets[document + 1]
        hashes[start:end].sort()
        for i in range(start, end):
            if i == start or hashes[i] != hashes[i - 1]:
                # never ahead of the reader: written <= i
                value = hashes[i]
                hashes[written] = value
                written += 1
        out_offsets[document + 1] = written
    return hashes[:written].copy(), out_offsets
