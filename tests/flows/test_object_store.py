"""The same audit with every place on an object store: the bytes of local folders, and every command by URL."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import datasets
import polars as pl
import pyarrow.dataset as pads
import pytest

from flows.apply import run_apply
from flows.audit import RunResult, run_audit
from flows.compare import compare
from flows.copies import run_copies
from flows.look import explain_document, verify_dataset
from flows.plan import estimate
from flows.redraw import redraw
from flows.starter import starter_yaml
from pipeline import store
from pipeline.config import AuditConfig, GuardsConfig, parse_config
from pipeline.errors import IntegrityError
from pipeline.places import locate

Audited = tuple[AuditConfig, RunResult]


@pytest.fixture(scope="module")
def remote(s3: str, audited: Audited) -> Audited:
    """Audit the small corpus, uploaded under the names its files have."""
    local, root = audited[0], f"{s3}/small"
    for file in Path(local.input.paths[0]).iterdir():
        store.write_bytes(f"{root}/corpus/{file.name}", file.read_bytes())
    raw = local.model_dump(mode="json", exclude_unset=True)
    raw["input"]["paths"] = [f"{root}/corpus/*.parquet"]
    raw["runtime"] = {name: f"{root}/{name}" for name in ("ledger", "filtered", "reports")}
    config = parse_config(raw)
    return config, run_audit(config, quiet=True)


def _bytes_below(folder: str) -> dict[str, bytes]:
    filesystem, plain = locate(folder)
    return {path.removeprefix(f"{plain.rstrip('/')}/"): filesystem.cat_file(path) for path in filesystem.find(plain)}


def test_ledger_and_filtered_data_are_those_of_local_folders(audited: Audited, remote: Audited) -> None:
    """Byte for byte and file for file; the store's ledger has its versions beside, and run.json names its own places."""
    (local, there), (config, result) = audited, remote
    assert result.run == there.run
    tables = json.loads(store.read_bytes(f"{local.runtime.ledger}/{there.run}/run.json"))["tables"].values()
    made = {table["folder"].removeprefix(f"{local.runtime.ledger}/stages/").split("/")[0] for table in tables}
    mine, theirs = (_bytes_below(f"{one.runtime.ledger}/stages") for one in (config, local))
    compared = {path: data for path, data in mine.items() if not path.endswith(store.VERSIONS)}
    assert len(compared) < len(mine)
    assert {path.split("/")[0] for path in compared} >= made
    assert [path for path, data in compared.items() if theirs.get(path) != data] == []
    assert _bytes_below(result.filtered) == _bytes_below(there.filtered)


def test_a_finished_audit_is_found_finished(remote: Audited) -> None:
    """The same command returns the same result and writes no object anew."""
    config, result = remote
    filesystem, plain = locate(config.runtime.ledger)
    before = {path: info["LastModified"] for path, info in filesystem.find(plain, detail=True).items()}
    assert run_audit(config, quiet=True) == result
    assert {path: info["LastModified"] for path, info in filesystem.find(plain, detail=True).items()} == before


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_trainers_read_it_from_the_store(audited: Audited, remote: Audited, tmp_path: Path) -> None:
    """Pyarrow, polars and datasets read the rows that were released locally, and verify says they may."""
    folder = remote[1].filtered
    wanted = pl.read_parquet(f"{audited[1].filtered}/data")
    assert verify_dataset(folder, "warn", datetime.now(UTC).date())["num_rows"] == wanted.height
    filesystem, plain = locate(folder)
    table = pads.dataset(f"{plain}/data", filesystem=filesystem).to_table()
    assert pl.DataFrame(pl.from_arrow(table)).equals(wanted)
    options = {"aws_endpoint_url": os.environ["AWS_ENDPOINT_URL"], "aws_allow_http": "true"}
    assert pl.scan_parquet(f"{folder}/data/*.parquet", storage_options=options).collect().equals(wanted)
    rows = datasets.load_dataset("parquet", data_files=f"{folder}/data/*.parquet", split="train", cache_dir=str(tmp_path))
    assert rows["text"][:] == wanted["text"].to_list()


def test_pages_and_commands_work_by_url(remote: Audited) -> None:
    """Init, plan, explain, apply, diff and report take URLs; the list of runs and the pointer follow."""
    config, result = remote
    folder, corpus = f"{config.runtime.ledger}/{result.run}", config.input.paths[0]
    assert corpus in starter_yaml(corpus)
    assert estimate(config)["size"]["num_rows"] == result.rows_in
    assert explain_document(folder, "0", "nowhere").doc_id == 0
    again = run_apply(folder, [], ["release.policy=review"], config.runtime.ledger, quiet=True)
    assert again.result.run in compare(result.run, f"{config.runtime.ledger}/{again.result.run}", config.runtime.ledger).text()
    page = redraw(result.run, "none", None, config.runtime.ledger)
    assert store.read_bytes(page).lower().startswith(b"<!doctype html>")
    assert json.loads(store.read_bytes(f"{config.runtime.reports}/latest.json"))["run"] == again.result.run
    listed = store.read_bytes(f"{config.runtime.reports}/index.html").decode()
    assert f"{result.run}/index.html" in listed
    assert f"{again.result.run}/index.html" in listed


def test_deduplication_alone_goes_to_the_store_whole(remote: Audited) -> None:
    """Its rows appear with _SUCCESS, and staging is empty."""
    config, result = remote
    values = run_copies(config, quiet=True).values
    paths = _bytes_below(values["filtered"])
    assert sorted(paths) == ["_SUCCESS", "data/train-00000-of-00001.parquet"]
    assert run_copies(config, quiet=True).values == values
    assert not [path for path in _bytes_below(f"{config.runtime.filtered}/{config.name}") if path.startswith(".staging")]
    assert result.rows_in == values["rows"]["in"]


def test_a_failed_gate_keeps_the_data_in_staging(remote: Audited) -> None:
    """No object appears where readers look, and what was written lies in staging, unsealed."""
    config = remote[0]
    changes: dict[str, Any] = {"guards": GuardsConfig(largest_cluster="fail"), "max_cluster_share": 0.0}
    failing = config.model_copy(update={"name": "failing", "release": config.release.model_copy(update=changes)})
    result = run_audit(failing, quiet=True)
    assert result.verdict == "FAIL"
    below = _bytes_below(f"{config.runtime.filtered}/failing")
    assert {path.split("/")[0] for path in below} == {f".staging-{result.run}"}
    assert not [path for path in below if path.endswith("_SUCCESS")]
    with pytest.raises(IntegrityError, match="_SUCCESS is missing"):
        verify_dataset(f"{config.runtime.filtered}/failing/{result.run}", "any")


def test_nothing_written_tells_how_the_store_was_reached(remote: Audited) -> None:
    """Neither key nor endpoint stands in any object: not in the ledger, the data, the reports or the logs."""
    config = remote[0]
    secrets = [os.environ[name].removeprefix("http://").encode() for name in ("AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL")]
    for place in (config.runtime.ledger, config.runtime.filtered, config.runtime.reports):
        below = _bytes_below(place)
        assert below
        assert [path for path, data in below.items() if any(secret in data for secret in secrets)] == []
