"""Candidate pairs: documents that share a band of their signatures, weighed by their sketches before anyone reads their texts.

1. Every signature is cut into bands; a band's 64-bit key and the document go to the key's partition on disk, the documents' sketches
   beside them, once each.
2. One partition at a time is sifted: of most keys there is only one, and only for the rest are sketches fetched. Equal keys are a
   bucket. Equal contents count once, by their first document.
3. In a bucket, references first and in order of content hash, each member is compared by sketch with the members before it. Members
   that are surely duplicates form a group, and a member is proposed to one member of each group: in a clean bucket that is the star
   around the smallest content hash, and where the centre fails against a member, the next groups are tried.

Proposals are linear in a family's size. Comparisons are one for each member and `max_bucket_pairs` more in a bucket, which is all pairs
up to 100 members at the default; a member that is tied to no group and was not compared with everyone counts as cut short.

Source: Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, section 3.4 (banding).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline.config import DedupConfig
from pipeline.dedup.buckets import compare_buckets, find_repeats, hash_bands
from pipeline.dedup.facts import Facts, merge_facts
from pipeline.dedup.kernels import CHUNK, SEED
from pipeline.dedup.placed import Placed
from pipeline.dedup.shuffle import Rows, Slice, Split, slices_of, write_split
from pipeline.dedup.signatures import signature_matrix
from pipeline.dedup.sketches import (
    Sketches,
    estimate_jaccard,
    make_sketches,
    most_differences,
    standard_deviation,
    words_of,
)
from pipeline.dedup.union_find import Indices
from pipeline.parallel import Mapper, in_order
from pipeline.store import count_rows, part_names, read_arrow, read_scratch, to_frame, write_part, write_scratch
from pipeline.tables import CANDIDATE_PAIRS, SIGNATURES, CandidatePairs, Signatures

PROPOSALS = {"doc_id_a": pl.Int64, "doc_id_b": pl.Int64, "shared_bands": pl.Int32, "estimated_jaccard": pl.Float64}
BAND_KEY = np.dtype([("band_key", np.uint64), ("doc_id", np.int64)])
MANY = 2**18
"""Proposals that are worth adding up before the last partition is done."""

REJECT_DEVIATIONS = 4.0
SURE_DEVIATIONS = 2.0


def find_candidates(
    signatures: Sequence[Placed],
    config: DedupConfig,
    folder: str,
    mapper: Mapper = in_order,
    left_out: npt.NDArray[np.int64] = np.empty(0, np.int64),  # noqa: B008  read only
) -> tuple[CandidatePairs, Facts]:
    """Propose pairs over all parts of the signatures, ids rising; `folder` takes the band keys and may be removed afterwards.

    Among references (negative ids) nothing is proposed. Documents `left_out` (ids, rising) take no part.
    """
    num_partitions = count_partitions(sum(count_rows(path) for path, _ in signatures), config)
    write = partial(_write_keys, num_partitions=num_partitions, config=config, folder=folder, left_out=left_out)
    written = list(mapper(write, list(zip(signatures, part_names(len(signatures)), strict=True))))
    splits, sketch_paths = [split for split, _ in written], [path for _, path in written]
    partitions = [(number, slices_of(splits, number)) for number in range(num_partitions)]
    propose = partial(_propose, sketch_paths=sketch_paths, config=config, folder=folder)
    return merge_proposals((to_frame(read_arrow(path)), facts) for path, facts in mapper(propose, partitions))


def count_partitions(num_rows: int, config: DedupConfig) -> int:
    """Return into how many partitions the band keys go, so that none has more than `partition_bytes` of them by far."""
    num_bytes = num_rows * config.num_bands * BAND_KEY.itemsize
    return max(config.num_partitions, -(-num_bytes // config.partition_bytes))


def _write_keys(
    named: tuple[Placed, str], num_partitions: int, config: DedupConfig, folder: str, left_out: npt.NDArray[np.int64]
) -> tuple[Split, str]:
    """Write one part's band keys by partition, and its sketches; return where they are."""
    (path, shift), name = named
    part = to_frame(read_arrow(path)).with_columns(pl.col("doc_id") + shift)
    if len(left_out):
        part = part.filter(pl.col("doc_id").is_in(pl.Series(left_out).implode()).not_())
    keys, sketches = band_keys(SIGNATURES.check(part), config)
    sketch_path = f"{folder}/sketches/{name}.bin"
    write_scratch(sketch_path, sketches)
    numbers = partition_of(keys["band_key"], num_partitions)
    return write_split(keys, numbers, num_partitions, f"{folder}/keys/{name}.bin"), sketch_path


