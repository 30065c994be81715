"""Rows as users have them, from file to removals: ids that repeat, nulls, mixed types, markers that know a row by its place."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline import store
from pipeline.config import DedupConfig, InputConfig
from pipeline.corpus.documents import read_corpus
from pipeline.errors import InputError
from pipeline.tables import check_documents

Run = Callable[..., Any]
WORDS = [f"w{i}" for i in range(60)]
ORIGINAL, EDITED = " ".join(WORDS), " ".join([*WORDS[:30], "edit", *WORDS[31:]])


def write(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def run(folder: Path, out: Path, deduplicate: Run, **settings: Any) -> tuple[Any, pl.DataFrame]:
    """Read a folder in parts of three rows, deduplicate, and return the result and every row with the row kept for it."""
    artifact = read_corpus(InputConfig(paths=(str(folder),), rows_per_part=3, **settings), str(out))
    parts = [check_documents(part) for part in store.iter_arrow(artifact)]
    result = deduplicate(parts, DedupConfig())
    rows = pl.DataFrame(pl.from_arrow(pa.concat_tables(parts)))
    return result, rows.join(result.removals, on="doc_id", how="left")


def test_user_ids_that_repeat_stay_apart(tmp_path: Path, deduplicate: Run) -> None:
    """Rows that share one id, even in one file, are rows of their own: copies fall by content, the others stay."""
    texts = [ORIGINAL, "something else", EDITED, "a third text", ORIGINAL, "something else"]
    (tmp_path / "in").mkdir()
    for name, some in (("a", texts[:3]), ("b", texts[3:])):
        write(tmp_path / "in" / f"{name}.jsonl", [{"id": "same", "text": text} for text in some])
    result, rows = run(tmp_path / "in", tmp_path / "out", deduplicate)
    assert rows["source_id"].to_list() == ["same"] * 6
    assert rows["doc_id"].is_unique().all()
    stay = rows.filter(pl.col("reason").is_null())["text"].to_list()
    assert len(stay) == 3
    assert set(stay) - {ORIGINAL, EDITED} == {"something else", "a third text"}
    assert result.facts["num_exact"] + result.facts["num_near"] == 3


def test_null_texts_meet_empty_ones_and_nothing_else(tmp_path: Path, deduplicate: Run) -> None:
    """Null, missing and blank texts are one exact cluster; a text that reads "null" or "None" is a text."""
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "a.jsonl", [{"text": None, "n": 1}, {"text": "null", "n": 2}, {"n": 3}, {"text": "None", "n": None}])
    write(tmp_path / "in" / "b.jsonl", [{"text": " \n", "n": 5}, {"text": "\u3000", "n": 6}, {"text": ORIGINAL, "n": 7}])
    pq.write_table(pa.table({"text": pa.array([None, None], pa.string())}), tmp_path / "in" / "c.parquet")
    result, rows = run(tmp_path / "in", tmp_path / "out", deduplicate)
    empty = rows["text"].fill_null("").str.strip_chars() == ""
    assert empty.sum() == 6
    sizes = result.clusters.sort("doc_id")["cluster_size"]
    assert sizes.to_list() == [6 if is_empty else 1 for is_empty in empty]
    assert rows.filter(pl.col("reason").is_not_null()).select(pl.col("reason").unique()).to_series().to_list() == ["exact_duplicate"]
    assert result.removals.height == 5
    assert result.candidates.is_empty()


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"text": ORIGINAL}, {"text": 7}], r"column text has values of several types; in .*a.jsonl, line 2"),
        ([{"text": ORIGINAL}, {"text": ["a", "b"]}], r"column text has values of several types; in .*a.jsonl, line 2"),
        ([{"text": ORIGINAL}, {"text": {"body": "a"}}], r"column text has values of several types; in .*a.jsonl, line 2"),
        ([{"text": "a", "id": 1}, {"text": "b", "id": "x1"}], r"column id has values of several types; in .*a.jsonl, line 2"),
        ([{"text": "a", "meta": {"n": 1}}, {"text": "b", "meta": {"n": "one"}}], r"column meta.* has values of several types"),
    ],
)
def test_mixed_types_stop_before_anything_is_published(tmp_path: Path, rows: list[dict[str, Any]], message: str) -> None:
    """A column of several types is named with its line, its text is not quoted, and no documents are left to be found."""
    write(tmp_path / "a.jsonl", rows)
    with pytest.raises(InputError, match=message) as caught:
        read_corpus(InputConfig(paths=(str(tmp_path / "a.jsonl"),)), str(tmp_path / "out"))
    assert "w30" not in str(caught.value)
    assert store.find(str(tmp_path / "out")) is None


def test_rows_in_other_files_meet_the_same_fate(tmp_path: Path, deduplicate: Run) -> None:
    """Nothing marks a row by file, rank or place: the same rows in one file, in many, or backwards go for the same rows."""
    rows: list[dict[str, Any]] = []
    for family in range(8):
        words = [f"f{family}w{i}" for i in range(50)]
        for version in range(4):
            copy = [*words[: 10 * version], f"v{version}", *words[10 * version + 1 :]] if version else words
            rows.append({"id": f"{family}-{version}", "text": " ".join(copy), "lang": "en" if version % 2 else None})
    rows += [{"id": "copy", "text": rows[0]["text"].upper(), "lang": "en"}, {"id": "none", "text": None, "lang": None}]
    fates = []
    for number, pieces in enumerate(([rows], [rows[:5], rows[5:6], rows[6:]], [rows[::-1][start::7] for start in range(7)])):
        folder = tmp_path / f"in{number}"
        folder.mkdir()
        for place, piece in enumerate(pieces):
            write(folder / f"{place}.jsonl", piece)
        # without a source column, a row's source is its file's name
        result, told = run(folder, tmp_path / f"out{number}", deduplicate)
        known = dict(told.select("doc_id", "source_id").rows())
        fates.append(sorted((known[doc_id], known[kept], reason) for doc_id, kept, reason, *_ in result.removals.rows()))
    assert len(fates[0]) > 20
    assert fates[0] == fates[1] == fates[2]
