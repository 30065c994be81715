"""Nothing of the corpus gets into logs, the summary or Prefect's storage, whether a run ends well or badly.

Decided is what may show where; all else must not:

                     log.jsonl   summary.json   Prefect: parameters, artifacts, events   Prefect: states, logs; stderr
    text, values     no          no             no                                       no
    ids of rows      no          samples        no                                       no
    source names     no          yes            no                                       in the error of a guard that stops a run
    column names     no          yes            as the configuration names them          in errors about a column
    paths            no          yes            as the configuration names them          in errors about a file

The report's page and tables, `sinkaudit explain` and the filtered data are about rows, and show them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from pipeline.config import AuditConfig, parse_config
from tests.flows.small_corpus import config as small_config
from tests.flows.small_corpus import rows

TEXT, VALUE, ID, SOURCE, COLUMN, NAMED = "zanzibarword", "quaggavalue", "okapiid", "numbatsource", "narwhalcolumn", "axolotltext"

DRIVER = f'''
import sys
from unittest import mock

def run(*arguments):
    """Run the command line in this process, which keeps its Prefect server."""
    from flows import cli
    sys.argv = ["sinkaudit", "run", *arguments]
    try:
        cli.main()
    except SystemExit as ended:
        print("exit", ended.code)

def quote(*arguments, **named):
    raise ValueError("cannot take '{TEXT} {VALUE} {ID} {SOURCE} {COLUMN}'")

import flows.audit
for place in ("flows.tasks.read_corpus", "flows.tasks.find_candidates", "flows.tasks.score_documents", "flows.reporting.render_report"):
    with mock.patch(place, quote):
        run(sys.argv[-1])
run(sys.argv[-1])
'''


def _config(folder: Path) -> AuditConfig:
    """Return settings for a corpus of a hundred rows in which everything that could be told is marked."""
    marked = [
        {"key": f"{ID}-{number}", "kind": f"{SOURCE}{number % 2}", NAMED: f"{row['text']} {TEXT}", COLUMN: f"{VALUE}-{number}"}
        for number, row in enumerate(rows()[-100:])
    ]
    (folder / "corpus").mkdir()
    pl.DataFrame(marked).write_parquet(folder / "corpus" / "rows.parquet")
    raw = small_config(folder, folder / "corpus").model_dump(mode="json")
    columns = {"text_column": NAMED, "id_column": "key", "source_column": "kind"}
    return parse_config({**raw, "input": {**raw["input"], **columns}, "proxy": {**raw["proxy"], "token_budget": 2000}})


@pytest.fixture(scope="module")
def left(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """Fail in four stages with exceptions that quote a row, then succeed; Prefect logs all it can, and its home is looked through."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "config.json").write_text(_config(folder).model_dump_json())  # JSON is YAML
    loud = {"PREFECT_LOGGING_TO_API_ENABLED": "true", "PREFECT_LOGGING_LEVEL": "DEBUG", "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "true"}
    own = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    environment = {**own, **loud, "PREFECT_HOME": str(folder / "home")}
    command = [sys.executable, "-c", DRIVER, str(folder / "config.json")]
    return folder, subprocess.run(command, capture_output=True, text=True, env=environment, check=True)


def _stored(folder: Path) -> bytes:
    """Return every byte that Prefect keeps: its database, with what is not yet merged into it, and results."""
    return b"".join(path.read_bytes() for path in sorted((folder / "home").rglob("*")) if path.is_file())


def test_each_run_ended_as_it_was_made_to(left: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    """Four defects, told by kind and place, and an audit; Prefect has them in its database, with their logs."""
    folder, done = left
    assert [line for line in done.stdout.splitlines() if line.startswith("exit")] == ["exit 3"] * 4 + ["exit 0"]
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert [line.partition(" in ")[2].partition(",")[0] for line in errors] == ["read documents", "propose", "score", "release"]
    assert all(line.startswith("error: ValueError; in ") for line in errors)
    stored = _stored(folder)
    for known in (b"find candidates", b"StageError", b"small-summary", b"sinkaudit.gate.passed", b"Finished in state"):
        assert known in stored


@pytest.mark.parametrize("marker", [TEXT, VALUE, ID, SOURCE, COLUMN])
def test_prefect_and_the_terminal_hear_nothing_of_the_corpus(left: tuple[Path, subprocess.CompletedProcess[str]], marker: str) -> None:
    """Not in parameters, artifacts, events, states, results or logs; only columns that the configuration names are named."""
    folder, done = left
    assert marker.encode() not in _stored(folder)
    assert NAMED.encode() in _stored(folder)
    assert marker not in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("marker", "in_summary"), [(TEXT, False), (VALUE, False), (ID, True), (SOURCE, True), (COLUMN, False), (NAMED, True)]
)
def test_log_and_summary_hold_what_was_decided(left: tuple[Path, subprocess.CompletedProcess[str]], marker: str, in_summary: bool) -> None:
    """The log has numbers and names of stages; the summary also ids of the rows that the report shows, sources and columns."""
    (reports,) = (left[0] / "reports").glob("small-*")
    assert marker not in (reports / "log.jsonl").read_text()
    assert (marker in (reports / "summary.json").read_text()) == in_summary
    assert all("time" in json.loads(line) for line in (reports / "log.jsonl").read_text().splitlines())
