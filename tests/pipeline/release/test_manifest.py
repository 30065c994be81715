from __future__ import annotations

import dataclasses
import json
from datetime import date
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest

from pipeline.config import ReleaseConfig
from pipeline.errors import IntegrityError, StorageError
from pipeline.release.decisions import placed_spans
from pipeline.release.filtering import filter_documents
from pipeline.release.gate import Gate
from pipeline.release.manifest import clear_staging, publish_release, seal, staging_folder, verify_release
from pipeline.store import file_digest

PARENTS = {"input_digest": "aa", "config_digest": "bb", "seeds": {"audit": 0}, "minhash_scheme": "affine32"}
PASSED = Gate("rows_balance", 0.0, None, None, 0.0, "error", "pass", "sources out of balance")


def _sealed(kit: Any, tmp_path: Path, release: str, gate: Gate = PASSED, texts: str = "abcde") -> str:
    """Write and seal a release of 3 shards in staging; return the staging folder."""
    config = ReleaseConfig(rows_per_shard=2)
    ledger = kit.ledger([kit.Doc(number) for number in range(len(texts))])
    documents = kit.store(str(tmp_path / "documents"), ledger.ids, pa.table({"text": list(texts)}), "text")
    staging = staging_folder(release)
    clear_staging(staging)
    filtered = filter_documents(documents, ledger.decide(config, with_pairs=False), staging, config)
    seal(filtered, "demo", "# card\n", [gate], PARENTS)
    return staging


@pytest.fixture
def published(kit: Any, tmp_path: Path) -> Path:
    release = tmp_path / "filtered" / "demo" / "run-1"
    publish_release(_sealed(kit, tmp_path, str(release)), str(release))
    return release


def test_a_published_release_is_whole_and_leaves_no_staging(published: Path) -> None:
    """Card, shards, manifest and _SUCCESS, nothing else beside it; the manifest names rows, bytes, digests and parents."""
    assert [folder.name for folder in published.parent.iterdir()] == ["run-1"]
    result = verify_release(str(published))
    assert (result.num_files, result.num_rows) == (6, 5)
    assert result.manifest.parents == PARENTS
    raw = json.loads((published / "manifest.json").read_text())
    assert [file["path"] for file in raw["files"]] == ["README.md", *(f"data/train-0000{n}-of-00003.parquet" for n in range(3))]
    assert [file["num_rows"] for file in raw["files"]] == [0, 2, 2, 1]
    assert all((published / file["path"]).stat().st_size == file["num_bytes"] for file in raw["files"])


