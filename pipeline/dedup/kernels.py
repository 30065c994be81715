"""From normalised text to shingle hashes and their minima, compiled; what the hashes are says `shingles`, what the minima are `signatures`.

Blanks are found 64 bytes at a time as the bits of one word, so that where a word begins does not wait for the hash of the one before;
of every document the hashes are rolled, mixed and reduced while they are still near the processor. All kernels share this file because
numba's cache sees changes of a function's own file only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from llvmlite import ir
from llvmlite.binding import get_host_cpu_features
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from pipeline.text import Bytes, Offsets

Hashes = npt.NDArray[np.uint64]
Words32 = npt.NDArray[np.uint32]

SEED = np.uint64(0x243F6A8885A308D3)
CHUNK = np.uint64(0x9E3779B97F4A7C15)
LENGTH = np.uint64(0xA0761D6478BD642F)
STEP = np.uint64(0xD6E8FEB86659FD93)
FMIX = np.uint64(0xFF51AFD7ED558CCD)

ZERO, ONE, EIGHT, SIXTEEN = np.uint64(0), np.uint64(1), np.uint64(8), np.uint64(16)
WIDE, ALL = np.uint64(64), np.uint64(0xFFFFFFFFFFFFFFFF)
HALF = np.uint64(32)
LANES, AT_ONCE = (16, 8) if get_host_cpu_features().get("avx512f") else (8, 4)
"""Shingles and permutations that are worked on at once: what fits the processor's registers."""
RUN = 32
"""Shingles to a multiple of which documents are padded."""
SMALL_SORT = 24
"""Run of hashes that insertion sorts faster than anything else."""


@intrinsic
def _load(_: Any, data: Any, at: Any) -> Any:
    """Read eight bytes from byte `at` on, the first in the lowest place, wherever they lie: numba reads only what is aligned."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        start = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        word = builder.bitcast(builder.gep(start, [arguments[1]]), ir.IntType(64).as_pointer())
        return builder.load(word, align=1)

    return types.uint64(data, at), generate


@intrinsic
def _find_blanks(_: Any, data: Any, at: Any) -> Any:
    """Return a bit for each of the 64 bytes from byte `at` on that is a blank, the first in the lowest place."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        start = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        chunk_type = ir.VectorType(ir.IntType(8), 64)
        chunk = builder.load(builder.bitcast(builder.gep(start, [arguments[1]]), chunk_type.as_pointer()), align=1)
        return builder.bitcast(builder.icmp_unsigned("==", chunk, ir.Constant(chunk_type, [32] * 64)), ir.IntType(64))

    return types.uint64(data, at), generate


