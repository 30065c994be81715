"""What made a result covers all that could change it."""

from __future__ import annotations

import sys
from pathlib import Path

import grimp
import pytest

from pipeline import versions
from pipeline.versions import PASSIVE, ROOT, libraries_of, made_by, sources_of

STAGE_CODE = (("corpus",), ("dedup",), ("proxy",), ("risk",), ("release",), ("report",), ("risk/languages",), ("release/high_risk", "rows"))


@pytest.mark.parametrize("modules", STAGE_CODE)
def test_sources_are_all_that_is_imported(modules: tuple[str, ...]) -> None:
    """As far as the import graph reaches, which another library draws."""
    graph = grimp.build_graph("pipeline", cache_dir=None)
    names = {".".join(("pipeline", *module.split("/"))) for module in modules}
    own = {module for module in graph.modules if any(module == name or module.startswith(f"{name}.") for name in names)}
    reached = own.union(*(graph.find_upstream_modules(module) for module in own))
    found = {
        ".".join(("pipeline", *file.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__") for file in sources_of(modules)
    }
    # a package's docstring decides nothing
    assert {name for name in reached if (ROOT / Path(*name.split(".")[1:])).with_suffix(".py").exists()} <= found


def test_every_library_that_computes_has_a_version() -> None:
    """Each is installed under the name it is asked for; what carries data only is listed."""
    every = {name for file in ROOT.rglob("*.py") for name in libraries_of(file)}
    assert {"numpy", "polars", "pyarrow", "torch", "numba"} <= every
    assert [name for name in sorted(every) if versions._version_of(name) == "none"] == []
    assert not every & PASSIVE
    assert not every & set(sys.stdlib_module_names)


def test_another_source_or_library_is_another_maker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of ours imported far down, of a library, of the glue; what is not imported changes nothing."""
    made_by.cache_clear()
    before = {name: made_by(name) for name in ("dedup", "risk/languages")}
    glue = tmp_path / "tasks.py"
    glue.write_text("one")
    assert made_by("dedup", glue=(glue,)) != before["dedup"]
    read = Path.read_bytes
    with monkeypatch.context() as patch:
        made_by.cache_clear()
        patch.setattr(Path, "read_bytes", lambda path: read(path) + (b"#" if path.name == "hashing.py" else b""))
        assert made_by("dedup") != before["dedup"]
        assert made_by("risk/languages") == before["risk/languages"]
    with monkeypatch.context() as patch:
        made_by.cache_clear()
        patch.setattr(versions, "_version_of", lambda name: "9" if name == "numba" else version(name))
        assert made_by("dedup") != before["dedup"]
        assert made_by("risk/languages") == before["risk/languages"]
    made_by.cache_clear()
    assert {name: made_by(name) for name in before} == before


version = versions._version_of
