"""An audit on a file system that is really full, and on one that is really read-only: a small tmpfs, which only root can mount.

`python -m pytest -m acceptance -s tests/acceptance/test_disks.py`
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from pipeline.config import AuditConfig
from tests.flows.interrupting import differing, end, servers, start
from tests.flows.small_corpus import config, rows, write

pytestmark = [pytest.mark.acceptance, pytest.mark.skipif(os.geteuid() != 0, reason="mounting a file system needs root")]

ROOM = "600m"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("prefect")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    every = rows()
    return write(tmp_path_factory.mktemp("disks") / "corpus", [every[:250], every[250:]])


@pytest.fixture(scope="module")
def whole(corpus: Path, home: Path, tmp_path_factory: pytest.TempPathFactory) -> AuditConfig:
    """Audit on a disk with room."""
    undisturbed = config(tmp_path_factory.mktemp("whole"), corpus)
    code, said = end(undisturbed, start(undisturbed, "run", "never", home))
    assert code == 0, said
    return undisturbed


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={ROOM}", "tmpfs", str(place)], check=True)
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def _run(on_disk: AuditConfig, beside: Path, home: Path) -> tuple[int, str]:
    """Run an audit whose settings and words lie beside the disk; return its exit code and what it said."""
    file = beside / "audit.yaml"
    file.write_text(yaml.safe_dump(on_disk.model_dump(mode="json", exclude_unset=True)))
    command = [sys.executable, "-m", "flows.cli", "run", str(file), "--quiet"]
    with (beside / "said.txt").open("w") as out:
        done = subprocess.run(command, env={**os.environ, "PREFECT_HOME": str(home)}, stdout=out, stderr=out, check=False)
    return done.returncode, (beside / "said.txt").read_text()


def _remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True)


def _published(on_disk: AuditConfig) -> list[Path]:
    below = Path(on_disk.runtime.filtered).rglob("*")
    return [path for path in below if path.is_file() and not any(".staging" in part for part in path.parts)]


@pytest.mark.parametrize("kilobytes", [8, 200, 600, 1200])
def test_a_full_disk_is_told_and_the_same_command_goes_on(kilobytes: int, disk: Path, whole: AuditConfig, corpus: Path, home: Path) -> None:
    """Exit 2 with place and remedy, no row where readers look; with room again the same command comes to the bytes of a disk with room."""
    on_disk = config(disk / "audit", corpus)
    _remount(disk, f"size={kilobytes}k")
    code, said = _run(on_disk, disk.parent, home)
    print(f"\n{kilobytes} kB ({code}): {said.strip().splitlines()[-1][:160] if said.strip() else ''}")
    assert code == 2, said
    assert "no space left" in said
    assert str(disk) in said
    assert "same command goes on" in said
    assert "Traceback" not in said
    assert _published(on_disk) == []
    assert servers(home) == []
    _remount(disk, f"size={ROOM}")
    code, said = _run(on_disk, disk.parent, home)
    assert code == 0, said
    assert differing(whole, on_disk) == []


def test_a_read_only_disk_is_told_and_the_same_command_goes_on(disk: Path, whole: AuditConfig, corpus: Path, home: Path) -> None:
    """Exit 2 before anything is made; once the disk may be written the same command comes to the same bytes."""
    on_disk = config(disk / "audit", corpus)
    _remount(disk, "ro")
    code, said = _run(on_disk, disk.parent, home)
    print(f"\nread-only ({code}): {said.strip().splitlines()[-1][:160]}")
    assert code == 2, said
    assert "cannot be written" in said
    assert str(disk) in said
    assert "Traceback" not in said
    _remount(disk, "rw")
    code, said = _run(on_disk, disk.parent, home)
    assert code == 0, said
    assert differing(whole, on_disk) == []
