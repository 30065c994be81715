"""Find a finished run again: by its name in the ledger, or by its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from pipeline import store
from pipeline.config import AuditConfig, parse_config
from pipeline.errors import InputError, IntegrityError
from pipeline.places import locate
from pipeline.store import Artifact

RUN_FILE = "run.json"


@dataclass(frozen=True)
class FinishedRun:
    """Hold what run.json says: the result, the tables' folders and digests, the references by digest, where it all came from."""

    result: Mapping[str, Any]
    folders: Mapping[str, str]
    references: Mapping[str, str]  # names by digest
    digests: Mapping[str, str]
    reports: Mapping[str, str]  # digests of the report's files
    parents: Mapping[str, Any]  # as in the manifest; empty where an older version made the run
    membership: Mapping[str, Any]  # which series it belongs to, and what files it read

    @property
    def run(self) -> str:
        """Return the run's name."""
        return str(self.result["run"])

    @property
    def report_folder(self) -> str:
        """Return the folder of the report and its tables."""
        return str(self.result["report"]).rpartition("/")[0]

    def tables(self, *names: str) -> dict[str, Artifact]:
        """Describe the named tables, or all, without checking their parts."""
        return {name: store.describe(self.folders[name]) for name in names or self.folders}


def read_run(run: str, ledger: str) -> FinishedRun:
    """Read a finished run.

    Raises: InputError when there is none of that name or in that folder.
    """
    for folder in (run.rstrip("/"), f"{ledger}/{run.strip('/').rsplit('/', 1)[-1]}"):
        filesystem, plain = locate(f"{folder}/{RUN_FILE}")
        if filesystem.exists(plain):
            raw = json.loads(filesystem.cat_file(plain))
            folders, digests = ({name: table[key] for name, table in raw["tables"].items()} for key in ("folder", "digest"))
            reports, parents, membership = (raw.get(key, {}) for key in ("reports", "parents", "membership"))
            return FinishedRun(raw["result"], folders, raw.get("references", {}), digests, reports, parents, membership)
    raise InputError(
        "no finished run of that name", where=run, wanted=f"a run's name or folder under {ledger}", do="see reports/index.html"
    )


def read_config(finished: FinishedRun) -> AuditConfig:
    """Return a finished run's settings as its report holds them."""
    path = f"{finished.report_folder}/config.resolved.yaml"
    return parse_config(yaml.safe_load(store.read_bytes(path)), where=path)


def read_summary(finished: FinishedRun) -> dict[str, Any]:
    """Return what a finished run's report says.

    Raises: IntegrityError when summary.json is not the one that the run wrote.
    """
    path = f"{finished.report_folder}/summary.json"
    data = store.read_bytes(path)
    if store.file_digest(path) != finished.reports["summary.json"]:
        raise IntegrityError("the run's summary was changed", where=path, do="run the audit again, or restore the file")
    return dict(json.loads(data))


def intact_tables(finished: FinishedRun, *names: str) -> dict[str, Artifact]:
    """Return the named tables, or all, every byte of which is as the run left it.

    Raises: IntegrityError naming the table that is missing or was changed.
    """
    found = {}
    for name in names or finished.folders:
        artifact = store.find(finished.folders[name]) if name in finished.folders else None
        if artifact is None or artifact.digest != finished.digests[name]:
            where = f"{finished.run}, {finished.folders.get(name, name)}"
            raise IntegrityError(
                "a table of the run is missing or was changed", where=where, do="run the audit again; it makes what is gone"
            )
        found[name] = artifact
    return found
