"""Publish a release whole or not at all, and prove later that not one byte of it has changed.

Write, audit, publish: everything is written to a staging folder beside the place where it will be seen. `manifest.json` names every
file with rows, bytes and digest, and the parents it came from; `_SUCCESS`, written last, holds the manifest's own digest. Only a
release whose verdict is not FAIL is given `_SUCCESS` and moved. On a local disk the move is one rename. An object store has none, so
there the order of writes decides: the store copies data, then the manifest; every byte is read back; only then `_SUCCESS` appears.
Until it stands, a folder is not a release, and `verify_release` says so. Who loads without asking it may see a part.

The parents' `documents_digest` is of the texts that came in; where `spans` counts trimmed rows, the texts in the files are not those.

No clock and no machine name enters: the same parents give the same manifest, waivers that were in force included.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Literal

from pipeline.errors import IntegrityError
from pipeline.places import explained, is_local, locate
from pipeline.release.croissant import CROISSANT
from pipeline.release.filtering import FilteredData
from pipeline.release.gate import Gate, Verdict, verdict_of
from pipeline.release.waivers import verdict_on
from pipeline.store import Part, file_digest, read_bytes, remove, write_bytes

CARD, MANIFEST, SUCCESS = "README.md", "manifest.json", "_SUCCESS"
FORMAT = 1
DIGEST = "blake3-128"

Requirement = Literal["pass", "warn", "any"]
ALLOWED: Mapping[Requirement, tuple[Verdict, ...]] = {"pass": ("PASS",), "warn": ("PASS", "WARN"), "any": ("PASS", "WARN", "FAIL")}


@dataclass(frozen=True)
class Manifest:
    """Describe a release: its files (paths under its folder), what it came from, how it was judged, what was done to repeated spans."""

    name: str
    verdict: Verdict
    files: tuple[Part, ...]
    parents: Mapping[str, Any]
    gates: tuple[Mapping[str, Any], ...]
    spans: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the manifest as JSON with sorted keys."""
        described = {"format": FORMAT, "digest": DIGEST, "name": self.name, "verdict": self.verdict, "parents": self.parents}
        described["spans"] = self.spans
        files = [asdict(part) for part in self.files]
        return json.dumps({**described, "files": files, "gates": self.gates}, indent=1, sort_keys=True, allow_nan=False) + "\n"


@dataclass(frozen=True)
class VerifyResult:
    """Tell what was verified: the release's manifest, and how many files and rows it holds."""

    folder: str
    manifest: Manifest
    num_files: int
    num_rows: int


def staging_folder(release: str) -> str:
    """Return the folder in which a release is prepared: `NAME/.staging-RUN` for `NAME/RUN`."""
    parent, _, run = release.rstrip("/").rpartition("/")
    return f"{parent}/.staging-{run}" if parent else f".staging-{run}"


def clear_staging(staging: str) -> None:
    """Remove what an interrupted run left in a staging folder.

    Raises: IntegrityError when the folder is not named as a staging folder.
    """
    if not staging.rstrip("/").rsplit("/", 1)[-1].startswith(".staging-"):
        raise IntegrityError("refusing to clear a folder that is not a staging folder", where=staging, wanted="a name such as .staging-RUN")
    remove(staging)


def seal(
    filtered: FilteredData, name: str, card: str, gates: Sequence[Gate], parents: Mapping[str, Any], croissant: str | None = None
) -> Manifest:
    """Write the card, croissant.json and the manifest beside the shards in staging and, unless a gate failed, `_SUCCESS` last.

    parents: small JSON values, by convention `input_digest, config_digest, decisions_digest, references` (digests of what was compared
    with and is not in here), `code_versions, seeds, minhash_scheme`.
    """
    staging = filtered.folder
    described = {CARD: card, **({} if croissant is None else {CROISSANT: croissant})}
    files = (*(write_bytes(f"{staging}/{path}", text.encode()) for path, text in described.items()), *filtered.shards)
    ordered = tuple(sorted(files, key=lambda part: part.path))
    manifest = Manifest(name, verdict_of(gates), ordered, dict(parents), tuple(gate.to_dict() for gate in gates), asdict(filtered.spans))
    written = write_bytes(f"{staging}/{MANIFEST}", manifest.to_json().encode())
    if manifest.verdict != "FAIL":
        write_bytes(f"{staging}/{SUCCESS}", f"{written.digest}\n".encode())
    return manifest


def publish_release(staging: str, release: str) -> VerifyResult:
    """Make a sealed staging folder visible as `release`; an equal release that already stands there is left as it is.

    Raises: IntegrityError when staging is not whole, its verdict is FAIL, or other data stands at `release`: a published dataset is
    never rewritten.
    """
    filesystem, plain = locate(release)
    if filesystem.exists(f"{plain}/{SUCCESS}"):
        _refuse_other_release(staging, release)
        clear_staging(staging)
        return verify_release(release, "warn")
    if not is_local(filesystem):
        return _copy(staging, release)
    verify_release(staging, "warn")
    with explained(release):
        _rename(Path(locate(staging)[1]), Path(plain))
    return verify_release(release, "warn")


def reveal(staging: str, place: str, files: Sequence[Part]) -> None:
    """Make files in staging visible as `place` without judging them: by one rename, or object by object with `_SUCCESS` last.

    What stands there is replaced: it is of the same name, so of the same making, and whoever calls this found it damaged or half-copied.
    """
    remove(place)
    seal = "".join(f"{part.digest} {part.path}\n" for part in files).encode()
    filesystem, plain = locate(place)
    if is_local(filesystem):
        write_bytes(f"{staging}/{SUCCESS}", seal)
        with explained(place):
            _rename(Path(locate(staging)[1]), Path(plain))
        return
    with explained(place):
        for part in files:
            filesystem.cp_file(f"{locate(staging)[1]}/{part.path}", f"{plain}/{part.path}")
    write_bytes(f"{place}/{SUCCESS}", seal)
    clear_staging(staging)


