"""A made-up corpus in which the Jaccard similarity of every pair is known by counting edits, before any shingle is made.

A text of `10 m` words is m slots of ten. A copy replaces the middle word of some slots by a word that occurs nowhere else, so each edit
destroys five 5-grams and no two edits share one. Of the S = 10 m - 4 shingles of a family's texts, two that differ in k slots share
S - 5 k, and their Jaccard similarity is (S - 5 k) / (S + 5 k).
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import combinations

Pair = tuple[int, int, float]  # two texts by their places, and their similarity

VOCABULARY = 20_000
FAMILY_SIZES = (2,) * 14 + (3, 4, 5, 6, 9, 20)
"""Mostly pairs: a member of a larger family can be found through another one."""


def make_corpus(num_families: int, seed: int) -> tuple[list[str], list[Pair]]:
    """Return texts and the similarity of every two of a family; all others share no shingle but by chance."""
    rng = random.Random(seed)
    texts: list[str] = []
    pairs: list[Pair] = []
    for _ in range(num_families):
        num_slots = min(500, max(6, round(rng.lognormvariate(3.5, 1.0))))
        base = [f"word{rng.randrange(VOCABULARY)}" for _ in range(10 * num_slots)]
        edits = [frozenset[int](), *(draw_slots(num_slots, rng) for _ in range(rng.choice(FAMILY_SIZES) - 1))]
        pairs += similarities(len(texts), edits, num_slots)
        texts += [" ".join(edit(base, slots, f"edit{len(texts) + member}")) for member, slots in enumerate(edits)]
    return texts, pairs


def draw_slots(num_slots: int, rng: random.Random) -> frozenset[int]:
    """Return the slots that a copy changes, at least one, for a similarity with the base that is drawn evenly from 0.6 to 1."""
    aimed, num_shingles = rng.uniform(0.6, 1.0), 10 * num_slots - 4
    num_edits = round(num_shingles * (1 - aimed) / (1 + aimed) / 5)
    return frozenset(rng.sample(range(num_slots), min(num_slots, max(1, num_edits))))


def edit(base: list[str], slots: frozenset[int], mark: str) -> list[str]:
    words = list(base)
    for slot in slots:
        words[10 * slot + 5] = f"{mark}-{slot}"
    return words


def similarities(first: int, edits: list[frozenset[int]], num_slots: int) -> Iterator[Pair]:
    num_shingles = 10 * num_slots - 4
    for a, b in combinations(range(len(edits)), 2):
        destroyed = 5 * len(edits[a] | edits[b])
        yield first + a, first + b, (num_shingles - destroyed) / (num_shingles + destroyed)
