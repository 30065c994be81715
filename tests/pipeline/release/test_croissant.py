"""croissant.json is read by Croissant's own library, and the rows come back."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import logging
from pathlib import Path
from typing import Any

import mlcroissant
import numpy as np
import pyarrow as pa
import pytest

from pipeline.config import ReleaseConfig
from pipeline.release.croissant import CROISSANT, OURS, describe_dataset
from pipeline.release.filtering import EXTRA_TYPES, FilteredData
from pipeline.release.gate import Gate
from pipeline.release.shards import write_shards

# the library's own reader uses what rdflib and pandas are about to drop
pytestmark = [
    pytest.mark.filterwarnings("ignore:ConjunctiveGraph is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The inplace keyword in DataFrame.reset_index"),
]

HOSTILE = 'na me/<x> "q" ü'
SPANS = EXTRA_TYPES["sink_mask_spans"]
FAILED = Gate("filtered_rows", 0.0, None, None, 0.0, "error", "fail", "rows")


def _table() -> pa.Table:
    rows = 5
    return pa.table(
        {
            "text": pa.array([f"text {n} é" for n in range(rows)], pa.large_string()),
            "n": pa.array(range(rows), pa.int32()),
            "f": pa.array([0.5, None, 1, 2, 3], pa.float32()),
            "b": [True, False, None, True, True],
            "when": pa.array([dt.datetime(2020, 1, 1)] * rows, pa.timestamp("us")),
            "day": pa.array([dt.date(2020, 1, 2)] * rows),
            "tags": pa.array([["a", "b"], [], None, ["c"], ["d"]]),
            "matrix": pa.array([[[1], [2, 3]]] * rows),
            "pair": pa.array([{"a": 1, "b": "x"}] * rows),
            HOSTILE: ["z"] * rows,
            "bytes": pa.array([b"\xff"] * rows),
            "kind": pa.array(["u", "v", "u", "u", "v"]).dictionary_encode(),
            "sink_weight": [1.0, 0.5, 1, 1, 1],
            "sink_mask_spans": pa.array([[{"start": 1, "end": 2}, {"start": 4, "end": 5}], [], [{"start": 0, "end": 1}], [], []], SPANS),
        }
    )


def _written(folder: Path, table: pa.Table, **settings: Any) -> dict[str, Any]:
    """Write a table as shards of 3 rows with their croissant.json; return that."""
    pieces = [(table, np.ones(table.num_rows, np.int64))]
    shards = write_shards(str(folder), table.schema, pieces, table.num_rows, 3)
    filtered = FilteredData(str(folder), shards, tuple(table.schema.names), schema=table.schema)
    text = describe_dataset("demo", "demo-0123456789", filtered, [], ReleaseConfig(**settings))
    (folder / CROISSANT).write_text(text)
    described: dict[str, Any] = json.loads(text)
    return described


def _records(folder: Path, caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """Load what stands in a folder and iterate over it; the library raises on errors and logs warnings."""
    with caplog.at_level(logging.WARNING):
        dataset = mlcroissant.Dataset(jsonld=folder / CROISSANT)
        return list(dataset.records("default"))


def test_every_row_comes_back_from_the_files(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Over all shards in order, every column of a type that Croissant knows, lists and spans included."""
    table = _table()
    _written(tmp_path, table, license="https://creativecommons.org/licenses/by/4.0/")
    records = _records(tmp_path, caplog)
    assert [record["default/text"].decode() for record in records] == table["text"].to_pylist()
    assert [record["default/n"] for record in records] == [0, 1, 2, 3, 4]
    assert [record["default/f"] for record in records] == [0.5, None, 1, 2, 3]
    assert [record["default/tags"] for record in records] == [[b"a", b"b"], [], None, [b"c"], [b"d"]]
    assert records[0]["default/matrix"] == [[1], [2, 3]]
    assert records[0]["default/pair"] == {"default/pair/a": 1, "default/pair/b": b"x"}
    prefix = "default/sink_mask_spans/"
    spans = [
        [{key.removeprefix(prefix): value for key, value in span.items()} for span in row["default/sink_mask_spans"]] for row in records
    ]
    assert spans == table["sink_mask_spans"].to_pylist()
    assert "license" not in caplog.text


def test_files_are_named_with_size_and_digest(tmp_path: Path) -> None:
    """Relative to the dataset's own folder, so that it may be moved."""
    described = _written(tmp_path, _table())
    files = [part for part in described["distribution"] if part["@type"] == "cr:FileObject"]
    assert [file["contentUrl"] for file in files] == ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"]
    for file in files:
        data = (tmp_path / file["contentUrl"]).read_bytes()
        assert (file["sha256"], file["contentSize"]) == (hashlib.sha256(data).hexdigest(), f"{len(data)} B")


def test_columns_have_types_and_what_has_none_is_named(tmp_path: Path) -> None:
    """Bytes have no Croissant type: the column is left out and said to be."""
    (records,) = _written(tmp_path, _table())["recordSet"]
    fields = {field["name"]: field for field in records["field"]}
    assert list(fields) == [name for name in _table().column_names if name != "bytes"]
    assert "bytes" in records["description"]
    assert fields["n"]["dataType"] == "cr:Int32"
    assert fields["kind"]["dataType"] == "sc:Text"
    assert (fields["matrix"]["isArray"], fields["matrix"]["arrayShape"]) == (True, "-1,-1")
    assert fields[HOSTILE]["source"]["extract"]["column"] == HOSTILE
    assert set(OURS) == set(EXTRA_TYPES)
    assert fields["sink_weight"]["description"] == OURS["sink_weight"]


def test_nothing_is_said_that_nobody_knows(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """No licence, creator or date unless given; the library takes it all the same."""
    described = _written(tmp_path, _table())
    assert not described.keys() & {"license", "creator", "datePublished", "citeAs", "url"}
    assert len(_records(tmp_path, caplog)) == 5
    assert _written(tmp_path, _table(), license="cc-by-4.0")["license"] == "cc-by-4.0"


def test_a_dataset_without_rows_is_described_without_files(tmp_path: Path) -> None:
    """The verdict is told, and no record set promises rows."""
    empty = FilteredData(str(tmp_path), (), ("text",), schema=pa.schema([("text", pa.string())]))
    described = json.loads(describe_dataset("demo", "demo-1", empty, [FAILED], ReleaseConfig()))
    assert "distribution" not in described
    assert "recordSet" not in described
    assert described["description"].endswith("Verdict of the audit: FAIL.")
    (tmp_path / CROISSANT).write_text(json.dumps(described))
    assert mlcroissant.Dataset(jsonld=tmp_path / CROISSANT).metadata.name == "demo"
