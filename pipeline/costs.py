"""What deduplication costs, stage by stage: the one place of its measured rates.

`python tests/benchmarks/calibrate.py CORPUS ... --check CORPUS` measures them anew on a quiet machine and prints this table. Fitted to CPU
seconds at 125 MB, 1 GB and 5 GB of grown documentation (`tests/benchmarks/growing.py`), two workers on two virtual cores, and checked at
2 GB (reports/log.md), in a quiet hour of a shared machine; `pace` carries them to another machine and hour. Text with more copies in it is
slower.
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


START = Cost(8.92, 0.00163, is_shared=False)
"""Imports, compiled kernels, Prefect's local server for as long as the run takes, the input's digest, and the end."""

STAGES = {
    "documents": Cost(0.24, 0.00841),
    "candidates": Cost(0.13, 0.00142),
    "verification": Cost(0.00, 0.00208),
    "clusters": Cost(0.01, 0.00017, is_shared=False),
    "removals": Cost(0.01, 0.00049),
    "quality": Cost(0.86, 0.00169, is_shared=False),
    "spans": Cost(0.00, 0.00347, is_shared=False),
    "filtering": Cost(0.11, 0.00390, is_shared=False),
    "tables": Cost(0.01, 0.00042, is_shared=False),
}

DISK_PER_BYTE = 1.05
"""Bytes of the ledger's copy of the texts and columns for each byte of text, codec none."""
CODEC_SHARE = {"none": 1.0, "lz4": 0.6, "zstd": 0.4}
FILTERED_PER_BYTE = 0.36
"""Bytes of filtered data for each byte of text."""
DISK_PER_ROW = 700.0
"""Bytes of profiles, signatures, pairs, clusters and removals for each row, 128 permutations."""