@intrinsic
def _keep_some_minima(_: Any, shingles: Any, a: Any, b: Any, first: Any, minima_: Any) -> Any:
    """Write the minima of permutations first .. first + AT_ONCE - 1 over shingles, which are a whole number of runs.

    The running minima stay in registers, `LANES` of each, which compilers do not find out by themselves.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lane, index = ir.VectorType(ir.IntType(32), LANES), ir.IntType(64)
        arrays = {place: context.make_array(signature.args[place])(context, builder, arguments[place]) for place in (0, 1, 2, 4)}

        def at(place: int, offset: Any) -> Any:
            return builder.gep(arrays[place].data, [offset])

        def everywhere(value: Any) -> Any:
            one = builder.insert_element(ir.Constant(lane, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
            return builder.shuffle_vector(one, one, ir.Constant(lane, [0] * LANES))

        def smaller(one: Any, other: Any) -> Any:
            return builder.select(builder.icmp_unsigned("<", one, other), one, other)

        ks = [builder.add(arguments[3], ir.Constant(index, k)) for k in range(AT_ONCE)]
        factors, summands = ([everywhere(builder.load(at(place, k))) for k in ks] for place in (1, 2))
        kept = [cgutils.alloca_once_value(builder, ir.Constant(lane, [0xFFFFFFFF] * LANES)) for _ in ks]
        for minimum in kept:
            builder.store(ir.Constant(lane, [0xFFFFFFFF] * LANES), minimum)
        size = builder.extract_value(arrays[0].shape, 0)
        with cgutils.for_range_slice(builder, ir.Constant(index, 0), size, ir.Constant(index, LANES), index) as (i, _):
            shingle = builder.load(builder.bitcast(at(0, i), lane.as_pointer()), align=4)
            for factor, summand, minimum in zip(factors, summands, kept, strict=True):
                builder.store(smaller(builder.add(builder.mul(factor, shingle), summand), builder.load(minimum)), minimum)
        for k, minimum in zip(ks, kept, strict=True):
            found, width = builder.load(minimum), LANES
            while width > 1:
                width //= 2
                places = ir.Constant(lane, [(i + width) % LANES for i in range(LANES)])
                found = smaller(found, builder.shuffle_vector(found, found, places))
            builder.store(builder.extract_element(found, ir.Constant(ir.IntType(32), 0)), at(4, k))
        return context.get_dummy_value()

    return types.void(shingles, a, b, first, minima_), generate


@intrinsic
def _count_trailing_zeros(_: Any, value: Any) -> Any:
    """Return the place of the lowest set bit, 64 if there is none."""

    def generate(_: Any, builder: Any, __: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 0))

    return types.uint64(value), generate


@njit(cache=True, nogil=True)
def hash_all(data: Bytes, offsets: Offsets, spaceless: npt.NDArray[np.bool_], ngram: int) -> tuple[Hashes, Offsets]:
    """Return every document's shingle hashes in order of appearance, and where each document's begin."""
    longest, most = _count_units(offsets, spaceless)
    # memory that is never touched costs nothing
    hashes, units = np.empty(most, np.uint64), np.empty(longest, np.uint64)
    out_offsets = np.zeros(len(offsets), np.int64)
    for document in range(len(spaceless)):
        start, end = np.uint64(offsets[document]), np.uint64(offsets[document + 1])
        num_units = _hash_characters(data, start, end, units) if spaceless[document] else _hash_words(data, start, end, units)
        own = hashes[out_offsets[document] :]
        out_offsets[document + 1] = out_offsets[document] + _roll(units, num_units, ngram, own)
    return hashes[: out_offsets[-1]], out_offsets


@njit(cache=True, nogil=True)
def sign_all(
    data: Bytes, offsets: Offsets, spaceless: npt.NDArray[np.bool_], ngram: int, a: Words32, b: Words32, signatures: Words32
) -> Offsets:
    """Write every document's minima to `signatures` (documents, len(a)), len(a) a multiple of 8; return how many shingles each has."""
    longest, _ = _count_units(offsets, spaceless)
    # signatures see the low halves of hashes, and those depend on low halves alone
    units, mixed = np.empty(longest, np.uint32), np.empty(longest + RUN, np.uint32)
    powers = _powers(ngram)
    counts = np.empty(len(spaceless), np.int64)
    for document in range(len(spaceless)):
        start, end = np.uint64(offsets[document]), np.uint64(offsets[document + 1])
        num_units = _hash_characters(data, start, end, units) if spaceless[document] else _hash_words(data, start, end, units)
        counts[document] = max(1, num_units - ngram + 1) if num_units else 0
        own = mixed[: counts[document]]
        _join_low(units, powers[max(0, ngram - num_units) :], own)
        _mix(own, own)
        _keep_minima(_pad(mixed, counts[document]), a, b, signatures[document])
    return counts


@njit(cache=True, nogil=True)
def minima(hashes: Hashes, offsets: Offsets, a: Words32, b: Words32) -> Words32:
    """Return the minima (documents, len(a)) of documents whose shingle hashes lie one after another; len(a) is a multiple of 8."""
    signatures = np.empty((len(offsets) - 1, len(a)), np.uint32)
    for document in range(len(signatures)):
        own = hashes[offsets[document] : offsets[document + 1]]
        mixed = np.empty(len(own) + RUN, np.uint32)
        _mix(own, mixed[: len(own)])
        _keep_minima(_pad(mixed, len(own)), a, b, signatures[document])
    return signatures


