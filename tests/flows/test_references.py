"""Which references an audit has: what they are called, and what enters its id."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from flows.references import find_references, stored_corpus
from flows.run import run_id_of
from pipeline import store
from pipeline.config import AuditConfig, DedupConfig, parse_config
from pipeline.dedup.compatibility import signature_settings
from pipeline.errors import ConfigError, InputError, IntegrityError


def _config(folder: Path, **reference: Any) -> AuditConfig:
    return parse_config({"input": {"paths": ["corpus"]}, "reference": reference, "runtime": {"ledger": str(folder)}})


def _run_id(config: AuditConfig) -> str:
    return run_id_of(config, "input", [reference.digest for reference in find_references(config)])


def _finish_run(ledger: Path, name: str, verdict: str = "PASS", **settings: Any) -> None:
    """Leave what an audit leaves for those after it."""
    tables = {}
    for table in ("documents", "signatures", "removals"):
        facts = {"minhash": signature_settings(DedupConfig(**settings))} if table == "signatures" else {}
        folder = str(ledger / "stages" / table / name)
        tables[table] = {"folder": folder, "digest": store.publish_frame(table, folder, pl.DataFrame({"doc_id": [1]}), facts).digest}
    described = {"result": {"run": name, "verdict": verdict}, "tables": tables, "references": {}}
    store.write_bytes(f"{ledger}/{name}/run.json", json.dumps(described).encode())


def test_places_and_order_do_not_enter_the_run_but_bytes_and_columns_do(tmp_path: Path) -> None:
    """A benchmark that was moved, or listed in another order, leaves the run's id; a changed row or another column gives another."""
    one, two = tmp_path / "one.jsonl", tmp_path / "two.jsonl"
    one.write_text('{"text": "a"}\n')
    two.write_text('{"text": "b", "other": "c"}\n')
    expected = _run_id(_config(tmp_path, paths=[str(one), str(two)]))
    (tmp_path / "elsewhere").mkdir()
    moved = shutil.copy(one, tmp_path / "elsewhere" / "one.jsonl")
    assert _run_id(_config(tmp_path, paths=[str(two), str(moved)])) == expected
    assert _run_id(_config(tmp_path, paths=[str(two), str(moved), str(one)])) == expected
    others = [_config(tmp_path, paths=[str(one)]), _config(tmp_path, paths=[str(one), str(two)], text_column="other"), _config(tmp_path)]
    one.write_text('{"text": "A"}\n')
    others.append(_config(tmp_path, paths=[str(one), str(two)]))
    assert len({expected, *map(_run_id, others)}) == 5


def test_references_are_named_after_file_folder_or_run(tmp_path: Path) -> None:
    """A person knows each by the last part of its path, or by its run."""
    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "quiz.jsonl").write_text('{"text": "a"}\n')
    _finish_run(tmp_path, "night-1")
    found = find_references(_config(tmp_path, paths=[f"{tmp_path}/bench/", f"{tmp_path}/bench/quiz.jsonl"], runs="night-1"))
    # the folder holds that one file and nothing else, so it is the same reference
    assert sorted((one.described()["name"], one.described()["kind"]) for one in found) == [("night-1", "run"), ("quiz.jsonl", "files")]
    assert [one.digest for one in found] == sorted(one.digest for one in found)
    assert find_references(_config(tmp_path, paths=f"{tmp_path}/bench/*"))[0].name == "bench"


def test_a_run_that_was_held_back_or_made_otherwise_is_refused(tmp_path: Path) -> None:
    """Nothing may go for rows that were never released, nor be looked for with other signatures."""
    _finish_run(tmp_path, "bad", verdict="FAIL")
    with pytest.raises(ConfigError, match=r"never released; in reference\.runs: bad"):
        find_references(_config(tmp_path, runs=["bad"]))
    _finish_run(tmp_path, "other", ngram=7)
    with pytest.raises(ConfigError, match=r"reference\.runs: other; wanted ngram 5; got ngram 7"):
        find_references(_config(tmp_path, runs=["other"]))
    with pytest.raises(InputError, match=r"in reference\.paths: nothing\.txt, .*check reference\.paths"):
        find_references(_config(tmp_path, paths=["nothing.txt"]))


def test_a_run_whose_tables_changed_is_not_compared_with(tmp_path: Path) -> None:
    """A lost or altered part of an earlier run stops the audit and says which run to repeat."""
    _finish_run(tmp_path, "night-1")
    (reference,) = find_references(_config(tmp_path, runs=["night-1"]))
    assert stored_corpus(reference).documents.num_rows == 1
    (tmp_path / "stages" / "signatures" / "night-1" / "part-00000.parquet").unlink()
    with pytest.raises(IntegrityError, match=r"in night-1, .*signatures.*run that audit again"):
        stored_corpus(reference)