def verify_release(folder: str, require: Requirement = "pass", today: date | None = None) -> VerifyResult:
    """Read every byte of a release and return its manifest if all is as it was published and judged well enough.

    A waived gate lowers no verdict. today: the day on which the waivers that the verdict rests on must still be in force; None: that of
    the release, as it was judged.

    Raises: IntegrityError naming each file that is missing, surplus or changed, or the verdict that is not good enough.
    """
    manifest = _sealed(folder)
    _refuse_faults(folder, manifest)
    _refuse_verdict(folder, manifest, require, today)
    return VerifyResult(folder, manifest, len(manifest.files) + 2, sum(part.num_rows for part in manifest.files))


def read_manifest(folder: str) -> Manifest:
    """Read a release's manifest without checking its files.

    Raises: IntegrityError when it is missing or was written by another version.
    """
    raw = json.loads(read_bytes(f"{folder}/{MANIFEST}"))
    if raw.get("format") != FORMAT or raw.get("digest") != DIGEST:
        raise IntegrityError(
            "the manifest has another format", where=folder, wanted=f"{FORMAT}, {DIGEST}", got=f"{raw.get('format')}, {raw.get('digest')}"
        )
    files = tuple(Part(**part) for part in raw["files"])
    return Manifest(raw["name"], raw["verdict"], files, raw["parents"], tuple(raw["gates"]), raw.get("spans", {}))


def _sealed(folder: str) -> Manifest:
    """Return the manifest of a folder whose `_SUCCESS` holds its digest."""
    filesystem, plain = locate(folder)
    with explained(folder, "read"):
        if not filesystem.exists(f"{plain}/{SUCCESS}"):
            do = "publish it again, and use nothing of it"
            raise IntegrityError("this is not a whole release: _SUCCESS is missing", where=folder, do=do)
    if read_bytes(f"{folder}/{SUCCESS}") != f"{_digest_if_there(folder, MANIFEST)}\n".encode():
        raise IntegrityError(
            f"{MANIFEST} and {SUCCESS} do not belong together: one is missing or has changed", where=folder, do="publish it again"
        )
    return read_manifest(folder)


def _refuse_faults(folder: str, manifest: Manifest) -> None:
    faults = _faults(folder, manifest)
    if faults:
        raise IntegrityError(f"{len(faults)} file(s) are not as published: {'; '.join(faults)}", where=folder, do="publish it again")


def _refuse_verdict(folder: str, manifest: Manifest, require: Requirement, today: date | None) -> None:
    if manifest.verdict not in ALLOWED[require]:
        raise IntegrityError("the release's verdict is not good enough", where=folder, wanted=require.upper(), got=manifest.verdict)
    verdict, past = verdict_on(manifest.gates, today) if today is not None else (manifest.verdict, [])
    if verdict not in ALLOWED[require]:
        raise IntegrityError(
            f"the verdict {manifest.verdict} rests on {len(past)} waiver(s) that are past their last day: {'; '.join(past)}",
            where=folder,
            wanted=require.upper(),
            got=f"{verdict} on {today}",
            do="run the audit again with a new waiver or without what exceeds the gate",
        )


def _faults(folder: str, manifest: Manifest) -> list[str]:
    wanted = {part.path: part for part in manifest.files}
    present = set(_paths_under(folder)) - {MANIFEST, SUCCESS}
    faults = [f"{path} is missing" for path in sorted(wanted.keys() - present)]
    faults += [f"{path} is surplus" for path in sorted(present - wanted.keys())]
    for path in sorted(wanted.keys() & present):
        got = _digest_if_there(folder, path)
        if got != wanted[path].digest:
            faults.append(f"{path} has changed (wanted digest {wanted[path].digest}, got {got})")
    return faults


def _paths_under(folder: str) -> Iterable[str]:
    filesystem, plain = locate(folder)
    root = plain.rstrip("/") + "/"
    return (re.sub(f"^{re.escape(root)}", "", path) for path in filesystem.find(plain))


def _digest_if_there(folder: str, path: str) -> str | None:
    filesystem, plain = locate(f"{folder}/{path}")
    return file_digest(f"{folder}/{path}") if filesystem.exists(plain) else None


def _refuse_other_release(staging: str, release: str) -> None:
    standing = verify_release(release, "any").manifest
    if standing != read_manifest(staging):
        raise IntegrityError(
            "another release already stands here", where=release, do="choose another name; published data is never rewritten"
        )


def _rename(staging: Path, release: Path) -> None:
    if release.exists():
        raise IntegrityError("something that is no release stands here", where=str(release), do="move it away and publish again")
    release.parent.mkdir(parents=True, exist_ok=True)
    staging.replace(release)


def _copy(staging: str, release: str) -> VerifyResult:
    """Copy object by object, within the store; a copy that was cut short is overwritten by the next."""
    manifest = _sealed(staging)
    _refuse_verdict(staging, manifest, "warn", None)
    filesystem, plain = locate(release)
    source = locate(staging)[1]
    with explained(release):
        for path in (*(part.path for part in manifest.files), MANIFEST):
            filesystem.cp_file(f"{source}/{path}", f"{plain}/{path}")
    # of the copies, since they are what is published; of the manifest it proves the same that comes with _SUCCESS
    _refuse_faults(release, manifest)
    write_bytes(f"{release}/{SUCCESS}", read_bytes(f"{staging}/{SUCCESS}"))
    clear_staging(staging)
    return VerifyResult(release, _sealed(release), len(manifest.files) + 2, sum(part.num_rows for part in manifest.files))
