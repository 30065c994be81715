"""Find a finished run again: by its name in the ledger, or by its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import fsspec

from pipeline import store
from pipeline.errors import InputError
from pipeline.store import Artifact

RUN_FILE = "run.json"


@dataclass(frozen=True)
class FinishedRun:
    """Hold what run.json says: the result, the tables' folders, the references by digest."""

    result: Mapping[str, Any]
    folders: Mapping[str, str]
    references: Mapping[str, str]  # names by digest

    def tables(self, *names: str) -> dict[str, Artifact]:
        """Describe the named tables, or all, without checking their parts."""
        return {name: store.describe(self.folders[name]) for name in names or self.folders}


def read_run(run: str, ledger: str) -> FinishedRun:
    """Read a finished run.

    Raises: InputError when there is none of that name or in that folder.
    """
    for folder in (run.rstrip("/"), f"{ledger}/{run.strip('/').rsplit('/', 1)[-1]}"):
        filesystem, plain = fsspec.core.url_to_fs(f"{folder}/{RUN_FILE}")
        if filesystem.exists(plain):
            raw = json.loads(filesystem.cat_file(plain))
            folders = {name: table["folder"] for name, table in raw["tables"].items()}
            return FinishedRun(raw["result"], folders, raw.get("references", {}))
    raise InputError(
        "no finished run of that name", where=run, wanted=f"a run's name or folder under {ledger}", do="see reports/index.html"
    )
