"""Documents name what exists, and nothing in the project speaks of the machine it was written on."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

README = Path("README.md").read_text(encoding="utf-8")


def test_the_readme_names_only_files_that_exist() -> None:
    """Every relative link and every `path/with/slash` in backticks that looks like ours is there."""
    linked = re.findall(r"\]\((?!https?:|#)([^)#]+)", README)
    named = re.findall(r"`((?:pipeline|flows|tests|data/samples|reports/(?:example|validation))/[\w./-]*)`", README)
    missing = [name for name in linked + named if not Path(name).exists()]
    assert linked
    assert not missing


def test_the_readme_names_only_commands_that_exist() -> None:
    """Every `make x` and `sinkaudit x` in the README is a real target or command."""
    from flows.cli import cli

    targets = set(re.findall(r"^([a-z]+):", Path("Makefile").read_text(encoding="utf-8"), flags=re.M))
    assert set(re.findall(r"(?:^|`)make ([a-z]+)\b", README, flags=re.M)) <= targets
    assert set(re.findall(r"(?:^|`|\$ )sinkaudit ([a-z]+)\b", README, flags=re.M)) <= set(cli.commands)


def test_no_tracked_file_names_a_machine_path() -> None:
    """Home folders, temporary folders and registry hosts belong to a machine, not to the project."""
    tracked = subprocess.run(["git", "ls-files"], capture_output=True, text=True, check=True).stdout.split()
    private = re.compile("/" + "root/|/" + "work/|/" + "opt/(?:pypi|wheels)|files\\.python" + "hosted|registry\\.npm" + "js")
    text = [path for path in tracked if Path(path).suffix in {".py", ".md", ".toml", ".yaml", ".txt", ".j2", ".json", ".html"}]
    assert [path for path in text if private.search(Path(path).read_text(encoding="utf-8", errors="replace"))] == []