@njit(cache=True, nogil=True)
def _count_units(offsets: Offsets, spaceless: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """Return the most units that one document and that all may have: every unit but the last is followed by a blank, or is a character."""
    longest, most = 0, 0
    for document in range(len(spaceless)):
        size = offsets[document + 1] - offsets[document]
        units = size if spaceless[document] else (size + 1) // 2
        longest, most = max(longest, units), most + units
    return longest, most


@njit(cache=True, nogil=True, inline="always")
def _add_chunk(h: np.uint64, chunk: np.uint64, size: np.uint64) -> np.uint64:
    # two shifts, because a shift by 64 is undefined
    half = (EIGHT - size) << np.uint64(2)
    h = (h ^ (chunk & ((ALL >> half) >> half))) * CHUNK
    return h ^ (h >> HALF)


@njit(cache=True, nogil=True, inline="always")
def _hash_unit(data: Bytes, begin: np.uint64, size: np.uint64) -> np.uint64:
    h = _add_chunk(SEED, _load(data, begin), min(size, EIGHT))
    done = EIGHT
    while done < size:
        h = _add_chunk(h, _load(data, begin + done), min(size - done, EIGHT))
        done += EIGHT
    h = (h ^ (size * LENGTH)) * FMIX
    return h ^ (h >> HALF)


@njit(cache=True, nogil=True)
def _hash_words(data: Bytes, start: np.uint64, end: np.uint64, out: Hashes | Words32) -> int:
    word, begin, chunk = ZERO, start, start
    while chunk < end:
        blanks = _find_blanks(data, chunk)
        if end - chunk < WIDE:
            blanks &= (ONE << (end - chunk)) - ONE
        while blanks:
            blank = chunk + _count_trailing_zeros(blanks)
            blanks &= blanks - ONE
            out[word] = _hash_unit(data, begin, blank - begin)
            word += ONE
            begin = blank + ONE
        chunk += WIDE
    if begin < end:
        out[word] = _hash_unit(data, begin, end - begin)
        word += ONE
    return int(np.int64(word))


@njit(cache=True, nogil=True)
def _hash_characters(data: Bytes, start: np.uint64, end: np.uint64, out: Hashes | Words32) -> int:
    i, character = start, ZERO
    while i < end:
        lead = data[i]
        size = np.uint64(1 if lead < 0x80 else 2 if lead < 0xE0 else 3 if lead < 0xF0 else 4)
        if lead != 32:
            out[character] = _hash_unit(data, i, size)
            character += ONE
        i += size
    return int(np.int64(character))


@njit(cache=True, nogil=True)
def _roll(units: Hashes, num_units: int, ngram: int, out: Hashes) -> int:
    """Write the hashes of all runs of `ngram` units, or of the only shorter one, and return how many there are."""
    if num_units == 0:
        return 0
    h, top = ZERO, ONE
    for i in range(min(ngram, num_units)):
        h = h * STEP + units[i]
        top *= STEP
    out[0] = h
    into, width = ZERO, np.uint64(ngram)
    for i in range(width, np.uint64(num_units)):
        h = h * STEP + (units[i] - units[i - width] * top)
        into += ONE
        out[into] = h
    return int(np.int64(into)) + 1


@njit(cache=True, nogil=True)
def _powers(ngram: int) -> Words32:
    """Return STEP ** (ngram - 1), ..., STEP, 1 modulo 2^32."""
    powers = np.empty(ngram, np.uint32)
    power = ONE
    for k in range(ngram):
        powers[ngram - 1 - k] = np.uint32(power)
        power *= STEP
    return powers


@njit(cache=True, nogil=True)
def _join_low(units: Words32, powers: Words32, joined: Words32) -> None:
    """Write the low halves of the hashes of all runs of len(powers) units: term by term, so that eight runs are summed at once."""
    joined[:] = 0
    for k in range(len(powers)):
        power = powers[k]
        for i in range(len(joined)):
            joined[i] += units[i + k] * power


@njit(cache=True, nogil=True)
def _mix(hashes: Hashes | Words32, mixed: Words32) -> None:
    # Source: MurmurHash3, fmix32, Appleby 2011
    for i in range(len(mixed)):
        h = np.uint32(hashes[i])
        h = np.uint32((h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B))
        h = np.uint32((h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35))
        mixed[i] = h ^ (h >> np.uint32(16))


@njit(cache=True, nogil=True)
def _pad(shingles: Words32, count: int) -> Words32:
    """Repeat the first shingle up to a whole run: minima stay, and no shingle is left to a loop that takes one at a time."""
    size = (count + RUN - 1) // RUN * RUN
    for i in range(count, size):
        shingles[i] = shingles[0]
    return shingles[:size]


@njit(cache=True, nogil=True)
def _keep_minima(shingles: Words32, a: Words32, b: Words32, signature: Words32) -> None:
    """Permutations outside, shingles inside, a vector of them at a time."""
    for k in range(0, len(a), AT_ONCE):
        _keep_some_minima(shingles, a, b, k, signature)


@njit(cache=True, nogil=True)
def sort_and_unique(hashes: Hashes, offsets: Offsets) -> tuple[Hashes, Offsets]:
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
