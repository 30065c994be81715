"""Dataset tools read the front matter, and the data as if it were not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml
from datasets import ClassLabel, Features, Value, load_dataset
from huggingface_hub import DatasetCard

from pipeline.release.filtering import FilteredData
from pipeline.release.front_matter import front_matter
from pipeline.release.shards import write_shards

PLAIN = pa.table(
    {
        "text": pa.array(["a", "b"], pa.large_string()),
        "n": pa.array([1, 2], pa.int8()),
        "f": pa.array([1, 2], pa.float32()),
        "w": [1.0, 0.5],
        "ok": [True, None],
        "raw": [b"1", b"2"],
        "at": pa.array([1, 2], pa.timestamp("us")),
        "day": pa.array([1, 2], pa.date32()),
        "none": pa.nulls(2),
        "tags": [["x"], []],
        "nested": [[[1]], []],
        "pair": [{"a": 1}] * 2,
        "spans": pa.array([[{"start": 1, "end": 2}], []], pa.list_(pa.struct([("start", pa.int64()), ("end", pa.int64())]))),
    }
)


def _released(folder: Path, table: pa.Table, **told: Any) -> dict[str, Any]:
    """Write a table with its front matter; return that as dataset tools parse it."""
    shards = write_shards(str(folder), table.schema, [(table, np.ones(2, np.int64))], 2, 1)
    filtered = FilteredData(str(folder), shards, tuple(table.schema.names), schema=table.schema)
    front = front_matter("demo: {x}", filtered, **told)
    (folder / "README.md").write_text(f"{front}\n\n# demo\n")
    parsed: dict[str, Any] = yaml.safe_load(front.strip("-\n"))
    return parsed


@pytest.mark.parametrize("name", PLAIN.column_names)
def test_features_say_what_the_files_say(tmp_path: Path, name: str) -> None:
    """Each plain type has the name that `datasets` itself gives it."""
    table = PLAIN.select([name])
    told = _released(tmp_path, table)["dataset_info"]["features"]
    assert told == Features.from_arrow_schema(table.schema)._to_yaml_list()


def test_the_folder_reads_back_with_them(tmp_path: Path) -> None:
    """Types and rows are the user's."""
    _released(tmp_path, PLAIN)
    rows = load_dataset(str(tmp_path), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows.features == Features.from_arrow_schema(PLAIN.schema)
    assert rows.to_list() == PLAIN.to_pylist()


def test_class_names_stay_and_unknown_types_leave_features_out(tmp_path: Path) -> None:
    """Where the files know more than the card could say, the card says nothing."""
    features = Features({"text": Value("string"), "label": ClassLabel(names=["no", "yes"])})
    table = pa.table({"text": ["a", "b"], "label": [0, 1]}).cast(features.arrow_schema)
    assert "features" not in _released(tmp_path / "labels", table)["dataset_info"]
    rows = load_dataset(str(tmp_path / "labels"), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows.features["label"].names == ["no", "yes"]
    odd = PLAIN.append_column("kind", pa.array(["u", "v"]).dictionary_encode())
    assert "features" not in _released(tmp_path / "odd", odd)["dataset_info"]


def test_the_card_library_parses_it(tmp_path: Path) -> None:
    """Languages, licence, sizes and files arrive; nothing is assumed."""
    _released(tmp_path, PLAIN, languages=["de", "en"], licence="cc-by-4.0")
    data = DatasetCard.load(tmp_path / "README.md").data.to_dict()
    assert (data["language"], data["license"], data["size_categories"]) == (["de", "en"], "cc-by-4.0", ["n<1K"])
    assert data["configs"][0]["data_files"] == [{"split": "train", "path": "data/train-*.parquet"}]
    bare = _released(tmp_path / "bare", PLAIN)
    assert not bare.keys() & {"language", "license"}
    assert bare["pretty_name"] == "demo: {x}"


def test_without_rows_no_files_are_promised() -> None:
    """An empty release has no configuration to load."""
    front = yaml.safe_load(front_matter("demo", FilteredData("x", (), ("text",))).strip("-\n"))
    assert not front.keys() & {"configs", "dataset_info"}
