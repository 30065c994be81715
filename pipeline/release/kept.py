"""Write the rows that deduplication alone leaves: the user's own columns, in their own types and order, nothing decided beyond copies."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.release.shards import write_shards
from pipeline.rows import restore_user_rows, user_schema
from pipeline.store import Artifact, Part, iter_chosen, read_arrow
from pipeline.tables import DOCUMENT_FIELDS, USER_PREFIX, check_documents


def keep_documents(documents: Artifact, dropped: npt.NDArray[np.int64], folder: str, rows_per_shard: int) -> tuple[Part, ...]:
    """Write all documents but the dropped (doc_ids) under `folder`/data, in doc_id order; memory holds a few row groups."""
    schema, text_column = user_schema(documents), documents.facts["text_column"]
    columns = [*DOCUMENT_FIELDS.names, *(USER_PREFIX + name for name in schema.names if name != text_column)]

    def pieces() -> Iterator[tuple[pa.Table, np.ndarray]]:
        for path in documents.paths():
            is_kept = ~np.isin(read_arrow(path, ["doc_id"])["doc_id"].to_numpy(), dropped)
            for rows in iter_chosen(path, columns, is_kept):
                kept = check_documents(rows)
                text_bytes = pc.fill_null(pc.binary_length(kept["text"]), 0).to_numpy()
                yield restore_user_rows(kept, schema, text_column), text_bytes

    return write_shards(folder, schema, pieces(), documents.num_rows - len(dropped), rows_per_shard)
