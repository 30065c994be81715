"""Describe the machine and the versions a run used: what a rerun elsewhere has to be compared with."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

import psutil

PACKAGES = (
    "sinkaudit",
    "blake3",
    "datasets",
    "datasketch",
    "numba",
    "numpy",
    "polars",
    "prefect",
    "pyarrow",
    "pydantic",
    "scipy",
    "tokenizers",
    "torch",
    "transformers",
)


def describe_environment() -> dict[str, object]:
    """Return versions and hardware as JSON values; no host name, no user name, no paths."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": psutil.virtual_memory().total,
        "packages": {name: version(name) for name in PACKAGES},
    }


def _processor() -> str:
    listing = Path("/proc/cpuinfo")
    if listing.exists():
        names = [line.partition(":")[2].strip() for line in listing.read_text().splitlines() if line.startswith("model name")]
        if names:
            return names[0]
    return platform.processor() or "unknown"
