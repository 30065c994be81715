"""Repeated spans: runs of words that several kept documents hold word for word, though they differ as wholes.

Licence headers, navigation bars, mail footers: MinHash on documents cannot see them, and they are what models recite. A window is
`min_span_words` units in a row; it is repeated if `min_span_documents` clusters hold it. Consecutive repeated windows of a document
that the same documents hold are one span, as long as it can be; neighbouring spans overlap by all but one word of a window. So text that
others hold in part is cut where they leave off, every span's windows have one set of holders, and `holders` names it.

1. Every document's anchors are made while it is read, or here; those that too few clusters hold are sifted out, in memory.
2. Documents that hold an anchor which is left are read again; their windows with such an anchor are counted out of core.
3. Runs of repeated windows become spans, in bytes of the user's own text.

Every occurrence of a repeated window is found and counted. What hashing could get wrong is to take different windows for equal: among a
billion, the chance that any two share a 64-bit hash is one in forty, and a false span needs `min_span_documents` clusters to do so.
Memory holds a row group, one partition of windows, whose number grows with the corpus, and a few numbers a document.

Source: Lee et al. 2022, Deduplicating Training Data Makes Language Models Better, section 4.1 (repeated substrings); here on words.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from pipeline.config import DedupConfig
from pipeline.dedup.facts import Facts
from pipeline.dedup.shuffle import Rows
from pipeline.dedup.span_anchors import PartAnchors, anchor_texts, read_anchors, sift_anchors, store_anchors, windows_per_anchor
from pipeline.dedup.span_counts import Tally, documents_of, numbers_of, places_of
from pipeline.dedup.span_offsets import unit_bounds
from pipeline.dedup.span_windows import find_windows, hash_runs, unit_hashes
from pipeline.store import Artifact, count_rows, iter_chosen, iter_frames, read_scratch, write_scratch
from pipeline.tables import REPEATED_SPANS, RepeatedSpans
from pipeline.text import cut_blocks, padded_buffers

HASH_BYTES = 16
ONE, HALF, NOWHERE = np.uint64(1), np.uint64(32), np.uint64(2**64 - 1)
WINDOWS_PER_PARTITION = 2**19
WINDOWS_PER_PIECE = 2**20
WINDOW = np.dtype([("place", np.uint64), ("start", np.int64), ("end", np.int64)])
"""Of a piece's windows in order: document and number of the first unit, and the bytes of the raw text."""


@dataclass(frozen=True)
class Reading:
    """Say which rows of each part are kept, and of these, in order of reading, their ids and the numbers of their clusters."""

    is_kept: list[npt.NDArray[np.bool_]]
    doc_ids: npt.NDArray[np.int64]
    clusters: npt.NDArray[np.uint32]

    def first_documents(self) -> list[int]:
        """Return the number of each part's first kept document, and last of all how many there are."""
        return np.cumsum([0, *(int(part.sum()) for part in self.is_kept)]).tolist()

    def clusters_of_rows(self, part: int) -> npt.NDArray[np.int64]:
        """Return the cluster of each row of a part, -1 of those that are not kept."""
        rows = np.full(len(self.is_kept[part]), -1, np.int64)
        first, end = self.first_documents()[part : part + 2]
        rows[self.is_kept[part]] = self.clusters[first:end]
        return rows


