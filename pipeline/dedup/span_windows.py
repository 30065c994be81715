"""Windows: runs of `width` units of a document as rolling hashes, and the anchors by which repeated ones are recognised, compiled.

A unit is a word, or a character in scripts without blanks between words, hashed as for shingles. A window's hash is the polynomial of
its units, as a shingle's. A window's anchor is the smallest hash among its runs of `width // 2` units. Equal windows have equal anchors
and neighbours mostly share theirs: at a width of 32, one for nine windows. A window can only occur in several documents if its anchor
does, so a corpus is sifted by its anchors alone. Half the width: longer runs are rarer but make more anchors and cost more than they spare.

Source: Schleimer, Wilkerson, Aiken 2003, Winnowing, section 3.1 (every run of `width` units is sure to hold a chosen hash).
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


def unit_hashes(texts: Texts, config: DedupConfig) -> tuple[Hashes, Offsets, npt.NDArray[np.bool_]]:
    """Return every unit's hash in order, where each text's begin, and which texts were cut into characters."""
    return shingle_hashes(texts, config.model_copy(update={"ngram": 1}))


def count_windows(offsets: Offsets, width: int) -> int:
    """Return the number of windows in documents whose units begin at `offsets`; a shorter document has none."""
    return int(np.maximum(np.diff(offsets) - width + 1, 0).sum())


def windows_per_anchor(width: int) -> float:
    """Return how many windows one anchor stands for, on average over random units."""
    return (width - width // 2 + 2) / 2


@njit(cache=True, nogil=True)
def find_anchors(units: Hashes, offsets: Offsets, width: int) -> tuple[Hashes, Indices]:
    """Return the anchors of all windows, one for each run of windows that share it, and the document of each."""
    gram = width // 2
    reach = width - gram + 1  # runs of `gram` units in a window
    runs = np.empty(np.diff(offsets).max() if len(offsets) > 1 else 0, np.uint64)
    anchors, document_of = np.empty(len(units), np.uint64), np.empty(len(units), np.int64)
    found = 0
    for document in range(len(offsets) - 1):
        own = units[offsets[document] : offsets[document + 1]]
        if len(own) < width:
            continue
        _roll(own, gram, runs)
        least, at, last = runs[0], 0, ~runs[0]
        for run in range(len(own) - gram + 1):
            if runs[run] <= least:
                least, at = runs[run], run
            elif at + reach == run:
                least, at = _find_least(runs, run - reach + 1, run)
            if run >= reach - 1 and (least != last or run == reach - 1):
                anchors[found], document_of[found] = least, document
                found, last = found + 1, least
    return anchors[:found].copy(), document_of[:found].copy()


@njit(cache=True, nogil=True)
def find_windows(units: Hashes, offsets: Offsets, width: int, repeated: Hashes) -> tuple[Hashes, Indices, Indices]:
    """Return the windows whose anchor is one of `repeated`, which is sorted: hash, document, number of the first unit in it."""
    gram = width // 2
    reach = width - gram + 1
    longest = np.diff(offsets).max() if len(offsets) > 1 else 0
    runs, wholes = np.empty(longest, np.uint64), np.empty(longest, np.uint64)
    hashes, document_of, places = np.empty(len(units), np.uint64), np.empty(len(units), np.int64), np.empty(len(units), np.int64)
    found = 0
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
                place = np.searchsorted(repeated, least)
                is_wanted, last = place < len(repeated) and repeated[place] == least, least
            if is_wanted:
                hashes[found], document_of[found], places[found] = wholes[window], document, window
                found += 1
    return hashes[:found].copy(), document_of[:found].copy(), places[:found].copy()


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
