"""Which files an audit reads, in one order whatever order they were listed in.

Files are sorted by path and each is read once. A symbolic link to a file is a path like any other, so a file reached under two names
is two documents (exact duplicates, for the audit to find); linked folders are entered only where a glob without `**` names them, so no
loop can be walked. Names that begin with `.` or `_` are left out of folders and globs. In format `auto`, text files beside data files
are taken for their description (README, LICENSE) and left out, and so is a .json file that does not hold an object a line, and a file
without suffix that is not text. What is left out is counted by reason.
"""

from __future__ import annotations

import glob
import json
import os
import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import Any

from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import glob_translate

from pipeline.config import InputConfig
from pipeline.corpus.files import FORMATS, InputFile, is_binary, is_json_lines, size_of, split_name
from pipeline.errors import InputError, StorageError
from pipeline.places import explained, locate

DESCRIPTIONS = ("dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json")  # of Hugging Face folders, not data
Skipped = defaultdict[str, set[str]]  # paths left out, by reason


@dataclass(frozen=True)
class Listing:
    """Hold the files to read, sorted by path, and how many were left out for which reason."""

    files: tuple[InputFile, ...]
    skipped: Mapping[str, int]


@dataclass(frozen=True)
class _Found:
    path: str
    is_named: bool  # listed by the user rather than met in a folder or glob
    format: str | None = None  # known without looking at the name


def find_files(config: InputConfig) -> list[InputFile]:
    """Return the files of `input.paths`, sorted by path, each once.

    Raises: InputError for an entry that matches nothing, a file of unknown format and an empty data file.
    """
    return list(list_files(config).files)


def list_files(config: InputConfig) -> Listing:
    """Return the files of `input.paths` and what was left out.

    Raises: as `find_files`.
    """
    skipped: Skipped = defaultdict(set)
    found: dict[str, _Found] = {}
    for entry in sorted(set(config.paths) or {config.dataset or ""}):
        with explained(entry, "read"):
            matches = _expand(entry, config, skipped)
        if not matches:
            raise InputError("nothing to read", where=entry, wanted="at least one file", do="check the path or glob in input.paths")
        for match in matches:
            if match.path not in found or match.is_named:
                found[match.path] = match
    chosen = _choose([found[path] for path in sorted(found)], config, skipped)
    if not chosen:
        raise InputError(
            "none of the files found is in a format that can be read",
            where=", ".join(config.paths),
            wanted=", ".join(suffix for suffix in FORMATS if suffix),
            got=", ".join(sorted({PurePosixPath(path).suffix or "no suffix" for path in found})[:8]),
            do="set input.format",
        )
    root = _common_root([path for path, _, _ in chosen])
    files = tuple(
        InputFile(path, _printable(path[len(root) :].lstrip("/")), kind, compression, size_of(path)) for path, kind, compression in chosen
    )
    # before any is left out: a source does not depend on which neighbours are read this time
    files = _only(_with_sources(files, _printable(root.rsplit("/", 1)[-1])), config.files)
    _refuse_empty(files)
    return Listing(files, {reason: len(skipped[reason]) for reason in sorted(skipped)})


def is_saved_dataset(path: str) -> bool:
    """Say whether a folder was written by `datasets`' save_to_disk."""
    filesystem, plain = locate(path)
    return any(filesystem.exists(f"{plain}/{name}") for name in ("state.json", "dataset_dict.json"))


