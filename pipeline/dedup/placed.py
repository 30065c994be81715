"""Parts of several corpora under one numbering: a corpus keeps the ids it was stored with, and a shift makes them unlike the others'.

Documents that are audited have ids from 0 on. Those of reference corpora, which are compared and never removed, have negative ones.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from pipeline.store import Artifact, read_arrow

Placed: TypeAlias = tuple[str, int]
"""A part's path, and what is added to the doc_ids in it."""


def place(table: Artifact, shift: int = 0) -> list[Placed]:
    """Return a table's parts, in order."""
    return [(path, shift) for path in table.paths()]


def placed_ids(part: Placed) -> npt.NDArray[np.int64]:
    """Return the ids of a part's documents."""
    path, shift = part
    return np.asarray(read_arrow(path, ["doc_id"])["doc_id"].to_numpy() + shift, np.int64)
