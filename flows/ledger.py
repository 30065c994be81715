"""Find a stage's result in the ledger, or have it made: every part keyed by what it was made from.

KEY = digest of the input digests, the configuration section and the code version. A result counts only if each of its files still has
the digest recorded when it was written, so a killed run, a lost file and a changed setting lead to the same thing: the stage runs again.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel

from flows.locks import locked
from pipeline import store
from pipeline.config import canonical_json
from pipeline.errors import StorageError
from pipeline.places import explained, is_local, locate
from pipeline.store import Artifact
from pipeline.versions import made_by

STAGES = (Path(__file__).with_name("tasks.py"),)
"""Where stages are called: what is joined and left out there is part of what they make."""


@dataclass(frozen=True)
class Ledger:
    """Point at the folder (or URL) that holds the stages of all runs, and at the one for what stages read back and remove."""

    root: str
    passing: str | None = None

    def folder(self, stage: str, code: Sequence[str], section: BaseModel | None, *inputs: object) -> str:
        """Return the content-addressed folder of one stage result."""
        settings = canonical_json(section) if section is not None else ""
        key = store.digest_of(stage, settings, made_by(*code, glue=STAGES), list(inputs))
        return f"{self.root}/stages/{stage}/{key}"

    def passing_folder(self, folder: str) -> str:
        """Return where what belongs to a stage's folder lies until it is read back and removed: there, or on this machine's own disk.

        Object stores are no place for it: it is written and read in many small pieces. What a kill leaves of it may be deleted.
        """
        if self.passing is not None:
            return f"{self.passing}/{store.digest_of(folder)}"
        return folder if is_local(locate(folder)[0]) else f"{_own_temporary_folder()}/{store.digest_of(folder)}"

    @contextmanager
    def scratch(self, folder: str) -> Iterator[str]:
        """Lend a stage that writes to a folder a place for the block, and clear it afterwards, however the block ends."""
        place = f"{self.passing_folder(folder)}/scratch"
        try:
            yield place
        finally:
            store.remove(place)


def _own_temporary_folder() -> str:
    """Return a folder below TMPDIR that nobody else may read: hashes of the corpus pass through it."""
    folder = Path(tempfile.gettempdir(), f"sinkaudit-{os.getuid()}")
    with explained(str(folder)):
        folder.mkdir(mode=0o700, exist_ok=True)
        known = folder.lstat()
    if folder.is_symlink() or known.st_uid != os.getuid() or known.st_mode & 0o077:
        raise StorageError("the temporary folder is not this user's alone", where=str(folder), do="remove it, or set runtime.scratch")
    return str(folder)


def once(folder: str, make: Callable[[str], Artifact]) -> tuple[Artifact, bool]:
    """Return the artifact in `folder`, made now unless it already stands there whole, and whether it did.

    While another process makes it, this one waits and takes what that one made.
    """
    found = store.find(folder)
    if found is not None:
        return found, True
    parent, _, name = folder.rpartition("/")
    with locked(f"{parent}/.lock-{name}", is_patient=True):
        found = store.find(folder)
        return (found, True) if found is not None else (make(folder), False)