def _expand(entry: str, config: InputConfig, skipped: Skipped) -> list[_Found]:
    try:
        filesystem, plain = locate(str(Path(entry).expanduser()) if "://" not in entry else entry)
        if isinstance(filesystem, LocalFileSystem):
            plain = os.path.abspath(plain)  # noqa: PTH100  resolve() would follow links, and a link is a path of its own
        if filesystem.isfile(plain):
            return [_Found(_full(filesystem, plain), is_named=True)]
        if filesystem.isdir(plain):
            return _expand_folder(filesystem, plain.rstrip("/") or "/", config, skipped)
        if glob.has_magic(plain):
            return _expand_glob(filesystem, plain, skipped)
    except (OSError, ValueError, StorageError) as error:
        got = error.got if isinstance(error, StorageError) else str(error)
        raise InputError("the input cannot be listed", where=entry, got=got, do="check the path, the URL and your access") from error
    raise InputError("no such file or folder", where=entry, do="check input.paths; a relative path starts at the working directory")


def _expand_folder(filesystem: Any, folder: str, config: InputConfig, skipped: Skipped) -> list[_Found]:
    if is_saved_dataset(_full(filesystem, folder)):
        return _saved_dataset(filesystem, folder, config.split)
    if config.format == "dataset":
        raise InputError(
            "not a folder written by save_to_disk",
            where=folder,
            wanted="state.json or dataset_dict.json in it",
            do="leave input.format at auto, or load the folder with input.dataset",
        )
    return [_Found(_full(filesystem, path), is_named=False) for path in _walk(filesystem, folder, skipped)]


def _saved_dataset(filesystem: Any, folder: str, split: str) -> list[_Found]:
    if filesystem.exists(f"{folder}/dataset_dict.json"):
        splits = json.loads(filesystem.cat_file(f"{folder}/dataset_dict.json"))["splits"]
        if split not in splits:
            raise InputError("no such split", where=folder, wanted=f"one of {', '.join(splits)}", got=split, do="set input.split")
        folder = f"{folder}/{split}"
    state = json.loads(filesystem.cat_file(f"{folder}/state.json"))
    names = [shard["filename"] for shard in state["_data_files"]]
    return [_Found(_full(filesystem, f"{folder}/{name}"), is_named=False, format="arrow") for name in names]


def _expand_glob(filesystem: Any, pattern: str, skipped: Skipped) -> list[_Found]:
    if not isinstance(filesystem, LocalFileSystem):
        paths = [path for path in filesystem.glob(pattern) if not _is_hidden(path.rsplit("/", 1)[-1]) and filesystem.isfile(path)]
    elif "**" in pattern:
        fixed = re.split(r"/[^/]*[*?\[]", pattern)[0] or "/"
        wanted = re.compile(glob_translate(pattern))
        paths = [path for path in _walk(filesystem, fixed, skipped) if wanted.match(path)]
    else:
        # the module, not Path.glob: it takes absolute patterns and enters linked folders
        matches = [path for path in glob.iglob(pattern) if not _is_hidden(Path(path).name)]  # noqa: PTH207
        paths = [path for path in matches if not Path(path).is_dir() and _is_readable(path, skipped)]
        paths += [inner for path in matches if Path(path).is_dir() for inner in _walk(filesystem, path, skipped)]
    return [_Found(_full(filesystem, path), is_named=False) for path in paths]


def _walk(filesystem: Any, folder: str, skipped: Skipped) -> list[str]:
    """Return every file below a folder, hidden names left out; linked folders are not entered."""
    if not isinstance(filesystem, LocalFileSystem):
        paths = [path for path in filesystem.find(folder) if not any(_is_hidden(name) for name in path[len(folder) :].split("/"))]
    else:
        paths = []
        for here, folders, names in os.walk(folder, onerror=_raise):
            folders[:] = [name for name in folders if not _is_hidden(name)]
            visible = [str(Path(here, name)) for name in names if not _is_hidden(name)]
            paths += [path for path in visible if _is_readable(path, skipped)]
    saved = {path.rsplit("/", 1)[0] for path in paths if path.endswith("/state.json")}
    return [path for path in paths if not (path.rsplit("/", 1)[0] in saved and re.search(r"/cache-[^/]*\.arrow$", path))]


def _raise(error: OSError) -> None:
    raise error


def _is_hidden(name: str) -> bool:
    return name.startswith((".", "_"))


