from __future__ import annotations

import datetime as dt
import json
from contextlib import nullcontext
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.dataset as pads
import pyarrow.parquet as pq
import pytest

from pipeline.config import ReleaseConfig
from pipeline.errors import InputError, TableError
from pipeline.release.card import render_card
from pipeline.release.decisions import placed_spans
from pipeline.release.filtering import FilteredData, filter_documents

FEATURES = {
    "info": {
        "features": {
            "body": {"dtype": "string", "_type": "Value"},
            "label": {"names": ["bad", "good"], "_type": "ClassLabel"},
        }
    }
}
RICH = pa.schema(
    [
        pa.field("label", pa.int64()),
        pa.field("body", pa.string(), metadata={b"unit": b"words"}),
        pa.field("doc_id", pa.int32()),
        pa.field("kind", pa.dictionary(pa.int8(), pa.string())),
        pa.field("when", pa.timestamp("us", "Europe/Berlin")),
        pa.field("nested", pa.struct([("tags", pa.list_(pa.dictionary(pa.int16(), pa.string()))), ("n", pa.int16())])),
        pa.field("pairs", pa.map_(pa.string(), pa.int32())),
        pa.field("vector", pa.list_(pa.float32(), 2)),
        pa.field("price", pa.decimal128(10, 2)),
        pa.field("day", pa.date32(), nullable=False),
        pa.field("raw", pa.large_binary()),
    ],
    metadata={b"huggingface": json.dumps(FEATURES).encode(), b"origin": "Ünïcode".encode()},
)


def _rich_row(number: int) -> dict[str, Any]:
    return {
        "label": number % 2,
        "body": f"body of row {number}" if number != 3 else None,
        "doc_id": 1000 - number,
        "kind": f"kind-{number}",
        "when": dt.datetime(2020, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=number),
        "nested": {"tags": [f"tag-{number}", None], "n": None} if number % 4 else None,
        "pairs": [("key", number)],
        "vector": [number, 0.5],
        "price": Decimal(number) / 100,
        "day": dt.date(2020, 1, 1),
        "raw": bytes([number]),
    }


def _rich(count: int) -> pa.Table:
    return pa.Table.from_pylist([_rich_row(number) for number in range(count)], schema=RICH)


def _filtered(kit: Any, folder: Path, user: pa.Table, docs: list[Any], config: ReleaseConfig, rows_per_part: int = 4) -> FilteredData:
    ledger = kit.ledger(docs)
    text_column = "body" if "body" in user.column_names else "text"
    documents = kit.store(str(folder / "documents"), ledger.ids, user, text_column, rows_per_part)
    decisions = ledger.decide(config)
    return filter_documents(documents, decisions, str(folder / "out"), config, ledger.scores, ledger.clusters)


def _treated(kit: Any, folder: Path, texts: list[str | None], policy: str, **settings: Any) -> tuple[FilteredData, pa.Table]:
    """Release rows whose texts hold `<repeated spans>`; return what was written and read back."""
    config = ReleaseConfig(spans=policy, **settings)
    ledger = kit.with_texts(kit.ledger([kit.Doc(None if text is None else n) for n, text in enumerate(texts)]), texts)
    user = pa.table({"body": pa.array(texts, pa.string()), "n": pa.array(range(len(texts)), pa.int16())})
    documents = kit.store(str(folder / "documents"), ledger.ids, user, "body", 2)
    decisions = ledger.decide(config)
    placed = placed_spans(ledger.ids, decisions, ledger.spans, config)
    filtered = filter_documents(documents, decisions, str(folder / "out"), config, placed=placed)
    return filtered, pa.concat_tables([pq.read_table(folder / "out" / shard.path) for shard in filtered.shards])


def _docs(kit: Any, count: int, *, empty: tuple[int, ...] = (), sinks: tuple[int, ...] = ()) -> list[Any]:
    return [kit.Doc(None if n in empty else n, "web", (1.0 if n in sinks else 0.0, 0.0, True)) for n in range(count)]


def test_types_order_and_metadata_of_the_user_come_back(kit: Any, tmp_path: Path) -> None:
    """Every column reads back with its own Arrow type, nullability and metadata, a user's `doc_id` included, and no column of ours."""
    user = _rich(12)
    filtered = _filtered(kit, tmp_path, user, _docs(kit, 12, empty=(3, 7)), ReleaseConfig(rows_per_shard=6))
    assert [shard.path for shard in filtered.shards] == ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"]
    assert filtered.rows_by_source == {"web": 10}
    tables = [pq.read_table(tmp_path / "out" / shard.path) for shard in filtered.shards]
    for table in tables:
        assert table.schema.equals(RICH)
        assert table.schema.metadata == RICH.metadata
        assert [(field.nullable, field.metadata) for field in table.schema] == [(field.nullable, field.metadata) for field in RICH]
    wanted = [row for number, row in enumerate(user.to_pylist()) if number not in (3, 7)]
    assert pa.concat_tables(tables).to_pylist() == wanted


