"""What an applied run is decided again from: a finished run, and what persons ordered about its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from flows.references import Named
from flows.runs import FinishedRun, read_config, read_run, read_summary
from pipeline import store
from pipeline.config import AuditConfig, InputConfig, amend_config
from pipeline.errors import ConfigError, InputError
from pipeline.places import locate
from pipeline.release.overrides import OverridesFile, check_overrides, line_up, parse_overrides
from pipeline.tables import OVERRULED
from pipeline.versions import made_by

SECTIONS = ("release", "report")
"""What may be set anew without computing anything but decisions and their report."""
STAGES = ("corpus", "dedup", "proxy", "risk")
"""Packages whose tables are taken as they are."""


@dataclass(frozen=True)
class Origin:
    """Hold the run that is decided again: its name, its summary, the references it compared with, and all that was ordered.

    files: digest, reviewer and number of overrides of each file, those that the parent was made from first. orders: as `line_up` returns
    them.
    """

    parent: str
    files: tuple[Mapping[str, Any], ...]
    orders: pl.DataFrame
    summary: Mapping[str, Any]
    references: tuple[Named, ...]
    command: str

    @property
    def digest(self) -> str:
        """Return the digest of the parent and of all orders: what an applied run's name is made from beside settings and code."""
        return store.digest_of("apply", self.parent, [file["digest"] for file in self.files])


def find_origin(run: str, overrides: Sequence[str], settings: Sequence[str], ledger: str) -> tuple[FinishedRun, AuditConfig, Origin]:
    """Return a finished run, its settings with some of `release` and `report` set anew, and what new files and its own order.

    overrides: paths or URLs of overrides files, later ones win. settings: `section.key=value`.

    Raises: InputError for a run or a file that is not there or does not fit; ConfigError for settings that would need computing, where
    nothing would change, and where other code made the run's tables.
    """
    finished = read_run(run, ledger)
    _refuse_other_code(finished)
    before = read_config(finished)
    config = amend_config(before, settings, SECTIONS)
    files = [_read_file(finished, path) for path in overrides]
    if not files and config == before:
        raise ConfigError(
            f"nothing would be decided otherwise than in {finished.run}",
            do="give --overrides FILE, or --set with a value that differs, such as --set release.policy=review",
        )
    summary = read_summary(finished)
    inherited = OVERRULED.check(store.read_frame(finished.tables("overruled")["overruled"])) if "overruled" in finished.folders else None
    described = (*finished.parents.get("overrides", []), *(file.described() for file in files))
    origin = Origin(
        finished.run,
        described,
        line_up(files, inherited),
        summary,
        _references_of(summary, config.input, finished.parents.get("completes", [])),
        _command(finished.run, overrides, settings),
    )
    return finished, config, origin


def _refuse_other_code(finished: FinishedRun) -> None:
    versions = finished.parents.get("code_versions", {})
    other = [stage for stage in STAGES if versions.get(stage) != made_by(stage)]
    if other:
        raise ConfigError(
            f"the tables of the run were made by another version of {', '.join(other)}, so they may mean something else",
            where=finished.run,
            do="run the audit again with this version, or apply with the version that made it (environment.json beside the report)",
        )


def _read_file(finished: FinishedRun, path: str) -> OverridesFile:
    filesystem, plain = locate(path)
    if not filesystem.isfile(plain):
        raise InputError("no such overrides file", where=path, do="export it from the report's page")
    file = parse_overrides(store.read_bytes(path), path)
    profiles = store.read_frame(finished.tables("profiles")["profiles"], ["doc_id", "content_hash", "row_hash"])
    try:
        check_overrides(file, finished.run, profiles, path)
    except InputError as error:
        raise _told_of_ancestor(error, finished, file) from None
    return file


def _told_of_ancestor(error: InputError, finished: FinishedRun, file: OverridesFile) -> InputError:
    """Say, where a file is for the run that this one was applied from, what to do with both files."""
    if file.run != finished.parents.get("parent"):
        return error
    do = f"apply {file.run} with all its overrides files at once, or export again from the report of {finished.run}"
    return InputError(error.what, where=error.where, wanted=error.wanted, got=error.got, do=do)


def _references_of(summary: Mapping[str, Any], section: InputConfig, completes: Sequence[str]) -> tuple[Named, ...]:
    """Return the references that the parent compared with, as its report names them; their files are not read again."""
    rows = [row for row in summary["duplication"]["references"] if row["kind"] == "run"]
    named = [Named(row["name"], row["digest"], is_completed=row["name"] in completes) for row in rows]
    files = [Named(row["name"], row["digest"], section) for row in summary["duplication"]["references"] if row["kind"] == "files"]
    return tuple(sorted((*named, *files), key=lambda reference: reference.digest))


def _command(run: str, overrides: Sequence[str], settings: Sequence[str]) -> str:
    """Return the command that makes this run, without the folders of the person who gave it."""
    names = [path.rstrip("/").rsplit("/", 1)[-1] for path in overrides]
    return " ".join((f"sinkaudit apply {run}", *(f"--overrides {name}" for name in names), *(f"--set {each}" for each in settings)))
