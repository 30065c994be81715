from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.config import InputConfig
from pipeline.corpus.documents import read_corpus
from pipeline.release.kept import keep_documents

NUM_ROWS = 23


@pytest.mark.parametrize("dropped", [[], [0], [3, 4, 5, 22], list(range(NUM_ROWS))])
def test_all_rows_but_the_dropped_come_back_as_they_were(dropped: list[int], tmp_path: Path) -> None:
    """Columns, types, order and null texts are the user's own, whatever parts and shards the rows lie in; no row, no file."""
    texts = [None if row == 7 else f"text {row}" for row in range(NUM_ROWS)]
    rows = pa.table({"n": pa.array(range(NUM_ROWS), pa.int16()), "text": texts})
    pq.write_table(rows, tmp_path / "rows.parquet")
    config = InputConfig(paths=(str(tmp_path / "rows.parquet"),), text_column="text", rows_per_part=5)
    documents = read_corpus(config, str(tmp_path / "documents"))
    parts = keep_documents(documents, np.array(dropped, np.int64), str(tmp_path / "out"), rows_per_shard=8)
    kept = [row for row in range(NUM_ROWS) if row not in dropped]
    assert sum(part.num_rows for part in parts) == len(kept)
    found = [pq.read_table(tmp_path / "out" / part.path) for part in parts]
    if kept:
        assert pa.concat_tables(found).equals(rows.take(kept))
    else:
        assert found == []
