"""Anchors: a few hashes of every document by which text that may repeat is told from text that cannot, made while texts are read.

An anchor is the smallest hash among a window's runs of `width // 2` units. Equal windows have equal anchors and neighbours mostly share
theirs: at a width of 32, one for nine windows. A window can only occur in several documents if its anchor does. Half the width: longer
runs are rarer but make more anchors and cost more than they spare. Of each anchor 32 bits are stored, about 7% of the text's bytes.

Anchors are sifted without sorting: a slot of two bits counts the clusters that came by, up to three, and what shares its slot with too
few cannot repeat. Slots are shared by chance, so what is left is sifted once more by other slots. The filter's size is bounded; a larger
corpus takes more rounds, each with its share of the anchors.

Source: Schleimer, Wilkerson, Aiken 2003, Winnowing, section 3.1 (every run of `width` units is sure to hold a chosen hash).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from pipeline.config import DedupConfig
from pipeline.dedup.kernels import Hashes, Words32, hash_all
from pipeline.store import read_scratch, scratch_bytes, write_scratch
from pipeline.text import Bytes, Offsets, are_spaceless

Flags = npt.NDArray[np.bool_]
ONE, HALF, THREE = np.uint64(1), np.uint64(32), np.uint64(3)
STEP = np.uint64(0xD6E8FEB86659FD93)
SPREAD = np.uint64(0x9E3779B97F4A7C15)
SIFTS = (SPREAD, np.uint64(0xC2B2AE3D27D4EB4F))
MOST_BITS = 27
"""Of the filter's number of slots: 32 MiB."""
MOST_COUNTED = 3
RECENT_BITS = 14


def windows_per_anchor(width: int) -> float:
    """Return how many windows one anchor stands for, on average over random units."""
    return (width - width // 2 + 2) / 2


@dataclass(frozen=True)
class PartAnchors:
    """Hold the anchors of one part: of each row the number of its windows and of its anchors, and all anchors in order."""

    num_windows: Words32
    counts: Words32
    values: Words32


def anchor_texts(data: Bytes, offsets: Offsets, config: DedupConfig) -> pa.Table:
    """Return num_windows and anchors (32-bit numbers in a row) of normalised texts, as `text.padded_buffers` returns them, a row each."""
    units, unit_offsets = hash_all(data, offsets, are_spaceless(data, offsets), 1)
    values, counts = find_anchors(units, unit_offsets, config.min_span_words)
    bounds = np.append(0, 4 * np.cumsum(counts, dtype=np.int64))
    column = pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(counts), [None, pa.py_buffer(bounds), pa.py_buffer(values)])
    return pa.table({"num_windows": np.maximum(np.diff(unit_offsets) - config.min_span_words + 1, 0).astype(np.uint32), "anchors": column})


