"""Keys cover what stages read: every setting, all code, every input; and where stages keep what they read back."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import flows.ledger
import flows.tasks
from flows.audit import run_audit
from flows.ledger import Ledger
from flows.run import run_id_of
from pipeline import config as sections
from pipeline.config import AuditConfig, Section, parse_config
from pipeline.errors import StorageError
from pipeline.store import Artifact
from tests.flows.small_corpus import config as small_config
from tests.flows.small_corpus import rows, write

DECIDE_NOTHING = {
    # digests of the bytes speak for where they are and how they were listed
    "input.paths",
    "input.dataset",
    "input.files",
    "input.new_only",
    "reference.paths",
    "reference.runs",
}
"""Beside all of runtime (where results go, and how many make them) and validation (which comes after an audit)."""


def _leaves(section: BaseModel, path: str = "") -> Iterator[str]:
    for name in type(section).model_fields:
        value = getattr(section, name)
        yield from _leaves(value, f"{path}{name}.") if isinstance(value, BaseModel) else (f"{path}{name}",)


def _changed(section: Any, path: str) -> Any:
    name, _, rest = path.partition(".")
    value = _changed(getattr(section, name), rest) if rest else f"other than {getattr(section, name)!r}"
    return section.model_copy(update={name: value})


CONFIG = parse_config({"input": {"paths": ["corpus"]}})


@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize("path", [path for path in _leaves(CONFIG) if path.partition(".")[0] not in ("runtime", "validation")])
def test_every_setting_renames_the_run_or_decides_nothing(path: str) -> None:
    """Change one and the run's id is another, unless it is listed as deciding nothing."""
    before, after = (run_id_of(config, "input") for config in (CONFIG, _changed(CONFIG, path)))
    assert (before == after) == (path in DECIDE_NOTHING)


def test_the_input_references_and_ended_waivers_rename_the_run() -> None:
    """What is no setting: bytes of files and of references, and the days that waivers ended on."""
    ids = {run_id_of(CONFIG, "a"), run_id_of(CONFIG, "b"), run_id_of(CONFIG, "a", ["r"]), run_id_of(CONFIG, "a", [], ["gate"])}
    assert len(ids) == 4


EXTRA = {
    # of what is written while documents are read, each table has its own key
    "documents": {"DedupConfig.*"},
    "sink_scores": {"AuditConfig.seed", "ProxyConfig.suffix_tokens", "DedupConfig.find_spans"},
    "sensitive_patterns": {"ReportConfig.sensitive_rows", "ReportConfig.max_sensitive_rows", "ReportConfig.phone_region"},
}
"""Settings that stand in a stage's key beside its section."""


def _fields_below(kind: type[BaseModel]) -> set[str]:
    """Return every setting of a section and of the sections in it."""
    found = {f"{kind.__name__}.{name}" for name in kind.model_fields}
    for field in kind.model_fields.values():
        named = [one for one in vars(sections).values() if isinstance(one, type) and one.__name__ in repr(field.annotation)]
        for one in named:
            found |= _fields_below(one) if issubclass(one, Section) and one is not kind else set()
    return found


class _Trace:
    """Note which stage's key has which section, and which settings a stage reads while it is made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.keyed: dict[str, set[str]] = defaultdict(set)
        self.read: dict[str, set[str]] = defaultdict(set)
        self._stages: list[str] = []
        self._lock = threading.Lock()
        monkeypatch.setattr(Ledger, "folder", self._folder(Ledger.folder))
        monkeypatch.setattr(flows.tasks, "once", self._once(flows.ledger.once))
        monkeypatch.setattr(Section, "__getattribute__", self._reading(), raising=False)

    def _folder(self, folder: Callable[..., str]) -> Callable[..., str]:
        def recording(ledger: Ledger, stage: str, code: Any, section: BaseModel | None, *inputs: object) -> str:
            self.keyed[stage] |= _fields_below(type(section)) if section is not None else set()
            return folder(ledger, stage, code, section, *inputs)

        return recording

    def _once(self, once: Callable[..., tuple[Artifact, bool]]) -> Callable[..., tuple[Artifact, bool]]:
        def recording(folder: str, make: Callable[[str], Artifact]) -> tuple[Artifact, bool]:
            def made(out: str) -> Artifact:
                stage = out.split("/stages/")[1].split("/")[0]
                with self._lock:
                    self._stages.append(stage)
                try:
                    return make(out)
                finally:
                    with self._lock:
                        self._stages.remove(stage)

            return once(folder, made)

        return recording

    def _reading(self) -> Callable[[Any, str], Any]:
        def recording(section: Any, name: str) -> Any:
            value = BaseModel.__getattribute__(section, name)
            # of a section within, only what is read of it counts
            if self._stages and name in type(section).model_fields and not isinstance(value, Section):
                self.read[self._stages[-1]].add(f"{type(section).__name__}.{name}")
            return value

        return recording


@pytest.mark.usefixtures("prefect_server")
def test_no_stage_reads_a_setting_that_its_key_lacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole audit with every read of a setting noted; proxies' processes are given one section, which is in their key whole."""
    every = rows()
    audit: AuditConfig = small_config(tmp_path, write(tmp_path / "corpus", [every[:200], every[200:]]))
    with monkeypatch.context() as patch:
        trace = _Trace(patch)
        run_audit(audit, quiet=True)
    assert len(trace.read) >= 8
    for stage, settings in trace.read.items():
        allowed = trace.keyed[stage] | EXTRA.get(stage, set())
        lacking = {each for each in settings if each not in allowed and f"{each.partition('.')[0]}.*" not in allowed}
        assert not lacking, f"{stage} reads {sorted(lacking)}"


def test_what_is_read_back_lies_in_a_local_ledger_or_on_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside the stage, or below TMPDIR for nobody else, or where the user says; cleared even when the stage fails."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    local, remote = f"{tmp_path}/ledger/stages/x", "s3://bucket/ledger/stages/x"
    assert Ledger("l").passing_folder(local) == local
    there = Path(Ledger("l").passing_folder(remote))
    assert there.parent.parent == tmp_path
    assert there.parent.stat().st_mode & 0o777 == 0o700
    assert Ledger("l", "/shared").passing_folder(remote) == f"/shared/{there.name}"
    with pytest.raises(RuntimeError, match="half way"):
        _fail_half_way(Ledger("l"), local)
    assert not Path(local, "scratch").exists()
    there.parent.chmod(0o777)
    with pytest.raises(StorageError, match=r"not this user's alone.*runtime\.scratch"):
        Ledger("l").passing_folder(remote)


def _fail_half_way(ledger: Ledger, folder: str) -> None:
    with ledger.scratch(folder) as place:
        Path(place).mkdir(parents=True)
        raise RuntimeError("half way")
