"""Windows: runs of `width` units of a document as rolling hashes, compiled.

A unit is a word, or a character in scripts without blanks between words, hashed as for shingles. A window's hash is the polynomial of
its units, as a shingle's.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

from pipeline.config import DedupConfig
from pipeline.dedup.kernels import Hashes
from pipeline.dedup.shingles import shingle_hashes
from pipeline.text import Offsets, Texts

Indices = npt.NDArray[np.int64]
ONE = np.uint64(1)
STEP = np.uint64(0xD6E8FEB86659FD93)
STEPS = (STEP, np.uint64(0x9E3779B97F4A7C15))
HALF = np.uint64(32)


def unit_hashes(texts: Texts, config: DedupConfig) -> tuple[Hashes, Offsets, npt.NDArray[np.bool_]]:
    """Return every unit's hash in order, where each text's begin, and which texts were cut into characters."""
    return shingle_hashes(texts, config.model_copy(update={"ngram": 1}))


@njit(cache=True, nogil=True)
def find_windows(units: Hashes, offsets: Offsets, width: int, flags: npt.NDArray[np.bool_]) -> tuple[Hashes, Indices, Indices, int]:
    """Return the windows whose anchor is flagged: hash, document, number of the first unit in it; and how many anchors there are.

    flags: of the documents' anchors, in the order in which `span_anchors.find_anchors` finds them.
    """
    gram = width // 2
    reach = width - gram + 1
    longest = np.diff(offsets).max() if len(offsets) > 1 else 0
    runs, wholes = np.empty(longest, np.uint64), np.empty(longest, np.uint64)
    hashes, document_of, places = np.empty(len(units), np.uint64), np.empty(len(units), np.int64), np.empty(len(units), np.int64)
    found, anchor = 0, 0
    for document in range(len(offsets) - 1):
        own = units[offsets[document] : offsets[document + 1]]
        if len(own) < width:
            continue
        _roll(own, gram, runs)
        _roll(own, width, wholes)
        least, at, last, is_wanted = runs[0], 0, runs[0], False
        for run in range(len(own) - gram + 1):
            if runs[run] <= least:
                least, at = runs[run], run
            elif at + reach == run:
                least, at = _find_least(runs, run - reach + 1, run)
            window = run - reach + 1
            if window < 0:
                continue
            if least != last or window == 0:
                is_wanted, last = anchor < len(flags) and flags[anchor], least
                anchor += 1
            if is_wanted:
                hashes[found], document_of[found], places[found] = wholes[window], document, window
                found += 1
    return hashes[:found].copy(), document_of[:found].copy(), places[:found].copy(), anchor


@njit(cache=True, nogil=True)
def hash_runs(keys: Hashes, first: Indices, last: Indices) -> Hashes:
    """Return a hash of 128 bits, (runs, 2), of the windows `first[i]` to `last[i]`, both included."""
    hashes = np.empty((len(first), 2), np.uint64)
    for run in range(len(first)):
        for half in range(2):
            h, step = np.uint64(last[run] - first[run]), STEPS[half]
            for i in range(first[run], last[run] + 1):
                h = (h ^ keys[i]) * step
                h ^= h >> HALF
            hashes[run, half] = h
    return hashes


@njit(cache=True, nogil=True)
def _roll(units: Hashes, width: int, out: Hashes) -> None:
    h, top = np.uint64(0), ONE
    for i in range(width):
        h = h * STEP + units[i]
        top *= STEP
    out[0] = h
    for i in range(width, len(units)):
        h = h * STEP + (units[i] - units[i - width] * top)
        out[i - width + 1] = h


@njit(cache=True, nogil=True)
def _find_least(values: Hashes, first: int, last: int) -> tuple[np.uint64, int]:
    """Return the smallest of values first .. last, both included, and the last place where it stands."""
    least, at = values[first], first
    for i in range(first + 1, last + 1):
        if values[i] <= least:
            least, at = values[i], i
    return least, at