def _propose(partition: tuple[int, list[Slice]], sketch_paths: list[str], config: DedupConfig, folder: str) -> tuple[str, Facts]:
    """Store the pairs that one partition proposes; return the file and the counts."""
    number, slices = partition
    keys = np.concatenate([np.empty(0, BAND_KEY), *(own.read(BAND_KEY) for own in slices)])
    sketches = (read_scratch(path, _sketch_type(config)) for path in sketch_paths)
    proposals, facts = propose_pairs(join_sketches(keys, sketches, config), config)
    part = write_part(f"{folder}/proposals", f"{number:06d}", proposals, "none")
    return f"{folder}/proposals/{part.path}", facts


def band_keys(signatures: Signatures, config: DedupConfig) -> tuple[Rows, Rows]:
    """Return a record for each document and band (band_key, doc_id), and one for each document (doc_id, content_hash, sketch).

    Left out are documents without shingles and, of equal contents, all but the first: they would share every bucket. Both are in
    order of doc_id.
    """
    rows = signatures.filter(pl.col("num_shingles") > 0).sort("doc_id").unique("content_hash", keep="first", maintain_order=True)
    matrix = signature_matrix(rows, config)  # type: ignore[arg-type]
    keys = np.empty((rows.height, config.num_bands), BAND_KEY)
    keys["band_key"] = hash_bands(matrix, config.num_bands, config.rows_per_band, SEED, CHUNK)
    keys["doc_id"] = rows["doc_id"].to_numpy()[:, None]
    sketches = np.empty(rows.height, _sketch_type(config))
    sketches["doc_id"], sketches["sketch"] = rows["doc_id"].to_numpy(), make_sketches(matrix)
    sketches["content_hash"] = np.frombuffer(b"".join(rows["content_hash"].to_list()), "V16")
    return keys.reshape(-1), sketches


def _sketch_type(config: DedupConfig) -> np.dtype[np.void]:
    return np.dtype([("doc_id", np.int64), ("content_hash", "V16"), ("sketch", np.uint64, (words_of(config.num_perm),))])


def partition_of(keys: npt.NDArray[np.uint64], num_partitions: int) -> npt.NDArray[np.uint64]:
    """Return each key's partition: ranges of the key's upper half, as even as the keys, for any number of partitions."""
    return ((keys >> np.uint64(32)) * np.uint64(num_partitions)) >> np.uint64(32)


@dataclass(frozen=True)
class Members:
    """Hold the members of buckets, in order of key, references first, then content: member i is document `rows[i]` of the documents."""

    band_keys: npt.NDArray[np.uint64]
    rows: Indices
    doc_ids: Indices  # of each document
    sketches: Sketches


def join_sketches(keys: Rows, parts: Iterable[Rows], config: DedupConfig) -> Members:
    """Return the members whose key occurs again, each content of a key once; the documents' sketches stand in rising parts."""
    members = keys[find_repeats(np.ascontiguousarray(keys["band_key"]))]
    members = members[_are_repeated(members["band_key"])]
    doc_ids, rows = np.unique(members["doc_id"], return_inverse=True)
    found = [np.empty(0, _sketch_type(config))]
    for sketches in parts:
        first, last = np.searchsorted(doc_ids, sketches["doc_id"][[0, -1]] + [0, 1]) if len(sketches) else (0, 0)
        found.append(sketches[np.searchsorted(sketches["doc_id"], doc_ids[first:last])])
    known = np.concatenate(found)
    assert np.array_equal(known["doc_id"], doc_ids), "a band key's document has no sketch"
    contents = _number_contents(np.ascontiguousarray(known["content_hash"]))
    band_keys = np.ascontiguousarray(members["band_key"])
    # equal contents by their first document: ids rise, references' are negative
    order = np.lexsort((rows, contents[rows], band_keys))
    band_keys, rows = band_keys[order], rows[order]
    is_first = np.ones(len(rows), np.bool_)
    is_first[1:] = (band_keys[1:] != band_keys[:-1]) | (contents[rows[1:]] != contents[rows[:-1]])
    band_keys, rows = band_keys[is_first], rows[is_first]
    if len(doc_ids) and doc_ids[0] < 0:
        order = np.lexsort((contents[rows], doc_ids[rows] >= 0, band_keys))
        band_keys, rows = band_keys[order], rows[order]
    return Members(band_keys, rows, doc_ids, np.ascontiguousarray(known["sketch"]))


