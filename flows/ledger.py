"""Find a stage's result in the ledger, or have it made: every part keyed by what it was made from.

KEY = digest of the input digests, the configuration section and the code version. A result counts only if each of its files still has
the digest recorded when it was written, so a killed run, a lost file and a changed setting lead to the same thing: the stage runs again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydantic import BaseModel

from pipeline import store
from pipeline.config import canonical_json
from pipeline.store import Artifact


@dataclass(frozen=True)
class Ledger:
    """Point at the folder (or URL) that holds the stages of all runs."""

    root: str

    def folder(self, stage: str, code: Sequence[str], section: BaseModel | None, *inputs: object) -> str:
        """Return the content-addressed folder of one stage result."""
        settings = canonical_json(section) if section is not None else ""
        key = store.digest_of(stage, settings, store.code_version(*code), list(inputs))
        return f"{self.root}/stages/{stage}/{key}"


def once(folder: str, make: Callable[[str], Artifact]) -> tuple[Artifact, bool]:
    """Return the artifact in `folder`, made now unless it already stands there whole, and whether it did."""
    found = store.find(folder)
    return (found, True) if found is not None else (make(folder), False)
