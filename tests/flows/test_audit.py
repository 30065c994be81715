"""A whole audit on a small corpus: real stages, real proxies, one Prefect server."""

from __future__ import annotations

import getpass
import json
import platform
import re
import xml.etree.ElementTree as ET
from datetime import date
from pathlib import Path
from typing import Any

import jsonschema
import mlcroissant
import polars as pl
import pytest
from datasets import load_dataset
from huggingface_hub import DatasetCard

import pipeline.report
from flows.audit import RunResult, run_audit
from flows.copies import run_copies
from flows.look import explain_document, verify_dataset
from pipeline.config import AuditConfig, GuardsConfig, parse_config
from pipeline.errors import ConfigError, GuardError, InputError, IntegrityError
from pipeline.release.explanation import Explanation
from tests.flows.small_corpus import MARKER, NUM_ROWS
from tests.flows.small_corpus import chain as _chain
from tests.flows.small_corpus import config as _config
from tests.flows.small_corpus import rows as _rows
from tests.flows.small_corpus import write as _write


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


def _explained(audited: tuple[AuditConfig, RunResult], *docs: str) -> list[Explanation]:
    return [explain_document(audited[1].run, doc, audited[0].runtime.ledger) for doc in docs]


def test_of_three_equal_rows_the_copy_cap_keeps_two(audited: tuple[AuditConfig, RunResult]) -> None:
    """Each names the others that stay with their places; the third names the rule that put it last; the blank row has its own reason."""
    blank, first, second, third = _explained(audited, "blank", "copy-0", "copy-1", _rows()[0]["id"])
    ranked = sorted((first, second, third), key=lambda one: one.rank or 0)
    assert [(one.rank, one.action == "drop", one.num_copies) for one in ranked] == [(1, False, 1), (2, False, 1), (3, True, 2)]
    assert ranked[2].reason == "exact_duplicate"
    assert [other.parted_by for other in ranked[2].copies] == ["row_hash", "row_hash"]
    assert ranked[2].kept_copy == ranked[2].copies[0]
    assert (blank.reason, blank.copies) == ("empty", ())


def test_a_chain_is_told_link_by_link(audited: tuple[AuditConfig, RunResult]) -> None:
    """The middle goes for both ends; of the ends one stays by the chain alone, and names the pairs that hold it there."""
    left, middle, right = _explained(audited, "left", "middle", "right")
    assert (middle.reason, middle.num_copies, middle.rank) == ("near_duplicate", 2, 3)
    assert middle.kept_copy is not None
    assert (middle.kept_copy.parted_by, middle.kept_copy.rank) == ("longest", 1 if left.rank == 1 else middle.kept_copy.rank)
    assert all(other.jaccard > 0.8 and (other.shared_bands or 0) > 0 for other in middle.copies)
    (held,) = (one for one in (left, right) if one.evidence["link"] == "transitive_only")
    assert [other.source_id for other in held.chain] == ["middle", "right" if held is left else "left"]
    assert "chain of verified pairs to the nearest kept document" in held.to_text()
    assert (held.action != "drop", held.num_removed_for_it) == (True, 0)
    assert json.loads(json.dumps(held.to_json()))["chain"][0]["source_id"] == "middle"


def test_the_summary_tells_what_each_stage_cost(audited: tuple[AuditConfig, RunResult]) -> None:
    """Seconds, rows and peak memory of every stage are in summary.json."""
    stages = {stage["stage"]: stage for stage in _summary(audited[1])["timing"]["stages"]}
    assert stages.keys() >= {"documents", "candidates", "verification", "removals", "spans", "clusters", "proxies", "scores", "decisions"}
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


def _strings(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for item in value.values() for text in _strings(item)]
    return [text for item in value for text in _strings(item)] if isinstance(value, list) else [value] if isinstance(value, str) else []


def test_neither_log_nor_environment_tell_where_or_by_whom_it_ran(audited: tuple[AuditConfig, RunResult]) -> None:
    """Values are numbers, names, digests and versions: no path, host name or user name."""
    config, result = audited
    reports = Path(result.report).parent
    environment = json.loads((reports / "environment.json").read_text())
    assert environment.keys() == {"python", "system", "processor", "cores", "memory_bytes", "packages"}
    log = [json.loads(line) for line in (reports / "log.jsonl").read_text().splitlines()]
    told = [*_strings(log), *_strings(environment)]
    assert all(re.fullmatch(r"[\w.:+-]+", text) for text in _strings(log))
    secret = {platform.node(), getpass.getuser(), str(Path.home()), str(Path(config.runtime.ledger).parent)}
    assert not [text for text in told for word in secret if re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text)]


