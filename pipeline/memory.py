"""From a memory limit to the sizes of what is held at a time, and from sizes back to the peak: the one place where both are written.

    peak = BASE + PER_DOCUMENT x documents + WORKING x (workers + 1) x unit,   unit = bytes_per_part = block_bytes = 2 x partition_bytes

A unit is what one worker has in hand; one more waits to be taken. Of the limit half of what the base leaves goes to units and the rest
is for documents, so a limit that the documents break is refused and never missed by surprise. A unit larger than `MAX_UNIT` gains
hardly any speed; one smaller than `MIN_UNIT` would spend its time on opening files.

`python -m pytest -m benchmark -s tests/benchmarks/test_memory.py` measures the constants.
"""

from __future__ import annotations

import re

from pipeline.errors import ConfigError

BASE = 0.80e9
"""Bytes of the process before any document: interpreter, libraries, compiled kernels, batches on their way, Prefect's local server."""
PER_DOCUMENT = 320.0
"""Bytes for each document: ids, hashes, sizes and clusters of all of them while clusters are made and removals chosen."""
WORKING = 3.0
"""Bytes held for each byte of a unit: the unit, what is made of it, and what is on its way to disk."""

MAX_UNIT, MIN_UNIT = 24 * 2**20, 2**20
UNITS = {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*")


def parse_size(text: str) -> int:
    """Return the bytes that a size such as 1.5GB or 800 MiB means.

    Raises: ValueError when it is none.
    """
    found = SIZE.fullmatch(text)
    units = {name.lower(): factor for name, factor in UNITS.items()}
    if found is None or found[2].lower() not in units:
        raise ValueError(f"wanted a size such as 1.5GB or 800MiB, got {text!r}")
    return int(float(found[1]) * units[found[2].lower()])


def choose_sizes(limit: int, workers: int) -> dict[str, int]:
    """Return bytes_per_part, block_bytes and partition_bytes that keep to a memory limit.

    Raises: ValueError when not even the smallest would.
    """
    unit = int((limit - BASE) / 2 / WORKING / (workers + 1))
    if unit < MIN_UNIT:
        raise ValueError(
            f"memory_limit = {limit:,} bytes is too small for {workers} worker(s): wanted at least {smallest_limit(workers):,}"
        )
    unit = min(unit, MAX_UNIT)
    return {"bytes_per_part": unit, "block_bytes": unit, "partition_bytes": unit // 2}


def smallest_limit(workers: int, num_documents: int = 0) -> int:
    """Return the smallest limit under which so many documents can be deduplicated."""
    working = WORKING * (workers + 1) * MIN_UNIT
    return int(BASE + max(2 * working, working + PER_DOCUMENT * num_documents)) + 1


def peak_of(unit: float, workers: int, num_documents: int) -> float:
    """Return the bytes that deduplication needs at its peak, all processes together."""
    return BASE + PER_DOCUMENT * num_documents + WORKING * (workers + 1) * unit


def check_limit(limit: int | None, unit: float, workers: int, num_documents: int) -> None:
    """Return if so many documents fit in the limit.

    Raises: ConfigError saying how much they need.
    """
    needed = peak_of(unit, workers, num_documents)
    if limit is not None and needed > limit:
        raise ConfigError(
            f"{num_documents:,} documents do not fit in the memory limit",
            where="runtime.memory_limit",
            wanted=f"at least {_megabytes(needed)}, of which {PER_DOCUMENT:.0f} bytes a document",
            got=_megabytes(limit),
            do=f"raise the limit, or lower runtime.workers or input.bytes_per_part (the least possible is "
            f"{_megabytes(smallest_limit(1, num_documents))} with one worker)",
        )


def _megabytes(num_bytes: float) -> str:
    return f"{num_bytes / 1e6:,.0f} MB"
