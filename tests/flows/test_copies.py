"""Deduplication alone: one small flow, and an audit's ledger that it shares."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flows.copies import CopiesResult, run_copies
from pipeline.config import AuditConfig, parse_config
from pipeline.errors import ConfigError

NUM_WORDS = 60


def _text(number: int) -> str:
    return " ".join(f"word{number * 1000 + word}" for word in range(NUM_WORDS))


def _config(folder: Path, **runtime: Any) -> AuditConfig:
    folders = {name: str(folder / name) for name in ("ledger", "filtered", "reports")}
    return parse_config({"name": "few", "input": {"paths": [str(folder / "few.parquet")]}, "runtime": {**folders, **runtime}})


@pytest.fixture(scope="module")
def deduplicated(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[AuditConfig, CopiesResult]:
    folder = tmp_path_factory.mktemp("copies")
    texts = [*map(_text, range(20)), _text(3), f"{_text(4)} more", "  "]
    pl.DataFrame({"id": [f"own-{row}" for row in range(len(texts))], "text": texts}).write_parquet(folder / "few.parquet")
    config = _config(folder, memory_limit="1.2GB")
    return config, run_copies(config, quiet=True)


def test_rows_that_stay_are_written_as_they_came(deduplicated: tuple[AuditConfig, CopiesResult]) -> None:
    """An exact copy, a near copy and a blank row go, the others keep their columns, and the counts add up."""
    _, result = deduplicated
    assert result.values["rows"] == {"in": 23, "exact": 1, "near": 1, "empty": 1, "kept": 20}
    kept = pl.concat(pl.read_parquet(path) for path in sorted(Path(result.values["filtered"]).rglob("*.parquet")))
    assert kept.columns == ["id", "text"]
    # of the near pair the longer stays
    ids = set(kept["id"])
    assert len(ids) == kept.height == 20
    assert "own-22" not in ids
    assert "own-21" in ids


def test_tables_name_the_users_own_rows(deduplicated: tuple[AuditConfig, CopiesResult]) -> None:
    """Clusters have every row, removals the two copies, each with its own id; dedup.json is what was returned, with the sweep."""
    _, result = deduplicated
    tables = {name: pl.read_parquet(f"{result.reports}/{name}.parquet") for name in ("clusters", "removals", "repeated_spans")}
    assert tables["clusters"].height == 23
    assert tables["clusters"]["cluster_size"].to_list().count(2) == 4
    assert set(tables["removals"]["reason"]) == {"exact_duplicate", "near_duplicate"}
    assert set(tables["removals"]["source_id"]) < set(tables["clusters"]["source_id"])
    stored = json.loads(Path(f"{result.reports}/dedup.json").read_text())
    assert stored == result.values
    assert [row["num_removable"] for row in stored["sweep"] if row["threshold"] == 0.8] == [2]
    assert all(stage["peak_memory_bytes"] > 0 for stage in stored["stages"])
    assert "rows: 23 in, 20 kept" in result.text()


def test_a_second_run_finds_everything_done(deduplicated: tuple[AuditConfig, CopiesResult]) -> None:
    """It returns what stands there; where a file is lost, it is made again from the ledger, byte for byte."""
    config, result = deduplicated
    assert run_copies(config, quiet=True) == result
    (shard,) = Path(result.values["filtered"]).rglob("*.parquet")
    shard.unlink()
    again = run_copies(config, quiet=True)
    assert again.values["files"] == result.values["files"]
    # documents and all that follows stood in the ledger
    assert {stage["stage"] for stage in again.values["stages"]} <= {"filtering", "tables"}


@pytest.mark.usefixtures("prefect_server")
def test_tables_made_while_reading_equal_those_made_afterwards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where signatures and profiles are lost, they are made again from the stored documents, byte for byte."""
    # more than one page of signatures, made in many pieces: pages end elsewhere if pieces are written as they come
    pl.DataFrame({"text": [f"a{row} b{row} c{row} d{row} e{row}" for row in range(3000)]}).write_parquet(tmp_path / "few.parquet")
    config = _config(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("pipeline.text.BLOCK_BYTES", 1000)
        run_copies(config, quiet=True)
    found = [json.loads(path.read_text()) for path in _descriptions(tmp_path)]
    for path in _descriptions(tmp_path):
        shutil.rmtree(path.parent)
    run_copies(config.model_copy(update={"name": "again"}), quiet=True)
    assert [json.loads(path.read_text()) for path in _descriptions(tmp_path)] == found
    assert {each["table"] for each in found} == {"profiles", "signatures"}


def _descriptions(folder: Path) -> list[Path]:
    return sorted(path for table in ("profiles", "signatures") for path in folder.glob(f"ledger/stages/{table}/*/_artifact.json"))


def test_more_documents_than_the_memory_limit_holds_are_refused(deduplicated: tuple[AuditConfig, CopiesResult]) -> None:
    """Sizes that the user set beyond the limit end the run once the documents are counted, saying what would do."""
    config, _ = deduplicated
    parts = config.input.model_copy(update={"bytes_per_part": 2**33})
    with pytest.raises(ConfigError, match="do not fit in the memory limit"):
        run_copies(config.model_copy(update={"input": parts}), quiet=True)