@pytest.mark.parametrize(
    "name", ["README.md", "data/train-00000-of-00003.parquet", "data/train-00002-of-00003.parquet", "manifest.json", "_SUCCESS"]
)
@pytest.mark.parametrize("place", ["first", "middle", "last"])
def test_one_changed_byte_is_found_in_every_kind_of_file(published: Path, name: str, place: str) -> None:
    """The error names the file, and its recorded and actual digest if it is a shard."""
    data = bytearray((published / name).read_bytes())
    data[{"first": 0, "middle": len(data) // 2, "last": -1}[place]] ^= 1
    (published / name).write_bytes(data)
    with pytest.raises(IntegrityError, match=name) as caught:
        verify_release(str(published), "any")
    if name.startswith("data/"):
        assert file_digest(str(published / name)) in str(caught.value)
        assert str(published) in str(caught.value)


def test_missing_and_surplus_files_are_named(published: Path) -> None:
    """All faults come in one message."""
    (published / "data" / "train-00001-of-00003.parquet").unlink()
    (published / "data" / "extra.parquet").write_bytes(b"PAR1")
    (published / ".hidden").write_bytes(b"")
    with pytest.raises(
        IntegrityError, match=r"3 file\(s\).*train-00001-of-00003.parquet is missing; .hidden is surplus; data/extra.parquet is surplus"
    ):
        verify_release(str(published))


@pytest.mark.parametrize("name", ["_SUCCESS", "manifest.json"])
def test_a_folder_without_its_seal_is_no_release(published: Path, name: str) -> None:
    """Without _SUCCESS, or with it alone, nothing may be used."""
    (published / name).unlink()
    with pytest.raises(IntegrityError, match=name):
        verify_release(str(published), "any")


def test_a_failed_gate_keeps_the_data_in_staging(kit: Any, tmp_path: Path) -> None:
    """No _SUCCESS, nothing at the release's place, the manifest tells why."""
    release = tmp_path / "demo" / "run-1"
    staging = _sealed(kit, tmp_path, str(release), dataclasses.replace(PASSED, status="fail"))
    with pytest.raises(IntegrityError, match="_SUCCESS is missing"):
        publish_release(staging, str(release))
    assert not release.exists()
    assert json.loads((Path(staging) / "manifest.json").read_text())["verdict"] == "FAIL"
    assert not (Path(staging) / "_SUCCESS").exists()


def test_the_required_verdict_is_enforced(kit: Any, tmp_path: Path) -> None:
    """A release that warns is published, verifies with `warn` and `any`, and not with `pass`."""
    release = str(tmp_path / "demo" / "run-1")
    warned = dataclasses.replace(PASSED, severity="warn", status="warn")
    publish_release(_sealed(kit, tmp_path, release, warned), release)
    assert verify_release(release, "warn").manifest.verdict == verify_release(release, "any").manifest.verdict == "WARN"
    with pytest.raises(IntegrityError, match=r"verdict is not good enough.*wanted PASS; got WARN"):
        verify_release(release, "pass")


def test_publishing_again_changes_nothing_and_other_data_is_refused(kit: Any, tmp_path: Path, published: Path) -> None:
    """An equal release is left as it stands; a different one never replaces it."""
    before = (published / "manifest.json").stat().st_mtime_ns
    publish_release(_sealed(kit, tmp_path, str(published)), str(published))
    assert (published / "manifest.json").stat().st_mtime_ns == before
    staging = _sealed(kit, tmp_path, str(published), texts="xyz")
    with pytest.raises(IntegrityError, match="another release already stands here"):
        publish_release(staging, str(published))
    assert verify_release(str(published)).num_rows == 5


def test_something_else_in_the_way_is_not_overwritten(kit: Any, tmp_path: Path) -> None:
    """A folder that is no release is the user's."""
    release = tmp_path / "demo" / "run-1"
    release.mkdir(parents=True)
    (release / "thesis.txt").write_text("mine")
    with pytest.raises(IntegrityError, match="something that is no release stands here"):
        publish_release(_sealed(kit, tmp_path, str(release)), str(release))
    assert (release / "thesis.txt").read_text() == "mine"


def test_only_staging_folders_are_cleared(tmp_path: Path) -> None:
    """A wrong argument cannot delete a dataset."""
    with pytest.raises(IntegrityError, match="not a staging folder"):
        clear_staging(str(tmp_path))


def test_an_object_store_gets_the_seal_last_and_a_cut_copy_is_no_release(kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without renames the copy is resumed from staging: data, manifest, _SUCCESS; until that stands the folder does not verify."""
    release = "memory://bucket/demo/run-1"
    memory = fsspec.filesystem("memory")
    staging = _sealed(kit, tmp_path, release)
    copied: list[str] = []
    copy, put = type(memory).cp_file, type(memory).pipe_file

    def failing(self: Any, source: str, target: str, **options: Any) -> None:
        if len(copied) == 3:
            raise ConnectionError("cut")
        copied.append(target)
        copy(self, source, target, **options)

    def recording(self: Any, source: str, target: str, **options: Any) -> None:
        copied.append(target)
        copy(self, source, target, **options)

    def putting(self: Any, target: str, data: bytes, **options: Any) -> None:
        copied.append(target)
        put(self, target, data, **options)

    monkeypatch.setattr(type(memory), "cp_file", failing)
    with pytest.raises(StorageError, match=r"cannot be written; in memory://bucket/demo/run-1; got ConnectionError: cut"):
        publish_release(staging, release)
    with pytest.raises(IntegrityError, match="_SUCCESS is missing"):
        verify_release(release, "any")
    copied.clear()
    monkeypatch.setattr(type(memory), "cp_file", recording)
    monkeypatch.setattr(type(memory), "pipe_file", putting)
    assert publish_release(staging, release).num_rows == 5
    assert [path.rsplit("/", 1)[-1] for path in copied[-2:]] == ["manifest.json", "_SUCCESS"]
    assert not memory.exists("bucket/demo/.staging-run-1")
    memory.rm("bucket", recursive=True)


def test_a_changed_byte_in_an_object_stores_staging_is_never_sealed(kit: Any, tmp_path: Path) -> None:
    """What was copied is read back before _SUCCESS: a shard that changed after it was written stops the release."""
    release = "memory://changed/demo/run-1"
    memory = fsspec.filesystem("memory")
    staging = _sealed(kit, tmp_path, release)
    shard = memory.find("changed/demo/.staging-run-1/data")[0]
    memory.pipe_file(shard, memory.cat_file(shard)[:-1] + b"!")
    with pytest.raises(IntegrityError, match=r"1 file\(s\) are not as published: data/train-00000-of-00003.parquet has changed"):
        publish_release(staging, release)
    assert not memory.exists("changed/demo/run-1/_SUCCESS")
    memory.rm("changed", recursive=True)


@pytest.mark.parametrize("policy", ["mask", "trim"])
def test_the_manifest_counts_what_was_masked_or_cut(kit: Any, tmp_path: Path, policy: str) -> None:
    """Rows and bytes, before and after publishing; shards of other texts have other digests."""
    config, texts = ReleaseConfig(spans=policy), ["<a b> x", "y <a b>", "z"]
    ledger = kit.with_texts(kit.ledger([kit.Doc(number) for number in range(3)]), texts)
    documents = kit.store(str(tmp_path / "documents"), ledger.ids, pa.table({"text": texts}), "text")
    decisions = ledger.decide(config)
    placed = placed_spans(ledger.ids, decisions, ledger.spans, config)
    filtered = filter_documents(documents, decisions, str(tmp_path / ".staging-run-1"), config, placed=placed)
    plain = filter_documents(documents, ledger.decide(ReleaseConfig()), str(tmp_path / "plain"), ReleaseConfig())
    assert [shard.num_rows for shard in filtered.shards] == [shard.num_rows for shard in plain.shards] == [3]
    assert filtered.shards[0].digest != plain.shards[0].digest
    seal(filtered, "demo", "# card\n", [PASSED], PARENTS)
    manifest = publish_release(filtered.folder, str(tmp_path / "run-1")).manifest
    done, other = ("masked", "trimmed") if policy == "mask" else ("trimmed", "masked")
    lost = 5 if policy == "mask" else 6  # with the blank beside it
    counts = {"policy": policy, f"rows_{done}": 1, f"bytes_{done}": lost, f"rows_{other}": 0, f"bytes_{other}": 0, "rows_emptied": 0}
    assert manifest.spans == counts


def test_the_same_parents_give_the_same_bytes(kit: Any, tmp_path: Path) -> None:
    """No clock, no machine: two runs into different places have equal files."""
    contents = []
    for place in ("one", "two"):
        release = tmp_path / place / "run-1"
        publish_release(_sealed(kit, tmp_path / place, str(release)), str(release))
        contents.append({str(path.relative_to(release)): path.read_bytes() for path in release.rglob("*") if path.is_file()})
    assert contents[0] == contents[1]


WAIVER = {"until": "2027-01-31", "approver": "R. Roe", "reason": "templates", "state": "in_force", "waived": "warn"}


@pytest.mark.parametrize(("waived", "verdict", "is_enough"), [("warn", "WARN", {"warn", "any"}), ("fail", "FAIL", {"any"})])
def test_a_verdict_ends_with_the_waivers_that_it_rests_on(kit: Any, tmp_path: Path, waived: str, verdict: str, is_enough: set[str]) -> None:
    """Up to the last day a waived gate is a pass; afterwards the release is worth what it is without, and the error says by whose word."""
    gate = Gate("source_loss", 0.9, None, None, 0.8, "warn", "waived", "share of rows", waiver={**WAIVER, "waived": waived})
    release = str(tmp_path / "filtered" / "demo" / "run-1")
    publish_release(_sealed(kit, tmp_path, release, gate), release)
    assert verify_release(release, "pass").manifest.verdict == "PASS"
    assert verify_release(release, "pass", date(2027, 1, 31)).num_rows == 5
    for require in ("pass", "warn", "any"):
        if require in is_enough:
            verify_release(release, require, date(2027, 2, 1))
            continue
        words = (
            f"1 waiver.* past their last day: source_loss until 2027-01-31 by R. Roe.*wanted {require.upper()}; got {verdict} on 2027-02-01"
        )
        with pytest.raises(IntegrityError, match=words):
            verify_release(release, require, date(2027, 2, 1))


def test_croissant_is_part_of_the_release(kit: Any, tmp_path: Path) -> None:
    """It is in the manifest, so that a changed description is found, too."""
    release = tmp_path / "filtered" / "demo" / "run-1"
    staging = staging_folder(str(release))
    ledger = kit.ledger([kit.Doc(0)])
    documents = kit.store(str(tmp_path / "documents"), ledger.ids, pa.table({"text": ["a"]}), "text")
    filtered = filter_documents(documents, ledger.decide(ReleaseConfig(), with_pairs=False), staging, ReleaseConfig())
    seal(filtered, "demo", "# card\n", [PASSED], PARENTS, "{}\n")
    publish_release(staging, str(release))
    assert "croissant.json" in [part.path for part in verify_release(str(release)).manifest.files]
    (release / "croissant.json").write_text("{ }\n")
    with pytest.raises(IntegrityError, match=r"croissant\.json has changed"):
        verify_release(str(release))
