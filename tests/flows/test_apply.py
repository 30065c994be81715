"""Overrides travel: export, apply, diff shows exactly those rows; what was published before stays as it was."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner

from flows.apply import ApplyResult, run_apply
from flows.audit import RunResult
from flows.cli import cli
from flows.compare import compare
from flows.look import explain_document, verify_dataset
from flows.redraw import redraw
from flows.runs import read_run
from pipeline import store
from pipeline.config import AuditConfig
from pipeline.errors import ConfigError, InputError, IntegrityError
from tests.flows.small_corpus import MARKER, rows

NOTE = "seen by counsel"
Parent = tuple[str, str]
"""A run's name and the ledger it is in."""


@pytest.fixture(scope="module")
def parent(audited: tuple[AuditConfig, RunResult], tmp_path_factory: pytest.TempPathFactory) -> Parent:
    """Move a copy of the audit elsewhere, so that what is applied here is in nobody else's list of runs."""
    source, target = Path(audited[0].runtime.ledger).parent, tmp_path_factory.mktemp("apply")
    shutil.copytree(source, target, dirs_exist_ok=True)
    run = audited[1].run
    for path in (target / "ledger" / run / "run.json", target / "reports" / run / "config.resolved.yaml"):
        path.write_text(path.read_text().replace(str(source), str(target)))
    return run, str(target / "ledger")


def _profiles(parent: Parent) -> pl.DataFrame:
    return store.read_frame(read_run(*parent).tables("profiles")["profiles"])


def _export(parent: Parent, path: Path, actions: Mapping[str, str], reviewer: str = "R. Viewer", run: str = "") -> str:
    """Write what the page exports: the rows named by their own ids."""
    known = {row["source_id"]: row for row in _profiles(parent).iter_rows(named=True)}
    overrides = [
        {
            **{key: known[name][key].hex() for key in ("content_hash", "row_hash")},
            **{"doc_id": known[name]["doc_id"], "action": action, "note": NOTE},
        }
        for name, action in actions.items()
    ]
    head = {"format": "sinkaudit-overrides", "version": 1, "run": run or parent[0], "reviewer": reviewer}
    path.write_text(json.dumps({**head, "overrides": overrides}))
    return str(path)


def _representative(parent: Parent) -> str:
    """Return the id of the row that stands for the third of three equal rows."""
    third = next(
        one for name in ("copy-0", "copy-1", rows()[0]["id"]) if (one := explain_document(parent[0], name, parent[1])).kept_copy is not None
    )
    assert third.kept_copy is not None
    return third.kept_copy.source_id


@pytest.fixture(scope="module")
def asked(parent: Parent) -> dict[str, str]:
    """Name two rows that are nobody's copies, a removed near copy, and the row that stands for an exact one."""
    first, second = rows()[5]["id"], rows()[6]["id"]
    return {first: "drop", second: _other(parent, second), "middle": "keep", _representative(parent): "drop"}


def _other(parent: Parent, name: str) -> str:
    """Return an action that releases a row otherwise than it is."""
    return "keep" if explain_document(parent[0], name, parent[1]).action == "review" else "review"


