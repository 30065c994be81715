"""Which files a night audits, and which runs it goes on from: by what earlier runs recorded, and by nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect.client.schemas.objects import State

from flows.audit import NOTHING_NEW, RunResult, audit, run_audit
from flows.copies import run_copies
from flows.runs import read_run
from flows.series import Link, next_chain, resolve, resolve_new, series_of
from pipeline import store
from pipeline.config import AuditConfig, parse_config
from pipeline.corpus.documents import input_files
from pipeline.dedup.compatibility import signature_settings
from pipeline.errors import ConfigError, InputError
from tests.flows.small_corpus import MARKER, rows


def _link(run: str, files: str, completes: str = "", parent: str | None = None) -> Link:
    return Link(run, frozenset(files), frozenset(completes.split()), parent)


def _chain(links: list[Link], present: str) -> list[str]:
    return [link.run for link in next_chain(links, present)]


WHOLE, NIGHT_1, NIGHT_2 = _link("whole", "ab"), _link("one", "c", "whole"), _link("two", "d", "whole one")


def test_a_night_goes_on_from_all_nights_before_it() -> None:
    """The whole audit first, then each night in the order in which they complete each other."""
    assert _chain([NIGHT_2, WHOLE, NIGHT_1], "abcde") == ["whole", "one", "two"]
    assert _chain([], "abc") == []


def test_a_new_whole_audit_replaces_the_nights_before_it() -> None:
    """As soon as it covers as much of what is there; one of a part of the files replaces nothing."""
    links = [WHOLE, NIGHT_1, NIGHT_2]
    assert _chain([*links, _link("again", "abcd")], "abcde") == ["again"]
    assert _chain([*links, _link("part", "abc")], "abcde") == ["whole", "one", "two"]
    # a file was taken away on purpose: the whole audit without it is the one to go on from
    assert _chain([*links, _link("less", "acd")], "acde") == ["less"]


def test_files_that_were_moved_away_stay_audited() -> None:
    """Where only new files are ever there, the nights still go on from all before them."""
    assert _chain([WHOLE, NIGHT_1, NIGHT_2], "xyz") == ["whole", "one", "two"]


def test_a_run_decided_again_stands_for_the_first() -> None:
    """Also where later nights name the first, and where that one was held back."""
    again, thrice = _link("one-b", "c", "whole", "one"), _link("one-c", "c", "whole", "one-b")
    assert _chain([WHOLE, NIGHT_1, again, NIGHT_2, thrice], "abcd") == ["whole", "one-c", "two"]
    assert _chain([WHOLE, again], "abcd") == ["whole", "one-b"]
    assert _chain([WHOLE, again, _link("two", "d", "whole one-b")], "abcd") == ["whole", "one-b", "two"]


def test_a_night_whose_predecessor_is_gone_is_no_link() -> None:
    """Its rows were compared with what is not there any more: its files are new again."""
    assert _chain([WHOLE, NIGHT_2], "abcd") == ["whole"]
    assert _chain([NIGHT_2], "abcd") == []


@given(st.permutations([WHOLE, NIGHT_1, NIGHT_2, _link("other", "cd", "whole"), _link("part", "a"), _link("one-b", "c", "whole", "one")]))
def test_the_order_in_which_runs_are_found_decides_nothing(links: list[Link]) -> None:
    """One ledger gives one chain, also where two nights went on from the same."""
    assert _chain(links, "abcd") == ["whole", "other"]


def _config(folder: Path, **changed: Any) -> AuditConfig:
    values = {"name": "c", "input": {"paths": [str(folder / "corpus")], "new_only": True}, "runtime": {"ledger": str(folder / "ledger")}}
    return parse_config({**values, **changed})


def _finish(config: AuditConfig, run: str, verdict: str = "PASS", completes: tuple[str, ...] = ()) -> None:
    """Leave in the ledger what an audit of what is to be read now leaves."""
    resolved = resolve(config)
    tables = {}
    for table in ("documents", "signatures", "removals"):
        facts = {"minhash": signature_settings(config.dedup)} if table == "signatures" else {}
        folder = f"{config.runtime.ledger}/stages/{table}/{run}"
        tables[table] = {"folder": folder, "digest": store.publish_frame(table, folder, pl.DataFrame({"doc_id": [1]}), facts).digest}
    result = RunResult(run, verdict, "r", "f", 1, 1).as_dict()
    described = {"result": result, "tables": tables, "parents": {"completes": completes}, "membership": dict(resolved.membership)}
    store.write_bytes(f"{config.runtime.ledger}/{run}/run.json", json.dumps(described).encode())


def _write(config: AuditConfig, name: str, text: str) -> None:
    path = Path(config.input.paths[0], name)
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(json.dumps({"text": text}) + "\n")


def test_new_files_are_those_whose_bytes_no_released_run_has_read(tmp_path: Path) -> None:
    """The first night reads all; then a new file, a changed one, not one that was renamed; after a failed gate the same once more."""
    config = _config(tmp_path)
    _write(config, "2026/a.jsonl", "one")
    _write(config, "b.jsonl", "two")
    first = resolve(config)
    assert (first.config.input.files, first.config.input.new_only, first.config.reference.runs) == ((), False, ())
    _finish(config, "c-1")
    assert resolve(config).last == "c-1"
    with pytest.raises(InputError, match=r"no new files; in input\.new_only; wanted a file that c-1"):
        resolve_new(config)
    Path(tmp_path, "corpus", "b.jsonl").rename(tmp_path / "corpus" / "renamed.jsonl")
    assert resolve(config).last == "c-1"
    _write(config, "2026/a.jsonl", "changed")
    _write(config, "z.jsonl", "three")
    second = resolve(config)
    assert second.config.input.files == ("2026/a.jsonl", "z.jsonl")
    assert second.config.reference.runs == ("c-1",)
    assert [file["path"] for file in input_files(second.config.input)] == ["2026/a.jsonl", "z.jsonl"]
    _finish(config, "c-2", verdict="FAIL", completes=("c-1",))
    assert resolve(config) == second


def test_other_settings_begin_another_series(tmp_path: Path) -> None:
    """What decides removals and how files are read does; what things cost, where they go and what is predicted does not."""
    config = _config(tmp_path)
    same = [_config(tmp_path, seed=3), _config(tmp_path, dedup={"block_bytes": 1024}), _config(tmp_path, release={"policy": "drop"})]
    other = [_config(tmp_path, name="d"), _config(tmp_path, dedup={"threshold": 0.7})]
    other.append(_config(tmp_path, input={"paths": ["corpus"], "text_column": "body"}))
    assert {series_of(each) for each in same} == {series_of(config)}
    assert len({series_of(each) for each in (config, *other)}) == 4


def test_what_cannot_be_chosen_from_is_refused(tmp_path: Path) -> None:
    """A dataset of a hub is read whole; a file that is named has to be there."""
    with pytest.raises(ConfigError, match=r"input\.new_only and input\.files choose among the files"):
        _config(tmp_path, input={"dataset": "name", "new_only": True})
    config = _config(tmp_path, input={"paths": [str(tmp_path / "corpus")], "files": ["x.jsonl"]})
    _write(config, "a.jsonl", "one")
    with pytest.raises(InputError, match=r"first x\.jsonl; in input\.files; .*got a\.jsonl; what to do: restore"):
        input_files(config.input)


@pytest.fixture(scope="module")
def night(audited: tuple[AuditConfig, RunResult], tmp_path_factory: pytest.TempPathFactory) -> tuple[AuditConfig, RunResult]:
    """Copy the audited corpus, add a file, and audit what is new."""
    corpus = tmp_path_factory.mktemp("series") / "corpus"
    corpus.mkdir()
    for file in Path(audited[0].input.paths[0]).iterdir():
        (corpus / file.name).write_bytes(file.read_bytes())
    pl.DataFrame(_new_rows()).write_parquet(corpus / "c2.parquet")
    raw = audited[0].model_dump(mode="json")
    runtime = {**raw["runtime"], "reports": str(corpus.parent / "reports")}
    config = parse_config({**raw, "input": {**raw["input"], "paths": [str(corpus)], "new_only": True}, "runtime": runtime})
    return config, run_audit(config, quiet=True)


def _new_rows() -> list[dict[str, str]]:
    new = [{"id": f"new-{n}", "source": "new", "text": " ".join(f"w{n}x{k}" for k in range(40)) + f" {MARKER}"} for n in range(12)]
    return [*new, {**rows()[0], "id": "old"}, {**new[0], "id": "twice"}]


def test_a_night_reads_the_new_file_and_completes_what_was_released(
    audited: tuple[AuditConfig, RunResult], night: tuple[AuditConfig, RunResult]
) -> None:
    """Manifest, run.json and report name the run it goes on from; only the new file's rows are in; a copy of an old row goes for it."""
    config, result = night
    assert result.rows_in == len(_new_rows())
    manifest = json.loads((Path(result.filtered) / "manifest.json").read_text())
    assert manifest["parents"]["completes"] == [audited[1].run]
    finished = read_run(result.run, config.runtime.ledger)
    assert set(finished.references.values()) == {audited[1].run}
    summary = json.loads((Path(result.report).parent / "summary.json").read_text())
    assert [(row["name"], row["kind"], row["exact"]) for row in summary["duplication"]["references"]] == [(audited[1].run, "run", 1)]
    decisions = pl.read_parquet(Path(result.report).parent / "decisions.parquet")
    assert decisions.filter(pl.col("action") != "drop")["source_id"].to_list() == [*(f"new-{n}" for n in range(12)), "twice"]
    # the run of the first night is the very run that a whole audit of its files is
    assert read_run(audited[1].run, config.runtime.ledger).parents["completes"] == []


def test_nights_together_keep_as_many_texts_as_one_audit_of_all(
    audited: tuple[AuditConfig, RunResult], night: tuple[AuditConfig, RunResult]
) -> None:
    """Of each text as many copies as the earlier night was allowed, and those of the new night that it did not have."""
    raw = night[0].model_dump(mode="json")
    whole = parse_config({**raw, "name": "whole", "input": {**raw["input"], "new_only": False}})
    kept = pl.read_parquet(Path(str(run_copies(whole, quiet=True).values["filtered"])) / "data")
    nights = pl.concat([pl.read_parquet(Path(result.filtered) / "data") for result in (audited[1], night[1])], how="diagonal")
    assert set(kept["text"]) == set(nights["text"])


def test_a_night_without_new_files_ends_as_such(night: tuple[AuditConfig, RunResult]) -> None:
    """The command returns the last night's result and writes nothing; the flow ends in a state of its own."""
    config, result = night
    assert run_audit(config, quiet=True) == result
    state = cast(State[RunResult], audit(config, quiet=True, return_state=True))
    assert (state.name, state.message, state.is_completed()) == (NOTHING_NEW, f"no new files since {result.run}", True)
    assert state.result() == result
