"""The command line: exit codes, messages, and answers without heavy imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def _run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "flows.cli", *arguments], capture_output=True, text=True, check=False, cwd=cwd)


def test_help_loads_nothing_heavy() -> None:
    """`--help` imports neither prefect nor torch nor polars: it answers at once."""
    code = "import sys, flows.cli; print(sorted({'prefect','torch','polars','numba','transformers'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert "audit" in _run("--help").stdout.lower()


def test_a_misspelt_setting_is_a_usage_error_that_names_the_right_one(tmp_path: Path) -> None:
    """Exit code 2, no traceback, and the nearest known key."""
    config = tmp_path / "audit.yaml"
    config.write_text("input: {paths: [x]}\ndedup: {treshold: 0.7}\n")
    done = _run("run", str(config))
    assert done.returncode == 2
    assert "did you mean threshold" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_corpus_is_an_input_error(tmp_path: Path) -> None:
    """Exit code 2 and the path that matched nothing."""
    config = tmp_path / "audit.yaml"
    config.write_text("input: {paths: [nowhere/*.parquet]}\n")
    done = _run("run", str(config), cwd=Path.cwd())
    assert done.returncode == 2
    assert "nowhere" in done.stderr


def test_init_writes_a_configuration_that_loads(tmp_path: Path) -> None:
    """`init` guesses the demo's columns, refuses to overwrite, and what it writes is valid."""
    from pipeline.config import load_config

    target = tmp_path / "audit.yaml"
    assert _run("init", "data/samples/corpus", "-o", str(target)).returncode == 0
    config = load_config(target)
    assert (config.input.text_column, config.input.id_column, config.input.source_column) == ("text", "id", "source")
    again = _run("init", "data/samples/corpus", "-o", str(target))
    assert again.returncode == 2
    assert "exists" in again.stderr


def test_verify_of_no_dataset_fails(tmp_path: Path) -> None:
    """A folder without _SUCCESS is not a release: exit code 1."""
    done = _run("verify", str(tmp_path))
    assert done.returncode == 1
    assert "_SUCCESS" in done.stderr


def test_what_cannot_be_decided_again_is_a_usage_error(tmp_path: Path) -> None:
    """A run that is not there, and a circulation that is not said: exit code 2 and what to write instead."""
    unknown = _run("apply", "nowhere", "--set", "release.policy=review", "--ledger", str(tmp_path))
    assert (unknown.returncode, "no finished run of that name; in nowhere" in unknown.stderr) == (2, True)
    unsaid = _run("report", "nowhere")
    assert (unsaid.returncode, "--excerpts" in unsaid.stderr) == (2, True)
