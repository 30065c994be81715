"""Read the file in which one reviewer overrules decisions of one run, and line up what several such files order.

The report's page exports it:

    {"format": "sinkaudit-overrides", "version": 1, "run": RUN, "reviewer": NAME,
     "overrides": [{"doc_id": 12, "content_hash": HEX, "row_hash": HEX, "action": "keep" | "drop" | "review", "note": TEXT}, ...]}

It comes by mail and may have been edited, so nothing in it is taken on trust: ids count only together with both hashes of the row, and
characters that could hide or turn round what is written are spelled out. Of several files about one document the last given holds.
"""

from __future__ import annotations

import json
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import polars as pl
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from pipeline.errors import InputError
from pipeline.store import digest_of
from pipeline.tables import Overruled

FORMAT, VERSION = "sinkaudit-overrides", 1
MAX_BYTES = 64 * 2**20
MAX_OVERRIDES = 100_000
MAX_FAULTS = 5
ORDERS = {"doc_id": pl.Int64, "number": pl.Int64, "action": pl.String, "reviewer": pl.String, "note": pl.String}
"""Columns of what was ordered, one row a document and file: `number` is the file's place, and the highest about a document holds."""


def harmless(text: object) -> object:
    """Return text on one line in which every control, direction or unassigned character is spelled out, blanks joined and trimmed."""
    if not isinstance(text, str):
        return text
    return " ".join("".join(_spelled(letter) for letter in text).split())


def _spelled(letter: str) -> str:
    if letter.isspace():
        return " "
    return f"⟨U+{ord(letter):04X}⟩" if unicodedata.category(letter)[0] == "C" else letter


Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Reviewer = Annotated[str, Field(min_length=1, max_length=120), BeforeValidator(harmless)]
Note = Annotated[str, Field(max_length=1_000), BeforeValidator(harmless)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Override(_Strict):
    """Hold what a reviewer wants done with one document."""

    doc_id: int = Field(ge=0, lt=2**63)
    content_hash: Hash
    row_hash: Hash
    action: Literal["keep", "drop", "review"]
    note: Note


class OverridesFile(_Strict):
    """Hold one reviewer's overrides of one run."""

    format: Literal["sinkaudit-overrides"]
    version: Literal[1]
    run: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,199}$")
    reviewer: Reviewer
    overrides: list[Override] = Field(min_length=1, max_length=MAX_OVERRIDES)

    @property
    def digest(self) -> str:
        """Return the digest of what is ordered; neither layout nor the order of rows is part of it."""
        rows = sorted(self.overrides, key=lambda row: row.doc_id)
        return digest_of(self.format, self.version, self.run, self.reviewer, [row.model_dump() for row in rows])

    def described(self) -> dict[str, Any]:
        """Return the file as manifest and report name it."""
        return {"digest": self.digest, "reviewer": self.reviewer, "num_overrides": len(self.overrides)}


def parse_overrides(data: bytes, where: str) -> OverridesFile:
    """Return a file's content, or say all that is wrong with it.

    Raises: InputError naming the file and each fault; texts in it are not repeated.
    """
    if len(data) > MAX_BYTES:
        raise InputError("the overrides file is too large", where=where, wanted=f"at most {MAX_BYTES:,} bytes", got=f"{len(data):,}")
    try:
        raw = json.loads(data.decode("utf-8-sig"), object_pairs_hook=_unique_keys)
        found = OverridesFile.model_validate(raw)
    except ValidationError as error:
        told = [_told(fault) for fault in error.errors()[:MAX_FAULTS]]
        told += [f"and {error.error_count() - MAX_FAULTS} more"] if error.error_count() > MAX_FAULTS else []
        raise InputError(f"the overrides file has {error.error_count()} fault(s): {'; '.join(told)}", where=where, do=_EXPORT) from None
    except (ValueError, RecursionError) as error:
        kind = str(error) if isinstance(error, _TwiceError) else type(error).__name__
        raise InputError("the overrides file is not readable JSON", where=where, got=kind, do=_EXPORT) from None
    twice = [doc_id for doc_id, count in Counter(row.doc_id for row in found.overrides).items() if count > 1]
    if twice:
        raise InputError(
            f"{len(twice)} document(s) are named twice", where=f"{where}, doc_id {min(twice)}", wanted="one override a document in a file"
        )
    return found


def check_overrides(file: OverridesFile, run: str, ids: pl.DataFrame, where: str) -> None:
    """Return if a file is about this run and names its rows.

    ids: one row a document with `doc_id, content_hash, row_hash`.

    Raises: InputError naming the right run, the first unknown document, or the first whose hashes are not the row's.
    """
    if file.run != run:
        wanted = f"overrides of {run}"
        raise InputError(
            "the overrides are for another run", where=where, wanted=wanted, got=file.run, do=f"give them to sinkaudit apply {file.run}"
        )
    hashes = [(row.doc_id, bytes.fromhex(row.content_hash), bytes.fromhex(row.row_hash)) for row in file.overrides]
    named = pl.DataFrame(hashes, schema={"doc_id": pl.Int64, "content": pl.Binary, "row": pl.Binary}, orient="row")
    found = named.join(ids.select("doc_id", "content_hash", "row_hash"), on="doc_id", how="left").sort("doc_id")
    unknown = found.filter(pl.col("row_hash").is_null())
    if unknown.height:
        raise InputError(
            f"{unknown.height} override(s) name a document that the run does not have",
            where=f"{where}, doc_id {unknown['doc_id'][0]}",
            wanted=f"one of the {ids.height:,} documents of {run}",
        )
    other = found.filter((pl.col("content") != pl.col("content_hash")) | (pl.col("row") != pl.col("row_hash")))
    if other.height:
        first = other.row(0, named=True)
        name = "content_hash" if first["content"] != first["content_hash"] else "row_hash"
        raise InputError(
            f"{other.height} override(s) are about rows that differ from the run's",
            where=f"{where}, doc_id {first['doc_id']}",
            wanted=f"{name} {first[name].hex()}",
            got=first["content" if name == "content_hash" else "row"].hex(),
            do=f"export the overrides again from the report of {run}",
        )


def line_up(files: Sequence[OverridesFile], inherited: Overruled | None = None) -> pl.DataFrame:
    """Return all that is ordered, columns as in `ORDERS`, by document and number: what the parent run inherits first, then file by file."""
    known = pl.DataFrame(schema=ORDERS)
    if inherited is not None:
        known = inherited.filter(pl.col("followed_doc_id").is_null()).select(*ORDERS)
    first = max(known["number"].to_list(), default=-1) + 1
    rows = [(row.doc_id, number, row.action, file.reviewer, row.note) for number, file in enumerate(files, first) for row in file.overrides]
    return pl.concat([known, pl.DataFrame(rows, schema=ORDERS, orient="row")]).sort("doc_id", "number")


_EXPORT = "export it again from the report's page, or compare it with the README"


class _TwiceError(ValueError):
    """A key stands twice in one JSON object, so nobody can say which value was meant."""


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise _TwiceError("a key that stands twice in one object")
    return found


def _told(fault: Any) -> str:
    """Say one fault; only short values of our own vocabulary are repeated, a note or a name never is."""
    place, value = ".".join(str(part) for part in fault["loc"]), fault["input"]
    is_ours = fault["loc"][-1] in ("action", "format", "version") if fault["loc"] else False
    got = f" (got {harmless(value)!r:.40})" if is_ours and isinstance(value, str | int) else ""
    return f"{harmless(place)!s:.80}: {fault['msg']}{got}"