def _are_repeated(keys: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    order = np.argsort(keys)
    ordered = keys[order]
    is_again = ordered[1:] == ordered[:-1]
    repeated = np.zeros(len(keys), np.bool_)
    repeated[order[1:]] |= is_again
    repeated[order[:-1]] |= is_again
    return repeated


def _number_contents(hashes: npt.NDArray[np.void]) -> Indices:
    """Number 16-byte hashes in their order, equal ones alike."""
    halves = hashes.view(">u8").reshape(-1, 2).astype(np.uint64)
    order = np.lexsort((halves[:, 1], halves[:, 0]))
    is_new = np.any(halves[order[1:]] != halves[order[:-1]], axis=1)
    numbers = np.empty(len(hashes), np.int64)
    numbers[order] = np.cumsum(np.concatenate([[0], is_new]))[: len(hashes)]
    return numbers


def propose_pairs(members: Members, config: DedupConfig) -> tuple[pl.DataFrame, Facts]:
    """Return the pairs that one partition of the band keys proposes, with the number of bands that did."""
    is_start = members.band_keys[1:] != members.band_keys[:-1]
    starts = np.concatenate([[0], np.flatnonzero(is_start) + 1, [len(members.rows)]])
    deviation = standard_deviation(config.threshold, config.num_perm)
    first, second, differences, counts = compare_buckets(
        members.sketches,
        members.rows,
        members.doc_ids < 0,
        starts.astype(np.int64),
        config.max_bucket_pairs,
        most_differences(config.threshold - REJECT_DEVIATIONS * deviation, config.num_perm),
        most_differences(min(1.0, config.threshold + SURE_DEVIATIONS * deviation), config.num_perm),
    )
    doc_ids = members.doc_ids[members.rows]
    proposals = pl.DataFrame(
        {
            "doc_id_a": np.minimum(doc_ids[first], doc_ids[second]),
            "doc_id_b": np.maximum(doc_ids[first], doc_ids[second]),
            "shared_bands": np.ones(len(first), np.int32),
            "estimated_jaccard": estimate_jaccard(differences, config.num_perm),
        },
        schema=PROPOSALS,
    )
    names = ("num_buckets", "largest_bucket", "num_bucket_members", "num_comparisons", "num_rejected_by_estimate")
    facts = dict(zip((*names, "num_skipped_comparisons", "num_cut_short"), counts.tolist(), strict=True))
    return _sum_bands(proposals), facts


def merge_proposals(partitions: Iterable[tuple[pl.DataFrame, Facts]]) -> tuple[CandidatePairs, Facts]:
    """Return each pair once, its bands added up over the partitions."""
    pairs, waiting = pl.DataFrame(CANDIDATE_PAIRS.empty()), list[pl.DataFrame]()
    counts: list[Facts] = []
    for proposals, facts in partitions:
        waiting.append(proposals)
        counts.append(facts)
        # most pairs come again from other partitions, so waiting for all of them would hold each many times
        if sum(each.height for each in waiting) > max(pairs.height, MANY):
            pairs, waiting = _sum_bands(pl.concat([pairs, *waiting])), []
    pairs = CANDIDATE_PAIRS.check(_sum_bands(pl.concat([pairs, *waiting])))
    return pairs, merge_facts(counts) | {"num_candidates": pairs.height}


def _sum_bands(proposals: pl.DataFrame) -> pl.DataFrame:
    pairs = proposals.group_by("doc_id_a", "doc_id_b").agg(pl.col("shared_bands").sum(), pl.col("estimated_jaccard").first())
    return pairs.with_columns(pl.col("shared_bands").cast(pl.Int32)).sort("doc_id_a", "doc_id_b")
