"""The list of runs copes with many runs of every kind, and with what other runs left half-done."""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from flows.reporting import previous_summary, write_index
from flows.run import Run
from pipeline.report.summary import VERSION

NUM_RUNS = 300


def _summary(name: str, number: int, verdict: str = "pass", parent: str | None = None, waived: int = 0) -> dict[str, Any]:
    return {
        "version": VERSION,
        "run": f"{name}-{number:010x}",
        "name": name,
        "gates": {"verdict": verdict, "tally": {"waived": waived}},
        "flow": {"steps": [{"step": "in", "rows": number + 10}, {"step": "kept", "rows": number}]},
        "duplication": {"share_removed": 0.25},
        "sinks": {"expected_memorized": 1.5},
        "timing": {"finished": f"2027-01-{1 + number // 24:02d}T{number % 24:02d}:00:00+00:00"},
        "applied": {"parent": parent} if parent else None,
    }


def _written(root: Path, summary: dict[str, Any]) -> str:
    folder = root / summary["run"]
    folder.mkdir()
    (folder / "summary.json").write_text(json.dumps(summary))
    return str(summary["run"])


def _run(root: Path, run_id: str) -> Run:
    """Return as much of a run as the list of runs looks at."""
    config = SimpleNamespace(name=run_id.rpartition("-")[0], runtime=SimpleNamespace(reports=str(root)))
    return cast(Run, SimpleNamespace(run_id=run_id, config=config))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Fill a folder with hundreds of runs, one of which failed and one was decided again, and with remains of three that did not end."""
    runs = [_written(tmp_path, _summary("night", number, "warn" if number % 7 == 0 else "pass")) for number in range(NUM_RUNS)]
    _written(tmp_path, _summary("night", 400, "fail"))
    _written(tmp_path, _summary("night", 401, parent=runs[-1], waived=2))
    for name, lines in {
        "night-00000001f0": ['{"event": "begin", "time": 1900000100}', '{"event": "stage", "stage": "proxies", "time": 1900000100}'],
        "night-00000001f1": ['{"event": "begin", "time": 1900000100}', '{"event": "sta'],
        "night-00000001f2": ["not JSON"],
        "copies-00000001f3": ['{"event": "begin", "time": 1900000100}', '{"event": "end", "time": 1900000100}'],
    }.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "log.jsonl").write_text("\n".join(lines))
    (tmp_path / "night-00000001f4").mkdir()
    (tmp_path / "night-00000001f4" / "summary.json").write_text('{"version": 1, "run": "night-00')
    (tmp_path / "example").mkdir()
    (tmp_path / "example" / "summary.json").write_text(json.dumps(_summary("demo", 1)))
    return tmp_path


def _rows(root: Path) -> dict[str, str]:
    """Return each listed run's row of the page, in order."""
    rows = (root / "index.html").read_text().split("<tr>")
    found = [(match[1], row) for row in rows if (match := re.search(r'class="mono">([a-z-]+-[0-9a-f]{10})<', row))]
    assert len(dict(found)) == len(found)
    return dict(found)


def test_every_run_is_listed_once_the_newest_first(root: Path) -> None:
    """Hundreds of them, with links that lead to their pages; a damaged summary and the example are no runs."""
    write_index(_run(root, "night-0000000190"))
    listed = list(_rows(root))
    unfinished = ["night-00000001f0", "night-00000001f1"]
    assert len(listed) == NUM_RUNS + 4
    assert sorted(listed[:2]) == unfinished
    finished = [run for run in listed if run not in unfinished]
    assert finished == sorted(finished, reverse=True)
    page = (root / "index.html").read_text()
    assert page.count("/index.html") == NUM_RUNS + 2
    assert json.loads((root / "latest.json").read_text()) == {"run": "night-0000000190", "report": "night-0000000190/index.html"}


def test_kinds_of_runs_are_told_apart(root: Path) -> None:
    """A failed gate, a parent, waivers, and a run that never came to a report with the stage at which it was last heard of."""
    write_index(_run(root, "night-0000000190"))
    rows = _rows(root)
    failed, applied, unfinished = (rows[f"night-{number:010x}"] for number in (400, 401, 0x1F0))
    assert "<b>FAIL</b>" in failed
    assert "decided again from" in applied
    assert "night-000000012b" in applied
    assert "2 waived" in applied
    assert "Unfinished" in unfinished
    assert "last heard of: proxies" in unfinished
    assert "<a " not in unfinished


def test_the_last_run_of_the_same_name_is_found(root: Path) -> None:
    """By its time, not by its name; the run itself and runs of longer names are none."""
    _written(root, _summary("night-shift", 500))
    found = previous_summary(_run(root, "night-0000000191"))
    assert found is not None
    assert found["run"] == "night-0000000190"
    assert previous_summary(_run(root, "day-0000000001")) is None
