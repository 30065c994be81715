"""Find near-copies that MinHash pairs cannot see: word 3-gram containment against an inverted index of the proxy subsample.

The index covers the texts that proxies train on, a budget that does not grow with the corpus; every document of the corpus may then
be asked about, one at a time. Hashes are BLAKE2b of words joined by fixed arithmetic, so that they are the same in every process.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

GRAM = 3
MAX_TEXTS_PER_GRAM = 1_000
"""Grams in more distinct texts than this say nothing about copying and are left out of numerator and denominator."""
MIN_CONTAINMENT = 0.1
CHANGED_SHARE = (0.0, 0.1, 0.5, 1.0)
COPY_WEIGHT = (1.0, 0.6, 0.175, 0.0)
"""What a copy with that share of its words changed adds to memorization, in exact copies. Source: Shilov 2024, "Mosaic memory"."""

_WORD = re.compile(r"[^\W_]+")
_CHARACTERS_PER_WORD = 16  # above this the script has no spaces and characters stand in for words


@dataclass(frozen=True)
class FuzzyIndex:
    """Hold which distinct texts contain each hashed gram.

    `grams (P,)` ascending and `texts (P,)` beside them are the postings; `content_hashes (T,)` and `copies (T,)` describe the texts.
    """

    grams: NDArray[np.uint64]
    texts: NDArray[np.int64]
    content_hashes: tuple[bytes, ...]
    copies: NDArray[np.float64]


def build_index(texts: Iterable[tuple[bytes, bytes, str]]) -> FuzzyIndex:
    """Index (content_hash, row_hash, text) rows: rows of equal content hash are copies of one text, read from the smallest row hash."""
    first: dict[bytes, tuple[bytes, NDArray[np.uint64]]] = {}
    copies: dict[bytes, int] = {}
    for content_hash, row_hash, text in texts:
        copies[content_hash] = copies.get(content_hash, 0) + 1
        if content_hash not in first or row_hash < first[content_hash][0]:
            first[content_hash] = (row_hash, word_grams(text))
    return _postings({key: first[key][1] for key in sorted(first)}, copies)


def word_grams(text: str) -> NDArray[np.uint64]:
    """Return the distinct hashed 3-grams of a text's lowercase words (of its characters in scripts without spaces), ascending."""
    lowered = text.lower()
    words: list[str] = _WORD.findall(lowered)
    if words and sum(map(len, words)) > _CHARACTERS_PER_WORD * len(words):
        words = [character for word in words for character in word]
    if len(words) < GRAM:
        return np.empty(0, np.uint64)
    hashed = np.fromiter(map(hash_word, words), np.uint64, len(words))
    mixed = hashed[:-2] * np.uint64(0x9E3779B97F4A7C15) + hashed[1:-1]
    mixed = mixed * np.uint64(0xC2B2AE3D27D4EB4F) + hashed[2:]
    return np.unique(mixed ^ (mixed >> np.uint64(29)))


def near_copy_mass(grams: NDArray[np.uint64], content_hash: bytes, index: FuzzyIndex) -> float | None:
    """Sum, over indexed texts of other content, copies times the weight of their likeness; None when too few grams can tell.

    A text whose words are changed at random in share e keeps about (1 - e)^3 of its 3-grams, hence e = 1 - containment^(1/3).
    """
    low = np.searchsorted(index.grams, grams, "left")
    counts = np.searchsorted(index.grams, grams, "right") - low
    telling = counts <= MAX_TEXTS_PER_GRAM
    num_telling = int(telling.sum())
    if num_telling < GRAM:
        return None
    low, counts = low[telling], counts[telling]
    offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    texts, shared = np.unique(index.texts[np.repeat(low, counts) + offsets], return_counts=True)
    containment = shared / num_telling
    other = np.array([index.content_hashes[text] != content_hash for text in texts], dtype=bool)
    close = other & (containment >= MIN_CONTAINMENT)
    weights = np.interp(1.0 - np.cbrt(containment[close]), CHANGED_SHARE, COPY_WEIGHT)
    return float(weights @ index.copies[texts[close]])


def _postings(grams: Mapping[bytes, NDArray[np.uint64]], copies: Mapping[bytes, int]) -> FuzzyIndex:
    keys = tuple(grams)
    flat = np.concatenate([grams[key] for key in keys]) if keys else np.empty(0, np.uint64)
    texts = np.repeat(np.arange(len(keys)), [len(grams[key]) for key in keys]) if keys else np.empty(0, np.int64)
    order = np.argsort(flat, kind="stable")
    return FuzzyIndex(flat[order], texts[order].astype(np.int64), keys, np.array([copies[key] for key in keys], np.float64))


@lru_cache(maxsize=1 << 18)
def hash_word(word: str) -> int:
    """Return 64 bits of a word's BLAKE2b hash."""
    return int.from_bytes(hashlib.blake2b(word.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "little")