def store_anchors(path: str, anchored: pa.Table) -> PartAnchors:
    """Store what `anchor_texts` made of a part's texts, in their order."""
    chunks = anchored["anchors"].chunks
    bounds = [np.frombuffer(chunk.buffers()[1], np.int64)[chunk.offset : chunk.offset + len(chunk) + 1] for chunk in chunks if len(chunk)]
    whole = [chunk for chunk in chunks if len(chunk)]
    values = [np.frombuffer(chunk.buffers()[2], np.uint32)[own[0] // 4 : own[-1] // 4] for chunk, own in zip(whole, bounds, strict=True)]
    counts = np.concatenate([np.empty(0, np.int64), *map(np.diff, bounds)]) // 4
    num_windows = anchored["num_windows"].to_numpy().astype(np.uint32)
    found = PartAnchors(num_windows, counts.astype(np.uint32), np.concatenate([np.empty(0, np.uint32), *values]))
    head = np.array([len(num_windows)], np.uint32)
    write_scratch(path, head, found.num_windows, found.counts, found.values)
    return found


def read_anchors(path: str) -> PartAnchors | None:
    """Return the anchors of a part, None if they are not there whole."""
    num_bytes = scratch_bytes(path)
    if num_bytes <= 0 or num_bytes % 4:
        return None
    stored = read_scratch(path, np.uint32)
    rows = int(stored[0])
    found = PartAnchors(stored[1 : 1 + rows], stored[1 + rows : 1 + 2 * rows], stored[1 + 2 * rows :])
    is_whole = len(stored) > 2 * rows and int(found.counts.sum(dtype=np.int64)) == len(found.values)
    return found if is_whole else None


def sift_anchors(
    paths: Sequence[str], clusters: Sequence[npt.NDArray[np.int64]], min_documents: int, folder: str, most_bits: int = MOST_BITS
) -> tuple[list[str], int]:
    """Return where each part's flags are stored, of every anchor whether `min_documents` clusters may hold it, and how many are set.

    clusters: of each part's rows, -1 of rows that do not count. Of anchors that are not flagged, fewer clusters are sure to hold them.
    """
    flagged = [f"{folder}/flags-{part:05d}.bin" for part in range(len(paths))]
    left = 0
    for path, own, target in zip(paths, clusters, flagged, strict=True):
        flags = np.repeat(own >= 0, _of(path).counts)
        left += int(flags.sum())
        write_scratch(target, flags)
    for multiplier in SIFTS:
        bits = max(5, min(most_bits, (16 * left).bit_length()))
        rounds, left = 1 + (4 * left >> bits), 0
        for number in range(rounds):
            slots = np.zeros(1 << (bits - 5), np.uint64)
            share = (np.uint64(rounds), np.uint64(number), multiplier, np.uint64(64 - bits))
            for path, own, target in zip(paths, clusters, flagged, strict=True):
                part = _of(path)
                _count(part.values, part.counts, own, read_scratch(target, np.bool_), slots, *share)
            for path, target in zip(paths, flagged, strict=True):
                flags = np.array(read_scratch(target, np.bool_))
                left += _sift(_of(path).values, flags, slots, np.uint64(min(min_documents, MOST_COUNTED)), *share)
                write_scratch(target, flags)
    return flagged, left


def _of(path: str) -> PartAnchors:
    found = read_anchors(path)
    assert found is not None, "anchors are stored before they are sifted"
    return found


@njit(cache=True, nogil=True)
def find_anchors(units: Hashes, offsets: Offsets, width: int) -> tuple[Words32, Words32]:
    """Return the anchors of all windows in order, one for each run of windows that share it, and how many each document has."""
    gram = width // 2
    reach = width - gram + 1  # runs of `gram` units in a window
    runs = np.empty(np.diff(offsets).max() if len(offsets) > 1 else 0, np.uint64)
    anchors, counts = np.empty(len(units), np.uint32), np.zeros(len(offsets) - 1, np.uint32)
    top = ONE
    for _ in range(gram):
        top *= STEP
    found = 0
    for document in range(len(offsets) - 1):
        own = units[offsets[document] : offsets[document + 1]]
        if len(own) < width:
            continue
        h = np.uint64(0)
        for i in range(gram):
            h = h * STEP + own[i]
        runs[0] = h
        for i in range(gram, len(own)):
            h = h * STEP + (own[i] - own[i - gram] * top)
            runs[i - gram + 1] = h
        first, least, at, last = found, runs[0], 0, runs[0]
        for run in range(len(own) - gram + 1):
            if runs[run] <= least:
                least, at = runs[run], run
            elif at + reach == run:
                least, at = runs[run - reach + 1], run - reach + 1
                for i in range(run - reach + 2, run + 1):
                    if runs[i] <= least:
                        least, at = runs[i], i
            if run >= reach - 1 and (least != last or run == reach - 1):
                anchors[found] = np.uint32((least * SPREAD) >> HALF)
                found, last = found + 1, least
        counts[document] = found - first
    return anchors[:found].copy(), counts


@njit(cache=True, nogil=True)
def _count(
    values: Words32,
    counts: Words32,
    clusters: npt.NDArray[np.int64],
    flags: Flags,
    slots: Hashes,
    rounds: np.uint64,
    number: np.uint64,
    multiplier: np.uint64,
    shift: np.uint64,
) -> None:
    """Count in each slot the clusters that flagged anchors come from; one that returns after others may count again."""
    recent = np.full(1 << RECENT_BITS, ~np.uint64(0), np.uint64)
    end = 0
    for row in range(len(counts)):
        start, end = end, end + int(counts[row])
        for i in range(start, end):
            value = np.uint64(values[i])
            if not flags[i] or (rounds > ONE and value % rounds != number):
                continue
            slot = ((value + ONE) * multiplier) >> shift
            name = (value << HALF) | np.uint64(clusters[row])
            place = np.int64(slot & np.uint64((1 << RECENT_BITS) - 1))
            if recent[place] != name:
                recent[place] = name
                word, low = np.int64(slot >> np.uint64(5)), (slot & np.uint64(31)) << ONE
                slots[word] += np.uint64(((slots[word] >> low) & THREE) < THREE) << low


@njit(cache=True, nogil=True)
def _sift(
    values: Words32,
    flags: Flags,
    slots: Hashes,
    least: np.uint64,
    rounds: np.uint64,
    number: np.uint64,
    multiplier: np.uint64,
    shift: np.uint64,
) -> int:
    """Take the flag from anchors of this round whose slot counts too few, and return how many of the round keep it."""
    left = 0
    for i in range(len(values)):
        value = np.uint64(values[i])
        if flags[i] and (rounds == ONE or value % rounds == number):
            slot = ((value + ONE) * multiplier) >> shift
            flags[i] = ((slots[np.int64(slot >> np.uint64(5))] >> ((slot & np.uint64(31)) << ONE)) & THREE) >= least
            left += flags[i]
    return left