def _is_readable(path: str, skipped: Skipped) -> bool:
    if Path(path).is_file():
        return True
    skipped["broken_link" if Path(path).is_symlink() else "special_file"].add(path)
    return False


def _choose(found: list[_Found], config: InputConfig, skipped: Skipped) -> list[tuple[str, str, str | None]]:
    """Return path, format and compression of the files to read."""
    read = [(match, *_format_of(match, config)) for match in found]
    is_auto = config.format in ("auto", "dataset")
    if not is_auto and not any(kind == config.format for _, kind, _ in read):
        read = [(match, config.format, compression) for match, _, compression in read]
    has_data = any(kind not in (None, "text") for _, kind, _ in read)
    chosen = []
    for match, kind, compression in read:
        reason = None
        if kind is None or not (is_auto or kind == config.format):
            reason = "other_format"
        elif is_auto and kind == "text" and not match.is_named:
            reason = "text_beside_data" if has_data else "binary" if is_binary(match.path, compression) else None
        if reason is None and kind is not None:
            chosen.append((match.path, kind, compression))
        elif reason is not None:
            skipped[reason].add(match.path)
    return chosen


def _format_of(match: _Found, config: InputConfig) -> tuple[str | None, str | None]:
    kind, compression = split_name(match.path)
    if match.format is not None:
        return match.format, None
    if config.format == "text" or (match.is_named and config.format not in ("auto", "dataset")):
        return config.format, compression
    if match.is_named and kind is None:
        raise InputError("the file's format is unknown from its name", where=match.path, do="set input.format, for example to text")
    if not match.is_named and _is_json_document(match.path, compression):
        return None, compression
    return kind, compression


def _is_json_document(path: str, compression: str | None) -> bool:
    name = path.rsplit("/", 1)[-1].lower()
    return name in DESCRIPTIONS or (".json" in PurePosixPath(name).suffixes[-2:] and not is_json_lines(path, compression))


def _full(filesystem: Any, plain: str) -> str:
    return str(plain) if isinstance(filesystem, LocalFileSystem) else str(filesystem.unstrip_protocol(plain))


def _common_root(paths: list[str]) -> str:
    folders = [path.split("/")[:-1] for path in paths]
    return "/".join(names[0] for names in takewhile(lambda names: len(set(names)) == 1, zip(*folders, strict=False)))


def _printable(name: str) -> str:
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _with_sources(files: tuple[InputFile, ...], root: str) -> tuple[InputFile, ...]:
    """Give each text file its source: its first folder below the common root.

    Where every folder holds one document only (as in `/usr/share/doc/*/copyright`), folders are ids, not sources: all take the root's name.
    """
    root = root or "text"
    folders = Counter(file.name.split("/")[0] for file in files if file.format == "text" and "/" in file.name)
    are_ids = max(folders.values(), default=0) <= 1
    return tuple(
        replace(file, source=file.name.split("/")[0] if "/" in file.name and not are_ids else root) if file.format == "text" else file
        for file in files
    )


def _only(files: tuple[InputFile, ...], names: tuple[str, ...]) -> tuple[InputFile, ...]:
    """Return the named files, or all where none is named; each keeps the name that it has among all."""
    if missing := sorted(set(names) - {file.name for file in files}):
        raise InputError(
            f"{len(missing)} of the files to be read are not among those found, first {missing[0]}",
            where="input.files",
            wanted="names from the folder that all files of input.paths share",
            got=", ".join(file.name for file in files[:3]) + (" ..." if len(files) > 3 else ""),
            do="restore the files, or leave input.files out",
        )
    return tuple(file for file in files if not names or file.name in names)


def _refuse_empty(files: tuple[InputFile, ...]) -> None:
    for file in files:
        if file.format != "text" and file.num_bytes == 0:
            raise InputError("the file is empty", where=file.path, wanted=f"{file.format} data", got="0 bytes", do="restore or remove it")