def test_nothing_of_a_removed_row_is_in_the_bytes(kit: Any, tmp_path: Path) -> None:
    """Dictionaries are rebuilt, top level and nested: values that only removed rows had are not in any file."""
    user = _rich(12)
    filtered = _filtered(kit, tmp_path, user, _docs(kit, 12, empty=(5,)), ReleaseConfig())
    table = pq.read_table(tmp_path / "out" / filtered.shards[0].path)
    assert "kind-5" not in table.column("kind").combine_chunks().dictionary.to_pylist()
    plain = pq.ParquetFile(tmp_path / "out" / filtered.shards[0].path, read_dictionary=None)
    assert "kind-5" not in str(plain.read().to_pydict())
    uncompressed = pa.BufferOutputStream()
    pq.write_table(table, uncompressed, compression="none")
    assert b"kind-4" in uncompressed.getvalue().to_pybytes()
    assert b"kind-5" not in uncompressed.getvalue().to_pybytes()
    tags = table.column("nested").combine_chunks().field("tags").flatten().dictionary.to_pylist()
    assert "tag-6" in tags
    assert "tag-5" not in tags


@pytest.mark.parametrize(("group_rows", "group_bytes", "first_group"), [(5, 1_000, 5), (100, 30, 3)])
def test_bytes_do_not_depend_on_how_documents_were_parted(
    kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group_rows: int, group_bytes: int, first_group: int
) -> None:
    """Parts of 1, 3 and 100 rows give the same shards, whether row groups close by rows or by bytes of text (13 or 14 a row)."""
    monkeypatch.setattr("pipeline.release.shards.GROUP_ROWS", group_rows)
    monkeypatch.setattr("pipeline.release.shards.GROUP_BYTES", group_bytes)
    digests: list[list[tuple[str, int, str]]] = []
    for size in (1, 3, 100, 100):
        folder = tmp_path / f"{size}-{len(digests)}"
        filtered = _filtered(kit, folder, _rich(23), _docs(kit, 23, empty=(3,), sinks=(6,)), ReleaseConfig(rows_per_shard=9), size)
        digests.append([(shard.path, shard.num_rows, shard.digest) for shard in filtered.shards])
        described = pq.ParquetFile(folder / "out" / filtered.shards[0].path).metadata
        assert described.row_group(0).num_rows == first_group
    assert digests[0] == digests[1] == digests[2] == digests[3]
    assert [rows for _, rows, _ in digests[0]] == [9, 9, 4]


def test_a_weight_travels_only_where_a_decision_needs_it(kit: Any, tmp_path: Path) -> None:
    """`sink_weight` stands behind the user's columns as soon as one row weighs less, and not otherwise."""
    user = pa.table({"text": ["a", "b", "c"]})
    weighed = _filtered(kit, tmp_path / "1", user, _docs(kit, 3, sinks=(1,)), ReleaseConfig())
    assert weighed.columns == ("text", "sink_weight")
    table = pq.read_table(tmp_path / "1" / "out" / weighed.shards[0].path)
    assert table.to_pydict() == {"text": ["a", "b", "c"], "sink_weight": [1.0, 0.1, 1.0]}
    assert _filtered(kit, tmp_path / "2", user, _docs(kit, 3), ReleaseConfig()).columns == ("text",)


def test_masked_rows_carry_their_spans_and_their_text_untouched(kit: Any, tmp_path: Path) -> None:
    """Bytes of the released text, sorted, touching ones as one; an empty list in every other row; no column where nothing is masked."""
    texts = ["é <a é> x <a é><b>", None, "<a é> ü", "<b> y"]
    filtered, table = _treated(kit, tmp_path / "1", texts, "mask")
    assert filtered.columns == ("body", "n", "sink_mask_spans")
    assert table.schema.field("sink_mask_spans").type == pa.list_(pa.struct([("start", pa.int64()), ("end", pa.int64())]))
    assert table["body"].to_pylist() == [text for text in texts if text]
    rows = table.to_pylist()
    hidden = [[row["body"].encode()[span["start"] : span["end"]].decode() for span in row["sink_mask_spans"]] for row in rows]
    assert sum(part.count("<a é>") for parts in hidden for part in parts) == 2
    assert sum(part.count("<b>") for parts in hidden for part in parts) == 1
    counts = filtered.spans
    assert (counts.policy, counts.rows_masked, counts.rows_trimmed) == ("mask", sum(map(bool, hidden)), 0)
    assert counts.bytes_masked == sum(len(part.encode()) for parts in hidden for part in parts) == 2 * 6 + 3
    assert _treated(kit, tmp_path / "2", texts, "report")[0].columns == ("body", "n")
    assert _treated(kit, tmp_path / "3", ["<a>", "<b>"], "mask")[0].columns == ("body", "n")


