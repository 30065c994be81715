"""Write the rows that deduplication alone leaves: the user's own columns, in their own types and order, nothing decided beyond copies."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.release.shards import write_shards
from pipeline.rows import restore_user_rows, user_schema
from pipeline.store import Artifact, Part, iter_arrow
from pipeline.tables import check_documents


def keep_documents(documents: Artifact, dropped: npt.NDArray[np.int64], folder: str, rows_per_shard: int) -> tuple[Part, ...]:
    """Write all documents but the dropped (doc_ids, rising) under `folder`/data, in doc_id order; memory holds a part and a row group."""
    schema = user_schema(documents)

    def pieces() -> Iterator[tuple[pa.Table, np.ndarray]]:
        for part in iter_arrow(documents):
            doc_ids = part["doc_id"].to_numpy()
            first, last = np.searchsorted(dropped, doc_ids[[0, -1]] + [0, 1]) if len(doc_ids) else (0, 0)
            kept = check_documents(part.filter(pa.array(~np.isin(doc_ids, dropped[first:last], assume_unique=True))))
            text_bytes = pc.fill_null(pc.binary_length(kept["text"]), 0).to_numpy()
            yield restore_user_rows(kept, schema, documents.facts["text_column"]), text_bytes

    return write_shards(folder, schema, pieces(), documents.num_rows - len(dropped), rows_per_shard)
