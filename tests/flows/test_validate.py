"""A whole validation at its smallest: frozen predictions, real targets, a judgement."""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flows import tasks
from flows.run import settings_of
from flows.validate import ValidationResult, run_validation
from pipeline import store
from pipeline.config import AuditConfig, parse_config

NUM_ROWS = 260


def _config(folder: Path, **validation: Any) -> AuditConfig:
    return parse_config(
        {
            "name": "small",
            "input": {"paths": [str(folder / "corpus")], "source_column": "source", "id_column": "id"},
            "dedup": {"num_plants": 0},
            "proxy": {
                "vocab_size": 400,
                "context": 32,
                "prompt_tokens": 8,
                "suffix_tokens": 8,
                "token_budget": 4000,
                "ladder": [1, 1.5, 2],
                "epochs": 1,
                "max_scored_tokens": 32,
                "workers": 1,
            },
            "risk": {"num_bootstrap": 10},
            "validation": {
                "dial": 3,
                "epochs": 1,
                "num_halves": 2,
                "num_seeds": 1,
                "max_tokens": 8000,
                "planted_sources": ["planted"],
                "arms": ["raw", "minhash", "policy", "random", "mask"],
                "equal_epochs": ["minhash"],
                "checkpoint_steps": 5,
                "workers": 1,
                **validation,
            },
            "runtime": {name: str(folder / name) for name in ("ledger", "filtered", "reports")},
        }
    )


@pytest.fixture(scope="module")
def validated(prefect_server: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[AuditConfig, ValidationResult]:
    folder = tmp_path_factory.mktemp("validate")
    corpus = pl.concat(pl.read_parquet(path) for path in sorted(Path("data/samples/corpus").glob("*.parquet")))
    few = corpus.filter(pl.col("text").str.len_bytes() < 900).sort("id").sample(NUM_ROWS, seed=1).select("id", "text", "source")
    (folder / "corpus").mkdir()
    few.write_parquet(folder / "corpus" / "few.parquet")
    config = _config(folder)
    return config, run_validation(config, command="sinkaudit validate few.yaml", quiet=True)


def _record(config: AuditConfig) -> Path:
    return Path(config.runtime.reports) / "validation" / config.name


def test_a_validation_leaves_a_record_of_predictions_targets_and_verdicts(validated: tuple[AuditConfig, ValidationResult]) -> None:
    """Every file of the record is there, each bar has a verdict, and the order of events is told."""
    config, result = validated
    record = _record(config)
    tables = {
        f"{name}.parquet" for name in ("predictions", "ablations", "clusters", "labels", "runs", "windows", "arm_runs", "arm_clusters")
    }
    assert {path.name for path in record.iterdir()} >= tables | {"frozen.json", "results.json", "index.html", "commands"}
    values = json.loads((record / "results.json").read_text())
    assert all(bar["verdict"] for bar in values["bars"])
    assert values["order"]["predictions_came_first"]
    assert values["efficiency"]["size_gap"] > 1
    assert (record / "commands").read_text() == "sinkaudit validate few.yaml\n"
    page, listed = (record / "index.html").read_text(), (record.parent / "index.html").read_text()
    assert "<pre>sinkaudit validate few.yaml</pre>" in page
    assert values["order"]["digests"]["target_samples"] in page
    assert f'href="{config.name}/index.html"' in listed
    assert "before any target was trained" in result.frozen
    runs = pl.read_parquet(record / "runs.parquet")
    assert set(runs["role"]) == {"label_half", "full"}
    assert {row["arm"] for row in pl.read_parquet(record / "arm_runs.parquet").to_dicts()} == set(config.validation.arms)


def test_targets_are_kept_when_predictions_change_and_the_record_says_so(validated: tuple[AuditConfig, ValidationResult]) -> None:
    """Scored for another size the predictions freeze anew, nothing trains again, and no one can claim they came first."""
    config, _ = validated
    stages = Path(config.runtime.ledger) / "stages" / "targets"
    before = {path: path.stat().st_mtime_ns for path in stages.rglob("*.parquet")}
    other = config.model_copy(update={"risk": config.risk.model_copy(update={"target_parameters": 5e8})})
    result = run_validation(other, "judge", quiet=True)
    entries = json.loads((_record(config) / "frozen.json").read_text())
    assert [len(entry["targets"]["trained"]) > 0 for entry in entries] == [False, True]
    assert set(entries[1]["targets"]["trained"]) >= {"target-0a", "target-0b", "raw-equal_steps-0"}
    assert not result.values["order"]["predictions_came_first"]
    assert {path: path.stat().st_mtime_ns for path in stages.rglob("*.parquet")} == before


def test_validation_settings_decide_nothing_of_the_audit(tmp_path: Path) -> None:
    """Two configurations that differ in validation alone are the same audit."""
    assert settings_of(_config(tmp_path)) == settings_of(_config(tmp_path, dial=8, seed=3))


def test_scoring_is_handed_nothing_of_a_target(validated: tuple[AuditConfig, ValidationResult]) -> None:
    """No argument of the scoring task names a target, and what it was keyed by and given lies in no target's folder."""
    assert not [name for name in inspect.signature(tasks.score.fn).parameters if "target" in name or "label" in name]
    read = [store.describe(str(path.parent)) for path in Path(validated[0].runtime.ledger).glob("stages/proxies/*/proxies/_artifact.json")]
    assert read
    assert not [path for artifact in read for path in artifact.paths() if "target" in path.rpartition("/stages/")[2]]
    assert not any(name.startswith("target") for artifact in read for name in store.read_frame(artifact)["proxy"])