def test_the_summary_fits_its_schema(audited: tuple[AuditConfig, RunResult]) -> None:
    """That of a real run, property for property."""
    schema = json.loads((Path(pipeline.report.__path__[0]) / "summary.schema.json").read_text())
    jsonschema.Draft202012Validator(schema).validate(_summary(audited[1]))


@pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated", "ignore:The inplace keyword in DataFrame.reset_index")
def test_a_run_leaves_records_for_other_systems(audited: tuple[AuditConfig, RunResult]) -> None:
    """JUnit counts the summary's gates; Croissant's rows are the filtered rows; OpenLineage names input and output."""
    config, result = audited
    reports, summary = Path(result.report).parent, _summary(audited[1])
    suite = ET.fromstring((reports / "gates.junit.xml").read_bytes())[0]
    assert [case.attrib["name"] for case in suite.iter("testcase")] == [gate["name"] for gate in summary["gates"]["gates"]]
    assert (reports / "croissant.json").read_bytes() == (Path(result.filtered) / "croissant.json").read_bytes()
    records = list(mlcroissant.Dataset(jsonld=Path(result.filtered) / "croissant.json").records("default"))
    kept = pl.read_parquet(Path(result.filtered) / "data")
    assert [record["default/text"].decode() for record in records] == kept["text"].to_list()
    event = json.loads((reports / "openlineage.json").read_text())
    assert (event["eventType"], event["inputs"][0]["name"]) == ("COMPLETE", config.input.paths[0])
    assert event["outputs"][0]["name"] == result.filtered
    assert event["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == result.rows_out == kept.height


def test_the_card_is_read_with_the_data(audited: tuple[AuditConfig, RunResult], tmp_path: Path) -> None:
    """The folder loads under the card's front matter, and the card says what was guessed of languages and not examined."""
    card = DatasetCard.load(Path(audited[1].filtered) / "README.md")
    rows = load_dataset(audited[1].filtered, split="train", cache_dir=str(tmp_path))
    assert rows.num_rows == audited[1].rows_out
    assert "en" in card.data.language
    assert "## What the audit did not examine" in card.text


def test_a_waiver_holds_until_its_day_is_past(audited: tuple[AuditConfig, RunResult], monkeypatch: pytest.MonkeyPatch) -> None:
    """The day after, the same audit is another run, which ends; what was published stands, and no longer verifies as good enough."""
    raw = audited[0].model_dump(mode="json")
    waiver = {"gate": "largest_cluster", "until": "2027-01-31", "approver": "R. Roe", "reason": "templates"}
    release = {"max_cluster_share": 0.0, "guards": {"largest_cluster": "abort"}, "waivers": [waiver]}
    waived = parse_config({**raw, "name": "waived", "release": {**raw["release"], **release}})
    monkeypatch.setattr("flows.run.this_day", lambda: date(2027, 1, 31))
    result = run_audit(waived, quiet=True)
    assert run_audit(waived, quiet=True) == result
    assert result.verdict != "FAIL"
    page, markdown = Path(result.report).read_text(), (Path(result.report).parent / "summary.md").read_text()
    assert "by R. Roe. Reason: templates" in page
    assert "by R. Roe: templates" in markdown
    assert verify_dataset(result.filtered, "warn", date(2027, 1, 31))["waived"] == {"largest_cluster": "2027-01-31"}
    monkeypatch.setattr("flows.run.this_day", lambda: date(2027, 2, 1))
    with pytest.raises(GuardError, match="largest_cluster"):
        run_audit(waived, quiet=True)
    assert verify_dataset(result.filtered, "any", date(2027, 2, 1))["verdict"] == result.verdict
    with pytest.raises(IntegrityError, match=r"largest_cluster until 2027-01-31 by R\. Roe"):
        verify_dataset(result.filtered, "warn", date(2027, 2, 1))
    listed = (Path(audited[0].runtime.reports) / "index.html").read_text()
    assert "1 waived" in listed


def test_the_order_of_files_changes_no_byte(audited: tuple[AuditConfig, RunResult], tmp_path: Path) -> None:
    """Law 4 and 6: the same files listed in another order, one worker and an empty ledger give the same tables and the same release."""
    config, result = audited
    listed = sorted(Path(config.input.paths[0]).iterdir(), reverse=True)
    again = _config(tmp_path, tmp_path).model_copy(update={"input": config.input.model_copy(update={"paths": tuple(map(str, listed))})})
    again = again.model_copy(update={"runtime": again.runtime.model_copy(update={"workers": 1})})
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


@pytest.mark.usefixtures("prefect_server")
def test_a_guard_that_may_abort_ends_the_run_before_training(audited: tuple[AuditConfig, RunResult]) -> None:
    """A source loses more than it may: nothing is trained, written or reported, and the error says what to do."""
    config = audited[0]
    guards = config.release.model_copy(update={"guards": GuardsConfig(source_loss="abort"), "max_source_loss": 0.0})
    stopped = config.model_copy(update={"name": "stopped", "release": guards})
    with pytest.raises(GuardError, match=r"source_loss of source .*at most 0\.00%.*raise release\.max_source_loss"):
        run_audit(stopped, quiet=True)
    assert not (Path(config.runtime.filtered) / "stopped").exists()
    assert [path.name for path in Path(config.runtime.reports).glob("stopped-*/*")] == ["log.jsonl"]


@pytest.fixture(scope="module")
def second_night(audited: tuple[AuditConfig, RunResult], tmp_path_factory: pytest.TempPathFactory) -> tuple[AuditConfig, RunResult]:
    """Audit new rows against the first audit and a benchmark of other columns, in the same ledger."""
    config, first = audited
    folder = tmp_path_factory.mktemp("night")
    bench = folder / "questions.jsonl"
    bench.write_text("".join(json.dumps({"qid": name, "question": text}) + "\n" for name, text in _questions().items()))
    reference = {"paths": [str(bench)], "runs": [first.run], "text_column": "question", "id_column": "qid"}
    raw = {**config.model_dump(mode="json"), "name": "night", "reference": reference}
    raw["input"]["paths"] = [str(_write(folder / "corpus", [_new_rows()]))]
    night = parse_config(raw)
    return night, run_audit(night, quiet=True)


def _questions() -> dict[str, str]:
    return {name: " ".join(f"{name}{number}" for number in range(80)) for name in ("ask", "tell", "why")} | {"nothing": ""}


def _new_rows() -> list[dict[str, str]]:
    """Return 60 rows of which the first audit knows nothing, and copies of its own, of the benchmark and of each other."""
    corpus = pl.concat(pl.read_parquet(path) for path in sorted(Path("data/samples/corpus").glob("*.parquet")))
    known = {row["text"].removesuffix(f" {MARKER}") for row in _rows()}
    others = corpus.filter(pl.col("text").str.len_bytes().is_between(300, 1500) & ~pl.col("text").is_in(list(known)))
    fresh = others.sort("id").unique("text", keep="first", maintain_order=True).sample(60, seed=2).select("id", "text", "source").to_dicts()
    texts = {
        "old-exact": _chain()[0]["text"],
        "old-near": _chain()[2]["text"].replace("word1050", "changed"),
        "asked": _questions()["ask"].upper(),
        "told": _questions()["tell"].replace("tell40", "said"),
        "void": "",
    }
    return [*fresh, *({"id": name, "text": text, "source": "new"} for name, text in texts.items())]


def test_rows_that_copy_a_reference_go_and_say_for_which(
    audited: tuple[AuditConfig, RunResult], second_night: tuple[AuditConfig, RunResult]
) -> None:
    """Each names the document of the benchmark or of the earlier run, by its own id there; an empty row goes for being empty."""
    first, (config, result) = audited[1], second_night
    decided = {
        name: explain_document(result.run, name, config.runtime.ledger) for name in ("old-exact", "old-near", "asked", "told", "void")
    }
    assert {name: (one.reason, one.action) for name, one in decided.items()} == {
        "old-exact": ("exact_duplicate", "drop"),
        "old-near": ("near_duplicate", "drop"),
        "asked": ("exact_duplicate", "drop"),
        "told": ("near_duplicate", "drop"),
        "void": ("empty", "drop"),
    }
    kept = {name: one.kept_copy for name, one in decided.items() if one.kept_copy is not None}
    assert {name: (copy.reference, copy.source_id, copy.action) for name, copy in kept.items()} == {
        "old-exact": (first.run, "left", "reference"),
        "old-near": (first.run, "right", "reference"),
        "asked": ("questions.jsonl", "ask", "reference"),
        "told": ("questions.jsonl", "tell", "reference"),
    }
    assert all(copy.doc_id < 0 for copy in kept.values())
    assert decided["told"].evidence["reference_source_id"] == "tell"
    assert "(reference questions.jsonl); Jaccard" in decided["told"].to_text()
    assert "which loses no row" in decided["told"].to_text()


def test_report_and_release_tell_the_references(second_night: tuple[AuditConfig, RunResult]) -> None:
    """Rows removed for each reference are in the summary, their digests in the manifest, rows add up, clusters hold rows alone."""
    result = second_night[1]
    summary, reports = _summary(result), Path(result.report).parent
    decisions = pl.read_parquet(reports / "decisions.parquet")
    told = {row["name"]: row for row in summary["duplication"]["references"]}
    named = decisions.with_columns(reference=pl.col("evidence").str.json_path_match("$.reference")).drop_nulls("reference")
    for row in told.values():
        went = named.filter(pl.col("reference") == row["digest"])["reason"].value_counts().rows()
        assert dict(went) == {"exact_duplicate": row["exact"], "near_duplicate": row["near"]}
    questions = told["questions.jsonl"]
    assert (questions["kind"], questions["exact"], questions["near"], questions["num_documents"]) == ("files", 1, 1, 4)
    assert {row["kind"] for row in told.values()} == {"files", "run"}
    (new,) = (row for row in summary["flow"]["by_source"] if row["source"] == "new")
    assert (new["in"], new["exact"], new["near"], new["empty"], new["kept"]) == (5, 2, 2, 1, 0)
    manifest = json.loads((Path(result.filtered) / "manifest.json").read_text())
    assert sorted(manifest["parents"]["references"]) == sorted(row["digest"] for row in told.values())
    assert decisions.height == result.rows_in == len(_new_rows())
    assert decisions.filter(pl.col("action") != "drop").height == result.rows_out
    assert pl.read_parquet(reports / "clusters.parquet")["doc_id"].to_list() == list(range(result.rows_in))
    page = Path(result.report).read_text()
    assert "Copies of references" in page
    assert "only this corpus was compared with itself" not in page


def test_an_earlier_run_is_not_hashed_again(
    audited: tuple[AuditConfig, RunResult], second_night: tuple[AuditConfig, RunResult], tmp_path: Path
) -> None:
    """A third night against both reads and signs its own rows alone, and finds copies of either; naming runs by folder changes nothing."""
    config, first = audited
    second, fresh = second_night[1], _new_rows()
    rows = [{**fresh[0], "id": "second"}, {**_chain()[0], "id": "first"}, {"id": "third", "text": "nobody wrote this", "source": "new"}]
    corpus = _write(tmp_path / "corpus", [rows])
    before = {path: path.stat().st_mtime_ns for path in Path(config.runtime.ledger).rglob("*.parquet")}
    found = []
    for runs in ([first.run, second.run], [f"{config.runtime.ledger}/{second.run}", first.run]):
        raw = {**config.model_dump(mode="json"), "name": "third", "reference": {"runs": runs}}
        raw["input"]["paths"] = [str(corpus)]
        found.append(run_copies(parse_config(raw), quiet=True))
    assert found[0] == found[1]
    assert (found[0].values["rows"]["exact"], found[0].values["rows"]["kept"]) == (2, 1)
    new = [path for path in Path(config.runtime.ledger).rglob("*.parquet") if path not in before]
    assert [path.parts[-4] for path in new if "signatures" in path.parts] == ["signatures"]
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_a_run_that_cannot_be_compared_with_is_refused(audited: tuple[AuditConfig, RunResult]) -> None:
    """Other permutations are named with the remedy before anything is read; so is a run that is not there."""
    config, first = audited
    raw = config.model_dump(mode="json")
    with pytest.raises(ConfigError, match=rf"reference\.runs: {first.run}; wanted seed 2; got seed 1; what to do: set dedup\.seed=1 or"):
        run_audit(parse_config({**raw, "dedup": {"seed": 2}, "reference": {"runs": first.run}}), quiet=True)
    with pytest.raises(InputError, match="no finished run of that name"):
        run_audit(parse_config({**raw, "reference": {"runs": "night-0"}}), quiet=True)
    with pytest.raises(InputError, match=r"reference\.paths: nowhere"):
        run_audit(parse_config({**raw, "reference": {"paths": "nowhere.jsonl"}}), quiet=True)
