"""A whole audit on a small corpus: real stages, real proxies, one Prefect server."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flows.audit import RunResult, run_audit
from flows.look import explain_document, verify_dataset
from pipeline.config import AuditConfig, parse_config
from pipeline.errors import InputError, IntegrityError

NUM_ROWS = 400
MARKER = "zanzibar"  # stands in every text and so must stand in no log


def _rows() -> list[dict[str, str]]:
    corpus = pl.concat(pl.read_parquet(path) for path in sorted(Path("data/samples/corpus").glob("*.parquet")))
    few = corpus.filter(pl.col("text").str.len_bytes() < 1500).sort("id").sample(NUM_ROWS - 3, seed=1).select("id", "text", "source")
    rows = few.with_columns(text=pl.col("text") + f" {MARKER}").to_dicts()
    return [*rows, {**rows[0], "id": "copy-0"}, {**rows[1], "id": "copy-1"}, {"id": "blank", "text": " ", "source": "planted"}]


def _config(folder: Path, corpus: Path) -> AuditConfig:
    return parse_config(
        {
            "name": "small",
            "input": {"paths": [str(corpus)]},
            "proxy": {
                "vocab_size": 400,
                "context": 32,
                "prompt_tokens": 8,
                "suffix_tokens": 8,
                "token_budget": 6000,
                "ladder": [1, 2, 3],
                "epochs": 1,
                "max_scored_tokens": 32,
            },
            "risk": {"num_bootstrap": 10},
            "runtime": {name: str(folder / name) for name in ("ledger", "filtered", "reports")},
        }
    )


def _write(folder: Path, pieces: list[list[dict[str, str]]]) -> Path:
    folder.mkdir()
    for number, rows in enumerate(pieces):
        pl.DataFrame(rows).write_parquet(folder / f"{'ba'[number % 2]}{number}.parquet")
    return folder


@pytest.fixture(scope="module")
def audited(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[AuditConfig, RunResult]:
    folder = tmp_path_factory.mktemp("audit")
    rows = _rows()
    config = _config(folder, _write(folder / "corpus", [rows[:250], rows[250:]]))
    return config, run_audit(config, quiet=True)


def _summary(result: RunResult) -> dict[str, Any]:
    return dict(json.loads((Path(result.report).parent / "summary.json").read_text()))


def test_an_audit_releases_a_verified_dataset_and_a_report(audited: tuple[AuditConfig, RunResult]) -> None:
    """Every file of a run is there, rows add up, and the filtered data verifies."""
    config, result = audited
    reports = Path(result.report).parent
    names = {path.name for path in reports.iterdir()}
    tables = {"decisions.parquet", "clusters.parquet", "sink_scores.parquet"}
    assert names >= tables | {"index.html", "summary.json", "summary.md", "environment.json", "config.resolved.yaml", "log.jsonl"}
    decisions = pl.read_parquet(reports / "decisions.parquet")
    assert decisions.height == result.rows_in == NUM_ROWS
    assert (decisions["action"] != "drop").sum() == result.rows_out
    assert verify_dataset(result.filtered, "warn")["num_rows"] == result.rows_out
    assert json.loads((Path(config.runtime.reports) / "latest.json").read_text())["run"] == result.run


def test_planted_copies_go_and_say_why(audited: tuple[AuditConfig, RunResult]) -> None:
    """An exact copy is dropped in favour of a kept one, the blank row for its own reason, and explain says so."""
    config, result = audited
    decisions = pl.read_parquet(Path(result.report).parent / "decisions.parquet")
    reason = dict(decisions.select("source_id", "reason").rows())
    assert reason["blank"] == "empty"
    explained = explain_document(result.run, "copy-0", config.runtime.ledger)
    assert explained.source_id == "copy-0"
    assert {reason["copy-0"], reason["copy-1"]} <= {"exact_duplicate", "representative", "near_duplicate", "sink_risk", "outside_support"}
    assert explained.kept_copy is not None or explained.num_removed_for_it >= 1


def test_the_summary_tells_what_each_stage_cost(audited: tuple[AuditConfig, RunResult]) -> None:
    """Seconds, rows and peak memory of every stage are in summary.json."""
    stages = {stage["stage"]: stage for stage in _summary(audited[1])["timing"]["stages"]}
    assert stages.keys() >= {"documents", "signatures", "candidates", "verification", "clusters", "proxies", "scores", "decisions"}
    assert all(stage["peak_memory_bytes"] > 0 and stage["seconds"] >= 0 for stage in stages.values())
    assert stages["documents"]["rows"] == NUM_ROWS


def test_a_second_run_finds_everything_done(audited: tuple[AuditConfig, RunResult]) -> None:
    """The same command returns the same result and rewrites nothing."""
    config, result = audited
    before = {path: path.stat().st_mtime_ns for path in Path(config.runtime.ledger).rglob("*.parquet")}
    assert run_audit(config, quiet=True) == result
    assert {path: path.stat().st_mtime_ns for path in Path(config.runtime.ledger).rglob("*.parquet")} == before


def test_neither_logs_nor_summary_hold_corpus_text(audited: tuple[AuditConfig, RunResult]) -> None:
    """A word that stands in every document stands in no log, summary or Markdown."""
    reports = Path(audited[1].report).parent
    for name in ("log.jsonl", "summary.json", "summary.md", "environment.json"):
        assert MARKER not in (reports / name).read_text()


def test_the_order_of_files_changes_no_byte(audited: tuple[AuditConfig, RunResult], tmp_path: Path) -> None:
    """Law 4 and 6: the same files listed in another order, into an empty ledger, give the same tables and the same release."""
    config, result = audited
    listed = sorted(Path(config.input.paths[0]).iterdir(), reverse=True)
    again = _config(tmp_path, tmp_path).model_copy(update={"input": config.input.model_copy(update={"paths": tuple(map(str, listed))})})
    rerun = run_audit(again, quiet=True)
    assert rerun.run == result.run
    assert _digests(again, rerun) == _digests(config, result)
    assert (Path(rerun.filtered) / "manifest.json").read_bytes() == (Path(result.filtered) / "manifest.json").read_bytes()


def _digests(config: AuditConfig, result: RunResult) -> dict[str, str]:
    tables = json.loads((Path(config.runtime.ledger) / result.run / "run.json").read_text())["tables"]
    return {name: table["digest"] for name, table in tables.items()}


def test_rows_moved_between_files_get_the_same_decisions(audited: tuple[AuditConfig, RunResult], tmp_path: Path) -> None:
    """Law 4: rows in other files, in another order, give the same multiset of decisions, bit for bit."""
    config, result = audited
    rows = _rows()[::-1]
    moved = run_audit(_config(tmp_path, _write(tmp_path / "corpus", [rows[:33], rows[33:200], rows[200:]])), quiet=True)
    assert moved.run != result.run
    assert _decided(config, result) == _decided(_config(tmp_path, tmp_path / "corpus"), moved)


def _decided(config: AuditConfig, result: RunResult) -> list[tuple[object, ...]]:
    tables = json.loads((Path(config.runtime.ledger) / result.run / "run.json").read_text())["tables"]
    profiles, decisions = (
        pl.concat(pl.read_parquet(path) for path in sorted(Path(tables[name]["folder"]).rglob("*.parquet")))
        for name in ("profiles", "decisions")
    )
    joined = profiles.join(decisions, on="doc_id").select("row_hash", "action", "weight", "reason")
    return sorted(joined.rows())


def test_a_changed_dataset_and_an_unknown_document_are_refused(audited: tuple[AuditConfig, RunResult], tmp_path: Path) -> None:
    """Verify names the shard whose byte changed; explain names the document it cannot find."""
    import shutil

    config, result = audited
    copy = Path(shutil.copytree(result.filtered, tmp_path / "release"))
    shard = next((copy / "data").glob("*.parquet"))
    data = bytearray(shard.read_bytes())
    data[len(data) // 3] ^= 1
    shard.write_bytes(data)
    with pytest.raises(IntegrityError, match=shard.name):
        verify_dataset(str(copy), "any")
    with pytest.raises(InputError, match="nobody"):
        explain_document(result.run, "nobody", config.runtime.ledger)
