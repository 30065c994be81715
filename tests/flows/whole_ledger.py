"""Every file that a deduplication leaves, for runs that have to leave the same ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pipeline import store
from pipeline.config import AuditConfig, parse_config
from tests.flows.small_corpus import config as _config

CUT = {
    "input": {"rows_per_part": 20, "bytes_per_part": 16384},
    "dedup": {"num_partitions": 5, "block_bytes": 4096, "num_plants": 40},
}
"""So that the small corpus has as many shards, parts, partitions and blocks as there are items to share."""


def settings(folder: Path, corpus: Path, **runtime: Any) -> AuditConfig:
    """Return settings that cut the small corpus into many items; all that a run writes lies below the folder."""
    base = _config(folder, corpus).model_dump(mode="json", exclude_unset=True)
    for section, values in CUT.items():
        base[section] |= values
    base["runtime"] |= runtime
    return parse_config(base)


def files_of(config: AuditConfig) -> dict[str, str]:
    """Return the digest of every file of the stages, and of the filtered data, by name."""
    roots = (Path(config.runtime.ledger) / "stages", Path(config.runtime.filtered))
    return {
        str(path.relative_to(root.parent)): store.file_digest(str(path)) for root in roots for path in root.rglob("*") if path.is_file()
    }