def test_trimmed_rows_lose_their_spans_and_say_how_many_bytes(kit: Any, tmp_path: Path) -> None:
    """Only the text changes, types stay, nothing is left to mask, and bytes before less bytes after are counted."""
    texts = ["é <a é> x", "<a é>", "y\n<a é>\nz", None]
    filtered, table = _treated(kit, tmp_path, texts, "trim")
    assert filtered.columns == ("body", "n")
    assert table.schema == pa.schema([("body", pa.string()), ("n", pa.int16())])
    assert table["n"].to_pylist() == [0, 1, 2]
    released = table["body"].to_pylist()
    assert "".join(released).count("<a é>") == 1
    assert all(new in (old, cut) for new, old, cut in zip(released, texts[:3], ["é x", "", "y\nz"], strict=True))
    lost = sum(len(text.encode()) for text in texts if text) - sum(len(text.encode()) for text in released)
    counts = filtered.spans
    assert (counts.rows_trimmed, counts.bytes_trimmed, counts.rows_emptied) == (2, lost, released.count(""))
    assert (counts.rows_masked, counts.bytes_masked) == (0, 0)


def test_a_users_own_mask_column_is_an_error_only_once_ours_is_needed(kit: Any, tmp_path: Path) -> None:
    """The name has to be free where a row is masked."""
    ledger = kit.with_texts(kit.ledger(_docs(kit, 2)), ["<a>", "<a>"])
    user = pa.table({"text": ["<a>", "<a>"], "sink_mask_spans": ["mine", "too"]})
    documents = kit.store(str(tmp_path / "documents"), ledger.ids, user, "text")
    for policy, refusal in (
        ("trim", nullcontext()),
        ("mask", pytest.raises(InputError, match="already has a column named sink_mask_spans")),
    ):
        config = ReleaseConfig(spans=policy)
        decisions = ledger.decide(config)
        with refusal:
            placed = placed_spans(ledger.ids, decisions, ledger.spans, config)
            filter_documents(documents, decisions, str(tmp_path / policy), config, placed=placed)


def test_spans_that_were_not_decided_on_are_refused(kit: Any, tmp_path: Path) -> None:
    """Masked rows without spans, and spans in rows that no decision masks, stop the writing."""
    config = ReleaseConfig(spans="mask")
    ledger = kit.with_texts(kit.ledger(_docs(kit, 2)), ["<a>", "<a>"])
    documents = kit.store(str(tmp_path / "documents"), ledger.ids, pa.table({"text": ["<a>", "<a>"]}), "text")
    decisions = ledger.decide(config)
    placed = placed_spans(ledger.ids, decisions, ledger.spans, config)
    with pytest.raises(TableError, match=r"spans and decisions differ.*1 masked row\(s\) without spans, 0 row"):
        filter_documents(documents, decisions, str(tmp_path / "out"), config)
    with pytest.raises(TableError, match=r"0 masked row\(s\) without spans, 1 row\(s\) with spans that no decision names"):
        filter_documents(documents, ledger.decide(ReleaseConfig()), str(tmp_path / "out"), config, placed=placed)


def test_hugging_face_datasets_reads_masked_spans_as_lists_of_pairs(kit: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The column comes out as a trainer expects it, masked or not."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    filtered, table = _treated(kit, tmp_path, ["<a> x", "y <a>", "z"], "mask", rows_per_shard=2)
    assert len(filtered.shards) == 2
    files = [str(tmp_path / "out" / shard.path) for shard in filtered.shards]
    loaded = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=str(tmp_path / "cache"))
    assert [row["sink_mask_spans"] for row in loaded] == table["sink_mask_spans"].to_pylist()
    assert sum(len(row["sink_mask_spans"]) for row in loaded) == 1


def test_extra_columns_come_when_asked_under_our_prefix(kit: Any, tmp_path: Path) -> None:
    """doc_id, score, cluster and its size, in the ledger's order."""
    config = ReleaseConfig(extra_columns=("sink_score", "doc_id", "cluster_id", "cluster_size"))
    filtered = _filtered(kit, tmp_path, pa.table({"text": ["a", "b"]}), _docs(kit, 2), config)
    row = pq.read_table(tmp_path / "out" / filtered.shards[0].path).to_pylist()[1]
    assert list(row) == ["text", "sink_doc_id", "sink_score", "sink_cluster_id", "sink_cluster_size"]
    assert (row["sink_doc_id"], row["sink_score"], row["sink_cluster_size"]) == (1, 0.0, 1)
    assert len(bytes.fromhex(row["sink_cluster_id"])) == 16


