"""What deduplication costs, stage by stage: the one place of its measured rates.

`python tests/benchmarks/calibrate.py SMALL LARGE` measures them anew on a quiet machine and prints this table. CPU seconds on one 2.4 GHz
core of grown documentation (`tests/benchmarks/growing.py`); another machine, or text with more copies in it, is faster or slower.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Cost:
    """Hold a stage's CPU seconds: of every run, for every MB of text, and whether workers share them."""

    fixed: float
    per_megabyte: float
    is_shared: bool = True

    def cpu_seconds(self, text_bytes: float) -> float:
        """Return the CPU seconds for so much text."""
        return self.fixed + self.per_megabyte * text_bytes / 1e6


START = Cost(15.0, 0.0, is_shared=False)
"""Imports, compiled kernels, Prefect's local server, and the end."""

STAGES = {
    "documents": Cost(0.20, 0.01300),
    "candidates": Cost(0.10, 0.00160),
    "verification": Cost(0.10, 0.00230),
    "clusters": Cost(0.05, 0.00015, is_shared=False),
    "removals": Cost(0.07, 0.00040),
    "quality": Cost(0.50, 0.00460, is_shared=False),
    "spans": Cost(1.70, 0.00280, is_shared=False),
    "filtering": Cost(0.10, 0.00500, is_shared=False),
    "tables": Cost(0.10, 0.00030, is_shared=False),
}

DISK_PER_BYTE = 1.05
"""Bytes of the ledger's copy of the texts and columns for each byte of text, codec none."""
CODEC_SHARE = {"none": 1.0, "lz4": 0.6, "zstd": 0.4}
FILTERED_PER_BYTE = 0.33
"""Bytes of filtered data for each byte of text."""
DISK_PER_ROW = 700.0
"""Bytes of profiles, signatures, pairs, clusters and removals for each row, 128 permutations."""