def find_spans(
    documents: Artifact, kept: pl.DataFrame, config: DedupConfig, folder: str, anchors: str | None = None
) -> tuple[RepeatedSpans, Facts]:
    """Find the spans that kept documents of at least `min_span_documents` clusters share; `folder` takes scratch files.

    `kept` has doc_id and cluster_id of every document that deduplication keeps. In the folder `anchors` lie those of the documents'
    parts, as far as `keep_anchors` stored them when they were read. Spans come by doc_id and start; two spans of one document may overlap.
    """
    reading = _plan_reading(documents, kept)
    paths = [anchors_path(anchors or f"{folder}/anchors", part.path.rpartition(".")[0]) for part in documents.parts]
    num_windows = sum(
        int(_find_anchors(part, path, config).num_windows[is_kept].sum(dtype=np.int64))
        for part, path, is_kept in zip(documents.paths(), paths, reading.is_kept, strict=True)
    )
    clusters = [reading.clusters_of_rows(part) for part in range(len(paths))]
    flags, num_flagged = sift_anchors(paths, clusters, config.min_span_documents, f"{folder}/flags")
    windows = Tally(f"{folder}/windows", 1 + int(windows_per_anchor(config.min_span_words) * num_flagged) // WINDOWS_PER_PARTITION)
    _add_windows(documents, reading, paths, flags, windows, config)
    num_repeated = windows.count(reading.clusters, reading.doc_ids, config.min_span_documents)
    found = [
        _join_windows(windows.repeats_of(piece), read_scratch(_windows_path(windows, piece), WINDOW), reading, config)
        for piece in range(len(windows.first_documents))
    ]
    # where one raw character holds the beginnings of two, the longer stays
    ordered = pl.concat([REPEATED_SPANS.empty(), *found]).sort("doc_id", "start", "end", maintain_order=True)
    spans = REPEATED_SPANS.check(ordered.unique(["doc_id", "start"], keep="last", maintain_order=True))
    return spans, {"num_windows": num_windows, "num_repeated_windows": num_repeated, **_count_spans(spans)}


def keep_anchors(folder: str, name: str, anchored: pa.Table) -> None:
    """Store what `anchor_texts` made of a part's texts, named as the part, where `find_spans` looks for it."""
    store_anchors(anchors_path(folder, name), anchored)


def anchors_path(folder: str, name: str) -> str:
    """Return where the anchors of a part lie."""
    return f"{folder}/{name}.bin"


def _plan_reading(documents: Artifact, kept: pl.DataFrame) -> Reading:
    known = kept.select("doc_id", cluster=pl.col("cluster_id").rank("dense").cast(pl.UInt32)).sort("doc_id")
    ids, clusters = known["doc_id"].to_numpy(), known["cluster"].to_numpy()
    is_kept, rows = [], [np.empty(0, np.int64)]
    for part in iter_frames(documents, ["doc_id"]):
        own = part["doc_id"].to_numpy()
        row = np.searchsorted(ids, own)
        is_kept.append(np.append(ids, -1)[row] == own)
        rows.append(row[is_kept[-1]])
    order = np.concatenate(rows)
    assert len(order) == kept.height, "every kept document is one of the documents"
    return Reading(is_kept, ids[order], clusters[order])


def _find_anchors(part: str, path: str, config: DedupConfig) -> PartAnchors:
    """Return a part's anchors as they were stored, or store them now."""
    found = read_anchors(path)
    if found is not None:
        return found
    whole = np.ones(count_rows(part), np.bool_)
    anchored = [anchor_texts(*padded_buffers(pa.array([], pa.large_string())), config)]
    anchored += [anchor_texts(*padded_buffers(texts), config) for texts in _iter_texts(part, whole)]
    return store_anchors(path, pa.concat_tables(anchored))


def _add_windows(documents: Artifact, reading: Reading, anchors: list[str], flags: list[str], windows: Tally, config: DedupConfig) -> None:
    """Add the windows that may repeat, in pieces of whole documents."""
    keys: list[Rows] = []
    found: list[Rows] = []
    for part, (path, first) in enumerate(zip(documents.paths(), reading.first_documents(), strict=False)):
        counts, flagged = _find_anchors(path, anchors[part], config).counts.astype(np.int64), read_scratch(flags[part], np.bool_)
        is_chosen = _any_of(flagged, counts)
        chosen = (np.cumsum(reading.is_kept[part]) - 1 + first)[is_chosen]
        left, counts = flagged[np.repeat(is_chosen, counts)], counts[is_chosen]
        for texts in _iter_texts(path, is_chosen):
            own, chosen = chosen[: len(texts)], chosen[len(texts) :]
            num_own, counts = int(counts[: len(texts)].sum()), counts[len(texts) :]
            own_keys, own_windows = _find_likely(texts, own, left[:num_own], config)
            left = left[num_own:]
            keys.append(own_keys)
            found.append(own_windows)
            if sum(map(len, keys)) >= WINDOWS_PER_PIECE:
                _add_piece(windows, keys, found)
                keys, found = [], []
    if keys:
        _add_piece(windows, keys, found)


def _any_of(flags: npt.NDArray[np.bool_], counts: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Say of rows that have so many flags each, one after another, whether any is set."""
    before = np.append(0, np.cumsum(flags))
    ends = np.cumsum(counts)
    return before[ends] > before[ends - counts]


def _find_likely(texts: pa.Array, documents: npt.NDArray[np.int64], flags: npt.NDArray[np.bool_], config: DedupConfig) -> tuple[Rows, Rows]:
    """Return the hashes of the windows whose anchor is flagged, and where they stand."""
    units, offsets, spaceless = unit_hashes(texts, config)
    keys, document_of, first_units, num_anchors = find_windows(units, offsets, config.min_span_words, flags)
    assert num_anchors == len(flags), "anchors are those of the same texts"
    starts, ends = unit_bounds(texts, spaceless, offsets)
    first = offsets[document_of] + first_units
    windows = np.empty(len(keys), WINDOW)
    windows["place"] = places_of(documents[document_of], first_units)
    windows["start"], windows["end"] = starts[first], ends[first + config.min_span_words - 1]
    return keys, windows


def _add_piece(tally: Tally, keys: list[Rows], windows: list[Rows]) -> None:
    own = np.concatenate(windows)
    owners = documents_of(own["place"])
    write_scratch(_windows_path(tally, len(tally.first_documents)), own)
    tally.add(np.concatenate(keys), places_of(owners, np.arange(len(own))), int(owners[:1].sum()))


def _windows_path(tally: Tally, piece: int) -> str:
    return f"{tally.folder}/windows/{piece:06d}.bin"


def _iter_texts(path: str, is_chosen: npt.NDArray[np.bool_]) -> Iterator[pa.Array]:
    for rows in iter_chosen(path, ["text"], is_chosen):
        yield from cut_blocks(rows["text"])


def _join_windows(repeats: Rows, windows: Rows, reading: Reading, config: DedupConfig) -> pl.DataFrame:
    """Join one piece's repeated windows into spans."""
    keys, counts, holders = (np.zeros(len(windows), np.uint64) for _ in range(3))
    number = numbers_of(repeats["place"])
    keys[number] = repeats["key"]
    # compared as one number: the fewest occurrences, and among equals the fewest documents
    counts[number] = (repeats["num_occurrences"].astype(np.uint64) << HALF) | repeats["num_documents"]
    holders[number] = repeats["holders"]
    places = np.where(counts > 0, windows["place"], NOWHERE)
    follows = (counts[1:] > 0) & (places[1:] == places[:-1] + ONE) & (holders[1:] == holders[:-1])
    first = np.flatnonzero((counts > 0) & ~np.append(False, follows))
    last = np.flatnonzero((counts > 0) & ~np.append(follows, False))
    # gaps stand between the runs, as large as can be, so that each run's least is its own
    fewest = np.minimum.reduceat(np.where(counts > 0, counts, NOWHERE), first) if len(first) else counts[:0]
    return pl.DataFrame(
        {
            "doc_id": reading.doc_ids[documents_of(places[first])],
            "start": windows["start"][first],
            "end": windows["end"][last],
            "num_words": last - first + config.min_span_words,
            "span_hash": _hash_runs(keys, first, last),
            "holders": holders[first],
            "num_occurrences": (fewest >> HALF).astype(np.int64),
            "num_documents": numbers_of(fewest),
        },
        schema=dict(REPEATED_SPANS.columns),
    )


def _hash_runs(keys: Rows, first: npt.NDArray[np.int64], last: npt.NDArray[np.int64]) -> pl.Series:
    """Hash each run of windows, whose hashes in order stand for its words."""
    hashes = hash_runs(keys, first, last)
    column = pa.FixedSizeBinaryArray.from_buffers(pa.binary(HASH_BYTES), len(hashes), [None, pa.py_buffer(hashes)])
    return pl.Series(pl.from_arrow(column.cast(pa.large_binary())))


def _count_spans(spans: RepeatedSpans) -> Facts:
    """Count spans, the documents that hold them, the bytes they cover, overlaps once, and how many are different."""
    reached = pl.col("end").cum_max().shift(1, fill_value=0).over("doc_id")
    covered = spans.select((pl.col("end") - pl.max_horizontal("start", reached)).clip(0).sum()).item()
    return {
        "num_spans": spans.height,
        "num_span_documents": spans["doc_id"].n_unique(),
        "span_bytes": int(covered),
        "num_distinct_spans": spans["span_hash"].n_unique(),
    }
