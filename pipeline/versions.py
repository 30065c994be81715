"""What made a result: a stage's own source, all of ours that it imports, and the versions of the libraries that compute in it.

Part of every stage's key and of every run's id: a result that other code made, or another version of a library, is not reused. The
imports are read from the source, so that no list of modules can lag behind it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from blake3 import blake3

ROOT = Path(__file__).parent
OURS = re.compile(r"^\s*from pipeline(?:\.([\w.]+))? import (\([^)]*\)|[^\n#]+)", re.MULTILINE)
THEIRS = re.compile(r"^\s*(?:from|import) (\w+)", re.MULTILINE)
PASSIVE = frozenset({"fsspec", "jinja2", "markupsafe", "pydantic", "pydantic_core", "safetensors", "threadpoolctl", "yaml", "blake3"})
"""Libraries that carry, check or draw what others computed, or compute what is the same in every version of theirs."""
DISTRIBUTIONS = {"stdnum": "python-stdnum", "sklearn": "scikit-learn"}
"""Whose name is not that of what is imported."""


@cache
def made_by(*modules: str, glue: tuple[Path, ...] = ()) -> str:
    """Return a digest of modules or packages below `pipeline`, such as `dedup` or `risk/languages`, of all that they import, and of glue.

    glue: files elsewhere that call them.
    """
    files = sources_of(modules)
    hasher = blake3()
    for file in (*files, *sorted(glue)):
        hasher.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    for name in sorted(set().union(*map(libraries_of, files))):
        hasher.update(f"{name} {_version_of(name)}\0".encode())
    return hasher.hexdigest(length=8)


def sources_of(modules: tuple[str, ...]) -> list[Path]:
    """Return the files of modules or packages and of everything of ours that they import, however far, in order of their paths."""
    found: set[Path] = set()
    waiting = [file for module in modules for file in _files_of(module)]
    while waiting:
        file = waiting.pop()
        if file not in found:
            found.add(file)
            waiting += imports_of(file)
    return sorted(found)


@cache
def imports_of(file: Path) -> tuple[Path, ...]:
    """Return the files of ours that a file imports."""
    named = (name for module, names in OURS.findall(file.read_text(encoding="utf-8")) for name in _named(module, names))
    return tuple(dict.fromkeys(path for name in named if (path := ROOT / f"{name}.py").exists()))


@cache
def libraries_of(file: Path) -> frozenset[str]:
    """Return the libraries that a file imports and that may decide what comes out."""
    found = {name for name in THEIRS.findall(file.read_text(encoding="utf-8")) if name not in sys.stdlib_module_names}
    return frozenset(found - PASSIVE - {"pipeline", "flows"})


def _named(module: str, names: str) -> Iterator[str]:
    """Yield what one import statement may name as paths below the root: the module itself, and each name in it that is a module."""
    folder = module.replace(".", "/")
    yield folder
    for name in names.strip("()").split(","):
        yield f"{folder}/{name.split(' as ')[0].strip()}".removeprefix("/")


def _files_of(module: str) -> list[Path]:
    path = ROOT / module
    return sorted(path.rglob("*.py")) if path.is_dir() else [path.with_suffix(".py")]


def _version_of(name: str) -> str:
    try:
        return version(DISTRIBUTIONS.get(name, name))
    except PackageNotFoundError:
        return "none"
