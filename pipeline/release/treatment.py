"""Treat the spans that act in released texts: check them, and cut them out where the policy says so.

Masked text is not touched. Of trimmed text the spans' bytes go, whole characters only, and what stood on the two sides is joined by the
white space of one side, the one with more line breaks, or by a blank where there was none, so that no two words fuse. A text begins
and ends with the white space it began and ended with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.errors import TableError

Bounds = Sequence[tuple[int, int]]


@dataclass(frozen=True)
class SpanCounts:
    """Count what a release did to repeated spans, in released rows and bytes; bytes_trimmed is text before less text after."""

    policy: str = "report"
    rows_masked: int = 0
    bytes_masked: int = 0
    rows_trimmed: int = 0
    bytes_trimmed: int = 0
    rows_emptied: int = 0  # trimmed rows of which no visible character is left


def treat_texts(kept: pa.Table, spans: pl.Series, policy: str, totals: Counter[str]) -> pa.Table:
    """Return rows of `documents` with the spans cut out of `text` if the policy is `trim`, and add to totals what was done.

    spans: for each row a list of (start, end) structs in bytes, sorted and disjoint. Only texts that hold any are looked at.

    Raises: TableError when a span does not consist of whole characters of its text.
    """
    treated = np.flatnonzero((spans.list.len() > 0).to_numpy())
    if not len(treated):
        return kept
    position = kept.column_names.index("text")
    before = kept.column(position).take(pa.array(treated)).cast(pa.large_binary()).to_pylist()
    doc_ids = kept.column("doc_id").take(pa.array(treated)).to_pylist()
    after = []
    for doc_id, data, found in zip(doc_ids, before, spans.gather(treated).to_list(), strict=True):
        bounds = [(span["start"], span["end"]) for span in found]
        _refuse_cut_characters(data or b"", bounds, doc_id)
        if policy == "trim":
            text = cut_spans(data, bounds)
            after.append(text)
            totals.update(rows_trimmed=1, bytes_trimmed=len(data) - len(text.encode()), rows_emptied=not text.strip())
        else:
            totals.update(rows_masked=1, bytes_masked=sum(end - start for start, end in bounds))
    if policy != "trim":
        return kept
    is_treated = np.zeros(kept.num_rows, np.bool_)
    is_treated[treated] = True
    texts = pc.replace_with_mask(kept.column(position), pa.array(is_treated), pa.array(after, pa.large_string()))
    return kept.set_column(position, kept.schema.field(position), texts)


def cut_spans(data: bytes, bounds: Bounds) -> str:
    """Return UTF-8 text without the given byte spans, which are sorted, disjoint and made of whole characters."""
    starts, ends = [0, *(end for _, end in bounds)], [*(start for start, _ in bounds), len(data)]
    head, *others = (data[start:end].decode() for start, end in zip(starts, ends, strict=True))
    out, gap = [head.rstrip()], _space_behind(head)
    for piece in others:
        gap = max(gap, piece[: len(piece) - len(piece.lstrip())], key=lambda blanks: (blanks.count("\n"), len(blanks)))
        if core := piece.strip():
            out += [(gap or " ") if any(out) else _space_behind(head), core]
            gap = _space_behind(piece)
    return "".join(out) + _space_behind(others[-1] if others else head)


def _space_behind(piece: str) -> str:
    return piece[len(piece.rstrip()) :]


def _refuse_cut_characters(data: bytes, bounds: Bounds, doc_id: Any) -> None:
    for start, end in bounds:
        is_whole = end <= len(data) and all(at == len(data) or data[at] & 0xC0 != 0x80 for at in (start, end))
        if not (0 <= start < end and is_whole):
            raise TableError(
                "a repeated span does not hold whole characters of its text",
                where=f"table repeated_spans, doc_id {doc_id}",
                wanted=f"character bounds within {len(data)} bytes",
                got=f"{start} to {end}",
            )
