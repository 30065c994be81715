"""Counts that travel beside a stage's table, and how those of parts become those of the whole."""

from __future__ import annotations

from collections.abc import Iterable

Facts = dict[str, int]


def merge_facts(parts: Iterable[Facts]) -> Facts:
    """Add up the counts of parts; of a count called `largest_...` take the largest."""
    merged: Facts = {}
    for facts in parts:
        for name, value in facts.items():
            known = merged.get(name, 0)
            merged[name] = max(known, value) if name.startswith("largest_") else known + value
    return merged