@pytest.fixture(scope="module")
def applied(parent: Parent, asked: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> ApplyResult:
    path = _export(parent, tmp_path_factory.mktemp("overrides") / "mine.json", asked)
    return run_apply(parent[0], [path], [], parent[1], quiet=True)


def _again(parent: Parent, applied: ApplyResult) -> Parent:
    return applied.result.run, parent[1]


def _files(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_diff_shows_exactly_the_rows_that_were_overruled(parent: Parent, applied: ApplyResult, asked: dict[str, str]) -> None:
    """Each named row has its action, by its reviewer's order; no other row moves in or out; settings and code are the same."""
    found = compare(parent[0], applied.result.run, parent[1]).found
    changed = {row["source_id"]: row for row in found["rows"] if row["kind"] == "action"}
    assert {name: row["after"]["action"] for name, row in changed.items()} == asked
    assert {row["why"] for row in changed.values()} == {f"R. Viewer ordered {action}: {NOTE}" for action in asked.values()}
    assert found["kinds"]["action"] == found["causes"]["order"] == len(asked)
    assert (found["kinds"]["added"], found["kinds"]["removed"], found["settings"], found["code"]) == (0, 0, [], [])
    # its second copy may take the place of a dropped row, and its third names that from now on
    assert {row["cause"] for row in found["rows"] if row["kind"] != "action"} <= {"copy"}
    assert found["after"]["parent"] == parent[0]


def test_manifest_report_and_tables_name_reviewer_and_note(parent: Parent, applied: ApplyResult, asked: dict[str, str]) -> None:
    """So do run.json, the explanation and the card; rows add up and the data verifies."""
    result = applied.result
    manifest = json.loads((Path(result.filtered) / "manifest.json").read_text())["parents"]
    assert (manifest["parent"], [file["reviewer"] for file in manifest["overrides"]]) == (parent[0], ["R. Viewer"])
    assert {(row["reviewer"], row["note"]) for row in manifest["overruled"]["rows"]} == {("R. Viewer", NOTE)}
    summary = json.loads((Path(result.report).parent / "summary.json").read_text())
    assert summary["applied"] == applied.applied
    assert summary["applied"]["outcomes"] == {"overruled": len(asked), "confirmed": 0, "superseded": 0, "followed": 0}
    assert summary["applied"]["num_kept_copies"] == 1
    assert summary["reproduce"]["command"] == f"sinkaudit apply {parent[0]} --overrides mine.json"
    page = Path(result.report).read_text()
    assert all(text in page for text in ("R. Viewer", NOTE, parent[0], "Who overruled what"))
    table = pl.read_parquet(Path(result.report).parent / "overruled.parquet")
    assert dict(table.select("source_id", "action").iter_rows()) == asked
    assert verify_dataset(result.filtered, "warn")["num_rows"] == result.rows_out
    assert "| overrides | R. Viewer: " in (Path(result.filtered) / "README.md").read_text()
    kept = explain_document(result.run, "middle", parent[1])
    assert f"order: R. Viewer ordered keep, where the rules say drop (near_duplicate); note: {NOTE}" in kept.to_text()
    assert MARKER not in (Path(result.report).parent / "log.jsonl").read_text()


def test_the_same_command_gives_the_same_run_and_rewrites_nothing(
    parent: Parent, applied: ApplyResult, asked: dict[str, str], tmp_path: Path
) -> None:
    """Another layout and order of the file makes no other run; the parent's report and data are as they were."""
    root = Path(parent[1]).parent
    before = _files(root)
    path = Path(_export(parent, tmp_path / "other name.json", dict(reversed(asked.items()))))
    path.write_text(json.dumps(json.loads(path.read_text()), indent=4))
    assert run_apply(parent[0], [str(path)], [], parent[1], quiet=True) == applied
    assert _files(root) == before
    raw = json.loads((Path(parent[1]) / parent[0] / "run.json").read_text())
    reports = root / "reports" / parent[0]
    assert all(store.file_digest(f"{reports}/{name}") == digest for name, digest in raw["reports"].items())
    assert verify_dataset(raw["result"]["filtered"], "warn")


def test_a_later_file_wins_and_an_applied_run_can_be_applied_again(parent: Parent, applied: ApplyResult, tmp_path: Path) -> None:
    """Orders of the parent hold on; the last about a row holds; both are on record, and every reviewer is named."""
    again, name = _again(parent, applied), rows()[5]["id"]
    paths = [
        _export(again, tmp_path / "b.json", {name: "review"}, "B"),
        _export(again, tmp_path / "c.json", {name: "keep", "blank": "drop"}, "C"),
    ]
    third = run_apply(again[0], paths, ["release.min_weight=0.2"], again[1], quiet=True)
    assert [file["reviewer"] for file in third.applied["files"]] == ["R. Viewer", "B", "C"]
    assert (third.applied["outcomes"]["superseded"], third.applied["outcomes"]["confirmed"]) == (2, 1 + (_other(parent, name) == "review"))
    table = pl.read_parquet(Path(third.result.report).parent / "overruled.parquet")
    mine = table.filter(pl.col("source_id") == name).sort("number")
    assert mine.select("reviewer", "action", "is_in_force").rows() == [
        ("R. Viewer", "drop", False),
        ("B", "review", False),
        ("C", "keep", True),
    ]
    assert explain_document(third.result.run, "middle", again[1]).reason == "overruled"
    assert json.loads((Path(third.result.filtered) / "manifest.json").read_text())["parents"]["parent"] == again[0]
    found = compare(applied.result.run, third.result.run, again[1]).found
    assert [row["source_id"] for row in found["rows"] if row["cause"] == "order"] == [name]
    assert [row["setting"] for row in found["settings"]] == ["release.min_weight"]
    with pytest.raises(InputError, match=f"apply {parent[0]} with all its overrides files at once"):
        run_apply(again[0], [_export(parent, tmp_path / "old.json", {name: "keep"})], [], again[1], quiet=True)


def test_settings_alone_decide_again(parent: Parent) -> None:
    """Another policy makes another run of the same scores, without a person; a gate that fails holds its data back."""
    policy = "report" if _other(parent, rows()[6]["id"]) == "keep" else "review"
    settings = [f"release.policy={policy}", "release.sink_threshold=0.0", "release.max_source_loss=0", "release.guards.source_loss=fail"]
    result = run_apply(parent[0], [], settings, parent[1], quiet=True)
    assert result.result.verdict == "FAIL"
    assert not (Path(result.result.report).parent / "overruled.parquet").exists()
    assert result.applied["files"] == []
    found = compare(parent[0], result.result.run, parent[1]).found
    assert {row["setting"] for row in found["settings"]} == {setting.partition("=")[0] for setting in settings}
    assert found["causes"]["threshold"] + found["causes"]["policy"] == found["num_changed"] > 0


def test_what_cannot_be_applied_is_refused(parent: Parent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings that would need computing, nothing to change, other files, a run of other code, a changed table."""
    run, ledger = parent
    path = _export(parent, tmp_path / "o.json", {"middle": "keep"})
    with pytest.raises(ConfigError, match=r"dedup\.threshold cannot be changed here.*wanted release\.KEY=VALUE or report\.KEY=VALUE"):
        run_apply(run, [path], ["dedup.threshold=0.7"], ledger)
    with pytest.raises(ConfigError, match="did you mean policy"):
        run_apply(run, [path], ["release.polcy=drop"], ledger)
    with pytest.raises(ConfigError, match="nothing would be decided otherwise"):
        run_apply(run, [], ["release.policy=downweight"], ledger)
    with pytest.raises(InputError, match="no such overrides file"):
        run_apply(run, [str(tmp_path / "none.json")], [], ledger)
    with pytest.raises(InputError, match=f"another run.*wanted overrides of {run}; got small-0000000000"):
        run_apply(run, [_export(parent, tmp_path / "w.json", {"middle": "keep"}, run="small-0000000000")], [], ledger)
    with monkeypatch.context() as patch:
        patch.setattr("flows.origin.made_by", lambda *_: "other")
        with pytest.raises(ConfigError, match="made by another version of corpus, dedup, proxy, risk"):
            run_apply(run, [path], [], ledger)
    folder = Path(read_run(run, ledger).folders["clusters"])
    (part,) = folder.glob("*.parquet")
    data = part.read_bytes()
    part.write_bytes(data[:-1])
    with pytest.raises(IntegrityError, match="a table of the run is missing or was changed"):
        run_apply(run, [path], [], ledger, quiet=True)
    part.write_bytes(data)


def test_a_report_is_drawn_again_with_other_excerpts(parent: Parent, tmp_path: Path) -> None:
    """Beside the signed page, or elsewhere; without a word of the corpus, or with more of it; never over another page."""
    signed = Path(parent[1]).parent / "reports" / parent[0] / "index.html"
    before = signed.read_bytes()
    paths = {mode: Path(redraw(parent[0], mode, None, parent[1])) for mode in ("none", "full")}
    assert {path.parent for path in paths.values()} == {signed.parent}
    assert MARKER not in paths["none"].read_text()
    assert "excerpts are off" in paths["none"].read_text()
    assert len(paths["full"].read_bytes()) > len(before)
    elsewhere = Path(redraw(parent[0], "short", str(tmp_path), parent[1]))
    assert elsewhere.read_bytes() == before == signed.read_bytes()
    assert redraw(parent[0], "short", str(tmp_path), parent[1]) == str(elsewhere)
    elsewhere.write_text("signed")
    with pytest.raises(IntegrityError, match="another page stands here"):
        redraw(parent[0], "short", str(tmp_path), parent[1])


def test_the_commands_say_what_they_did(parent: Parent, applied: ApplyResult, asked: dict[str, str], tmp_path: Path) -> None:
    """Command apply prints run, parent and counts; diff prints lines or JSON and writes its page; report prints where it is."""
    path = _export(parent, tmp_path / "o.json", asked)

    def invoke(*arguments: str) -> str:
        done = CliRunner().invoke(cli, [*arguments, "--ledger", parent[1]], catch_exceptions=False)
        assert done.exit_code == 0
        return done.stdout

    told = invoke("apply", parent[0], "--overrides", path, "--quiet")
    assert f"run: {applied.result.run}, decided again from {parent[0]}\noverruled: " in told
    assert "drop -> keep 1; confirmed 0, superseded 0\nremoved copies that stay out with a dropped row: 0\n" in told
    assert "look again: 1 kept row(s) have the text of a dropped one" in told
    assert json.loads(invoke("apply", parent[0], "--overrides", path, "--json"))["parent"] == parent[0]
    page = tmp_path / "diff.html"
    assert f"order {len(asked)}" in invoke("diff", parent[0], applied.result.run, "--output", str(page))
    assert NOTE in page.read_text()
    assert MARKER not in page.read_text()
    found: dict[str, Any] = json.loads(invoke("diff", parent[0], applied.result.run, "--json"))
    assert found["kinds"]["action"] == len(asked)
    invoke("diff", parent[0], applied.result.run, "-o", str(page), "--excerpts", "short")
    assert "Excerpt" in page.read_text()
    with pytest.raises(ConfigError, match="a run's report is never written into"):
        invoke("diff", parent[0], applied.result.run, "-o", str(Path(applied.result.report).parent / "index.html"))
    assert (
        invoke("report", parent[0], "--excerpts", "none", "--output", str(tmp_path)).strip() == f"{tmp_path}/{parent[0]}.excerpts-none.html"
    )
