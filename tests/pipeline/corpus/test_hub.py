"""Datasets by name, tried on local ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datasets
import pyarrow as pa
import pytest

from pipeline.config import InputConfig
from pipeline.corpus.documents import input_digest
from pipeline.errors import InputError
from pipeline.rows import restore_user_rows, user_schema

FEATURES = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])})


@pytest.fixture
def dataset() -> Any:
    return datasets.Dataset.from_dict({"text": [f"text {i}" for i in range(7)], "label": [0, 1, 0, 1, 0, 1, 0]}, features=FEATURES)


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    datasets.disable_progress_bars()


def test_a_parquet_repository_is_streamed(tmp_path: Path, dataset: Any, read: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """load_dataset gives the rows of the split, features and all, batch by batch."""
    monkeypatch.setattr("pipeline.corpus.hub.BATCH_ROWS", 3)
    (tmp_path / "repo/data").mkdir(parents=True)
    dataset.to_parquet(tmp_path / "repo/data/train-00000-of-00001.parquet")
    dataset.select([0]).to_parquet(tmp_path / "repo/data/test-00000-of-00001.parquet")
    artifact, documents = read(dataset=str(tmp_path / "repo"))
    assert documents.column("text").to_pylist() == dataset["text"][:]
    assert documents.column("source").unique().to_pylist() == ["repo"]
    assert documents.column("source_id").to_pylist()[:2] == ["repo:1", "repo:2"]
    assert [file["path"] for file in artifact.facts["files"]] == ["data/train-00000-of-00001.parquet"]
    restored = restore_user_rows(documents, user_schema(artifact), "text")
    assert datasets.Features.from_arrow_schema(restored.schema) == FEATURES
    assert restored.column("label").to_pylist() == dataset["label"][:]
    config = InputConfig(dataset=str(tmp_path / "repo"))
    assert input_digest(config) == artifact.facts["input_digest"] != input_digest(config.model_copy(update={"split": "test"}))


def test_a_dataset_without_declared_features_is_read_twice(tmp_path: Path, read: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the library does not know the columns beforehand, all rows decide their types."""
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo/train.csv").write_text("text,n\nx,1\ny,2\n")
    assert read(dataset=str(tmp_path / "repo"))[1].column("user.n").to_pylist() == [1, 2]


@pytest.mark.parametrize("setting", ["paths", "dataset"])
def test_saved_datasets_are_read_from_their_shards(tmp_path: Path, dataset: Any, read: Any, setting: str) -> None:
    """A save_to_disk folder gives the rows of its own shards, in order, and no cache file."""
    dataset.save_to_disk(tmp_path / "one", num_shards=3)
    (tmp_path / "one/cache-123.arrow").write_bytes(b"left by map")
    where = str(tmp_path / "one")
    artifact, documents = read(where) if setting == "paths" else read(dataset=where)
    assert documents.column("text").to_pylist() == dataset["text"][:]
    assert documents.column("source").unique().to_pylist() == ["data.arrow"], "shards of one dataset are one source"
    assert datasets.Features.from_arrow_schema(user_schema(artifact)) == FEATURES
    assert read(str(tmp_path))[1].num_rows == 7, "found within a folder too"


def test_splits_of_a_saved_dataset_dict(tmp_path: Path, dataset: Any, read: Any) -> None:
    """input.split chooses the split; a wrong one lists those there are."""
    datasets.DatasetDict({"train": dataset, "validation": dataset.select([0])}).save_to_disk(tmp_path / "two")
    assert read(tmp_path / "two")[1].num_rows == 7
    assert read(tmp_path / "two", split="validation", format="dataset")[1].num_rows == 1
    with pytest.raises(
        InputError, match=r"no such split; in .*two; wanted one of train, validation; got test; what to do: set input.split"
    ):
        read(tmp_path / "two", split="test")


def test_datasets_that_cannot_be_loaded_are_explained(tmp_path: Path, dataset: Any, read: Any) -> None:
    """A missing folder or split says which setting to check."""
    message = r"the dataset cannot be loaded; in input.dataset .*; wanted configuration default, split {}; got .*; what to do: check"
    with pytest.raises(InputError, match=message.format("train")):
        read(dataset=str(tmp_path / "nowhere"))
    (tmp_path / "repo").mkdir()
    dataset.to_parquet(tmp_path / "repo/train.parquet")
    with pytest.raises(InputError, match=message.format("dev")):
        read(dataset=str(tmp_path / "repo"), split="dev")


def test_damaged_rows_are_explained(tmp_path: Path, read: Any) -> None:
    """What the library cannot read is an input fault."""
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo/train.parquet").write_bytes(b"not parquet")
    with pytest.raises(InputError, match="the dataset cannot be loaded"):
        read(dataset=str(tmp_path / "repo"))


def test_schema_metadata_is_arrows_own() -> None:
    """The features travel in the schema's metadata, as datasets itself writes them."""
    assert b"huggingface" in pa.schema(FEATURES.arrow_schema).metadata