def test_a_users_column_is_never_overwritten(kit: Any, tmp_path: Path) -> None:
    """A user's own sink_weight stays untouched, or is an error once ours has to be written."""
    user = pa.table({"text": ["a", "b"], "sink_weight": ["mine", "too"]})
    kept = _filtered(kit, tmp_path / "1", user, _docs(kit, 2), ReleaseConfig())
    assert pq.read_table(tmp_path / "1" / "out" / kept.shards[0].path).equals(user)
    with pytest.raises(InputError, match=r"already has a column named sink_weight.*rename"):
        _filtered(kit, tmp_path / "2", user, _docs(kit, 2, sinks=(0,)), ReleaseConfig())


def test_no_released_row_means_no_file(kit: Any, tmp_path: Path) -> None:
    """A zero-row shard would break dataset readers."""
    filtered = _filtered(kit, tmp_path, pa.table({"text": ["", ""]}), _docs(kit, 2, empty=(0, 1)), ReleaseConfig())
    assert (filtered.shards, filtered.num_rows, filtered.rows_by_source) == ((), 0, {})
    assert not (tmp_path / "out").exists()


def test_decisions_about_other_documents_are_refused(kit: Any, tmp_path: Path) -> None:
    """Fewer decisions than documents stop the writing."""
    ledger, other = kit.ledger(_docs(kit, 5)), kit.ledger(_docs(kit, 3))
    documents = kit.store(str(tmp_path / "documents"), ledger.ids, pa.table({"text": list("abcde")}), "text", 2)
    with pytest.raises(TableError, match="documents and decisions differ"):
        filter_documents(documents, other.decide(ReleaseConfig(), with_pairs=False), str(tmp_path / "out"), ReleaseConfig())


def test_shards_are_zstd_with_a_page_index(kit: Any, tmp_path: Path) -> None:
    """What dataset tools recommend for reading parts of a file."""
    filtered = _filtered(kit, tmp_path, _rich(3), _docs(kit, 3), ReleaseConfig())
    column = pq.ParquetFile(tmp_path / "out" / filtered.shards[0].path).metadata.row_group(0).column(0)
    assert column.compression == "ZSTD"
    assert column.has_offset_index
    assert column.has_column_index


@pytest.fixture
def release(kit: Any, tmp_path: Path) -> Path:
    """A release folder of 9 rows in 2 shards, with its card and a manifest beside the data, of ordinary column types."""
    schema = pa.schema(RICH.field(name) for name in ("label", "body", "kind", "when", "vector")).with_metadata(RICH.metadata)
    user = pa.Table.from_pylist(_rich(10).select(schema.names).to_pylist(), schema=schema)
    docs, config = _docs(kit, 10, empty=(3,), sinks=(1,)), ReleaseConfig(rows_per_shard=5)
    filtered = _filtered(kit, tmp_path, user, docs, config)
    ledger = kit.ledger(docs)
    card = render_card("demo", ledger.ids, ledger.decide(config, with_pairs=False), filtered, [], {}, config)
    (tmp_path / "out" / "README.md").write_text(card, encoding="utf-8")
    (tmp_path / "out" / "manifest.json").write_text("{}", encoding="utf-8")
    return tmp_path / "out"


def test_hugging_face_datasets_reads_it_by_map_and_by_stream(release: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder alone is enough, offline; ClassLabel survives, and the rows concatenate with ordinary ones."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    loaded = datasets.load_dataset(str(release), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.num_rows == 9
    assert loaded.features["label"].names == ["bad", "good"]
    assert loaded["sink_weight"][:2] == [1.0, 0.1]
    streamed = list(datasets.load_dataset(str(release), split="train", streaming=True, cache_dir=str(tmp_path / "cache")))
    assert [row["body"] for row in streamed] == [f"body of row {number}" for number in range(10) if number != 3]
    plain = datasets.Dataset.from_dict({"body": ["x"]})
    assert datasets.concatenate_datasets([loaded.select_columns("body"), plain]).num_rows == 10


def test_polars_pyarrow_and_duckdb_read_it(release: Path) -> None:
    """The three agree on rows and on the sum of weights."""
    pattern = f"{release}/data/*.parquet"
    scanned = pl.scan_parquet(pattern).select(pl.len(), pl.col("sink_weight").sum()).collect().row(0)
    table = pads.dataset(release / "data", format="parquet").to_table()
    counted = duckdb.sql(f"select count(*), sum(sink_weight) from '{pattern}'").fetchall()[0]
    assert scanned[0] == table.num_rows == counted[0] == 9
    assert scanned[1] == pytest.approx(8.1)
    assert counted[1] == pytest.approx(8.1)
