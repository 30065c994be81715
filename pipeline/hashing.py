"""BLAKE3 of many messages at once, compiled: what names contents and rows.

The hash works on chunks of 1,024 bytes that depend on nothing but their place in the message, so sixteen of them, of whichever messages,
are hashed side by side in the lanes of vectors. Millions of short messages then take no longer than one long one: 5 GB/s on a core with
AVX-512, where calling the library for each takes half a microsecond and hashes what is shorter than a few chunks one block after another.

Equal to the `blake3` library's digests, byte for byte.

Source: O'Connor, Aumasson, Neves, Wilcox-O'Hearn 2020, BLAKE3: one function, fast everywhere, section 2.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

Bytes = npt.NDArray[np.uint8]
Offsets = npt.NDArray[np.int64]
Words = npt.NDArray[np.uint32]
Jobs = npt.NDArray[np.int64]

HASH_BYTES = 16
LANES, CHUNK, BLOCK, CV_WORDS = 16, 1024, 64, 8
IV = np.array([0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19], np.uint32)
CHUNK_START, CHUNK_END, PARENT, ROOT = (np.uint32(1 << bit) for bit in range(4))
IDLE = np.uint32(1 << 31)
"""Flag of a lane that has no block in this turn: its chaining value stays."""
SIZE, COUNTER, BEGINS, ENDS, TARGET, NUM_FIELDS = range(6)
"""Columns of the jobs: bytes, number of the chunk, flags of the first and of the last block, row of the result."""
SCHEDULE = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
ROUNDS = 7
MIXED = ((0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15), (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14))
"""Words of the state that one quarter of a round mixes: columns, then diagonals."""


def hash_messages(data: Bytes, starts: Offsets, ends: Offsets) -> Bytes:
    """Return the first 128 bits of the BLAKE3 hash of each `data[starts[i]:ends[i]]`, (messages, 16)."""
    # no block may be read beyond the data: the last bytes have a copy with room behind it
    last, tail = len(data) - BLOCK, np.zeros(2 * BLOCK, np.uint8)
    rest = data[max(0, last) :]
    tail[: len(rest)] = rest
    # places, not arrays: numba would compile all of it again for those that may not be written
    places = (int(each.ctypes.data) for each in (data, tail))
    return _hash_messages(*places, last, np.array(starts, np.int64), np.array(ends, np.int64))


def as_binary(digests: Bytes) -> Any:
    """Return digests (n, 16) as an Arrow array of binary(16)."""
    return pa.FixedSizeBinaryArray.from_buffers(pa.binary(HASH_BYTES), len(digests), [None, pa.py_buffer(digests)])


@intrinsic
def _compress(_: Any, values: Any, addresses: Any, sizes: Any, flags: Any, counters: Any) -> Any:
    """Mix a block of `sizes[i]` bytes at `addresses[i]` into the chaining value `values[:, i]` of each lane i.

    64 bytes are read wherever the block ends.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        lane, byte = ir.VectorType(ir.IntType(32), LANES), ir.VectorType(ir.IntType(8), BLOCK)
        starts = [context.make_array(kind)(context, builder, value).data for kind, value in zip(signature.args, arguments, strict=True)]

        def constant(value: int) -> Any:
            return ir.Constant(lane, [value] * LANES)

        def row(array: int, number: int = 0) -> Any:
            return builder.bitcast(builder.gep(starts[array], [ir.Constant(ir.IntType(64), number * LANES)]), lane.as_pointer())

        def take(array: int, number: int = 0) -> Any:
            return builder.load(row(array, number), align=4)

        def rotate(word: Any, bits: int) -> Any:
            return builder.or_(builder.lshr(word, constant(bits)), builder.shl(word, constant(32 - bits)))

        def block(number: int) -> Any:
            """Return the words of one lane's block, zeros behind its end."""
            place = ir.Constant(ir.IntType(64), number)
            address = builder.load(builder.gep(starts[1], [place]))
            size = builder.trunc(builder.load(builder.gep(starts[2], [place])), ir.IntType(8))
            read = builder.load(builder.inttoptr(address, byte.as_pointer()), align=1)
            limit = builder.insert_element(ir.Constant(byte, ir.Undefined), size, ir.Constant(ir.IntType(32), 0))
            everywhere = builder.shuffle_vector(limit, limit, ir.Constant(ir.VectorType(ir.IntType(32), BLOCK), [0] * BLOCK))
            is_inside = builder.icmp_unsigned("<", ir.Constant(byte, list(range(BLOCK))), everywhere)
            return builder.bitcast(builder.select(is_inside, read, ir.Constant(byte, [0] * BLOCK)), lane)

        message = [block(number) for number in range(LANES)]
        halves = [ir.Constant(lane, [first + i // 2 + LANES * (i % 2) for i in range(LANES)]) for first in (0, LANES // 2)]
        for _ in range(4):  # four perfect shuffles turn lanes' words into words' lanes
            pairs = [(message[i], message[i + LANES // 2], half) for i in range(LANES // 2) for half in halves]
            message = [builder.shuffle_vector(*pair) for pair in pairs]

        before = [take(0, number) for number in range(CV_WORDS)]
        state = [*before, *(constant(int(word)) for word in IV[:4]), take(4), constant(0), take(2), take(3)]
        for _ in range(ROUNDS):
            for quarter, (a, b, c, d) in enumerate(MIXED):
                for word, turn_d, turn_b in ((2 * quarter, 16, 12), (2 * quarter + 1, 8, 7)):
                    state[a] = builder.add(builder.add(state[a], state[b]), message[word])
                    state[d] = rotate(builder.xor(state[d], state[a]), turn_d)
                    state[c] = builder.add(state[c], state[d])
                    state[b] = rotate(builder.xor(state[b], state[c]), turn_b)
            message = [message[word] for word in SCHEDULE]
        is_idle = builder.icmp_signed("<", take(3), constant(0))
        for number in range(CV_WORDS):
            mixed = builder.xor(state[number], state[number + CV_WORDS])
            builder.store(builder.select(is_idle, before[number], mixed), row(0, number), align=4)
        return context.get_dummy_value()

    return types.void(values, addresses, sizes, flags, counters), generate


@njit(cache=True, nogil=True)
def _hash_messages(data: int, tail: int, last: int, starts: Offsets, ends: Offsets) -> Bytes:
    """Hash the messages at places from `data` on; blocks that begin behind place `last` are read from `tail`."""
    first = np.zeros(len(starts) + 1, np.int64)
    for message in range(len(starts)):
        first[message + 1] = first[message] + max(np.int64(1), (ends[message] - starts[message] + CHUNK - 1) // CHUNK)
    # a message's chaining values stand together: of its chunks, then of pairs of them, at last its hash alone
    values, count = np.empty((first[-1], CV_WORDS), np.uint32), first[1:] - first[:-1]
    odd = np.full(len(starts), -1, np.int64)
    jobs, places = _chunk_jobs(data, tail, last, starts, ends, first)
    lanes, addresses, left = np.empty((CV_WORDS, LANES), np.uint32), np.empty(LANES, np.int64), np.empty(LANES, np.int64)
    sizes, flags, counters = np.empty(LANES, np.uint32), np.empty(LANES, np.uint32), np.empty(LANES, np.uint32)
    while len(jobs):
        for group in range(0, len(jobs), LANES):
            size = min(LANES, len(jobs) - group)
            for lane in range(LANES):
                for word in range(CV_WORDS):
                    lanes[word, lane] = IV[word]
                job = group + min(lane, size - 1)
                left[lane] = jobs[job, SIZE] if lane < size else -1
                addresses[lane], counters[lane] = places[job, 0], jobs[job, COUNTER]
            # the group's first job has the most blocks; all others' last blocks may come earlier
            for turn in range(max(np.int64(1), (left[0] + BLOCK - 1) // BLOCK)):
                for lane in range(LANES):
                    job, here = group + min(lane, size - 1), left[lane]
                    begins = jobs[job, BEGINS] if turn == 0 else np.int64(0)
                    flags[lane] = IDLE if here < 0 else np.uint32(begins | (jobs[job, ENDS] if here <= BLOCK else np.int64(0)))
                    sizes[lane] = max(np.int64(0), min(here, np.int64(BLOCK)))
                    addresses[lane] = places[job, 1] if here <= BLOCK else places[job, 0] + BLOCK * turn
                    left[lane] = here - BLOCK if here > BLOCK else -1
                _compress(lanes, addresses, sizes, flags, counters)
            for lane in range(size):
                for word in range(CV_WORDS):
                    values[jobs[group + lane, TARGET], word] = lanes[word, lane]
        jobs, places = _pair_jobs(values, first, count, odd)
    digests, as_bytes = np.empty((len(starts), HASH_BYTES), np.uint8), values.view(np.uint8)
    for message in range(len(starts)):
        for byte in range(HASH_BYTES):
            digests[message, byte] = as_bytes[first[message], byte]
    return digests


@njit(cache=True, nogil=True)
def _chunk_jobs(data: int, tail: int, last: int, starts: Offsets, ends: Offsets, first: Offsets) -> tuple[Jobs, Jobs]:
    """Return every chunk's job, those with the most blocks first, so that the lanes of a group end together."""
    jobs, places = np.zeros((first[-1], NUM_FIELDS), np.int64), np.zeros((first[-1], 2), np.int64)
    num_before = np.zeros(CHUNK // BLOCK + 2, np.int64)
    for message in range(len(starts)):
        num_full = first[message + 1] - first[message] - 1
        num_before[1] += num_full
        num_before[CHUNK // BLOCK + 1 - _count_blocks(ends[message] - starts[message] - CHUNK * num_full)] += 1
    for rank in range(1, len(num_before)):
        num_before[rank] += num_before[rank - 1]
    for message in range(len(starts)):
        at, end, number = starts[message], ends[message], first[message + 1] - first[message]
        for chunk in range(number):
            size = min(np.int64(CHUNK), end - at)
            rank = CHUNK // BLOCK - _count_blocks(size)
            job = num_before[rank]
            num_before[rank] += 1
            jobs[job, SIZE], jobs[job, COUNTER], jobs[job, TARGET] = size, chunk, first[message] + chunk
            jobs[job, BEGINS], jobs[job, ENDS] = CHUNK_START, CHUNK_END | ROOT if number == 1 else CHUNK_END
            end_block = at + (_count_blocks(size) - 1) * BLOCK
            places[job, 0] = data + at
            places[job, 1] = data + end_block if end_block <= last else tail + end_block - max(0, last)
            at += size
    return jobs, places


@njit(cache=True, nogil=True, inline="always")
def _count_blocks(size: int) -> int:
    return (size + BLOCK - 1) // BLOCK if size > 0 else 1


@njit(cache=True, nogil=True)
def _pair_jobs(values: Words, first: Offsets, count: Offsets, odd: Offsets) -> tuple[Jobs, Jobs]:
    """Return the jobs that join each message's chaining values, two neighbours to one, each written where no other pair is read.

    `count`, the values that each message has, becomes what it will have. `odd`, the row of a last value without a neighbour or -1, says
    which move up now that the pairs of the level before are joined, and is then what this level's are.
    """
    num_jobs = 0
    for message in range(len(count)):
        if odd[message] >= 0:
            for word in range(CV_WORDS):
                values[first[message] + count[message] - 1, word] = values[odd[message], word]
        num_jobs += count[message] // 2
    jobs, places = np.zeros((num_jobs, NUM_FIELDS), np.int64), np.zeros((num_jobs, 2), np.int64)
    base, job = np.int64(values.ctypes.data), 0
    for message in range(len(count)):
        number = count[message]
        for pair in range(number // 2):
            places[job, 0] = places[job, 1] = base + 4 * CV_WORDS * (first[message] + 2 * pair)
            jobs[job, SIZE], jobs[job, TARGET] = BLOCK, first[message] + pair
            jobs[job, BEGINS] = PARENT | ROOT if number == 2 else PARENT
            job += 1
        odd[message] = first[message] + number - 1 if number > 1 and number % 2 else -1
        count[message] = (number + 1) // 2
    return jobs, places
