"""Candidate pairs: documents that share a band of their signatures, weighed by their sketches before anyone reads their texts.

1. Every signature is cut into bands; a band's 64-bit key, the document and its sketch go to the key's partition on disk.
2. One partition at a time is sorted; equal keys are a bucket. Equal contents count once, by their first document.
3. In a bucket, in order of content hash, each member is compared by sketch with the members before it. Members that are surely
   duplicates form a group, and a member is proposed to one member of each group: in a clean bucket that is the star around the
   smallest content hash, and where the centre fails against a member, the next groups are tried.

Proposals are linear in a family's size. Comparisons are one for each member and `max_bucket_pairs` more in a bucket, which is all pairs
up to 100 members at the default; a member that is tied to no group and was not compared with everyone counts as cut short.

Source: Leskovec, Rajaraman, Ullman, Mining of Massive Datasets, section 3.4 (banding).
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import polars as pl

from pipeline.config import DedupConfig
from pipeline.dedup.buckets import compare_buckets
from pipeline.dedup.facts import Facts, merge_facts
from pipeline.dedup.shingles import CHUNK, SEED, Hashes
from pipeline.dedup.shuffle import read_split, write_split
from pipeline.dedup.signatures import signature_matrix
from pipeline.dedup.sketches import (
    estimate_jaccard,
    make_sketches,
    most_differences,
    standard_deviation,
    words_of,
)
from pipeline.store import Artifact, Part, part_names, read_arrow
from pipeline.tables import CANDIDATE_PAIRS, SIGNATURES, CandidatePairs, Signatures

PROPOSALS = {"doc_id_a": pl.Int64, "doc_id_b": pl.Int64, "shared_bands": pl.Int32, "estimated_jaccard": pl.Float64}
REJECT_DEVIATIONS = 4.0
SURE_DEVIATIONS = 2.0


def find_candidates(signatures: Artifact, config: DedupConfig, folder: str) -> tuple[CandidatePairs, Facts]:
    """Propose pairs over all parts of the signatures; `folder` takes the band keys and may be removed afterwards."""
    parts: list[Part] = []
    for path, name in zip(signatures.paths(), part_names(len(signatures.parts)), strict=True):
        part = SIGNATURES.check(pl.DataFrame(pl.from_arrow(read_arrow(path))))
        parts += write_split(band_keys(part, config), "partition", folder, name)
    found = []
    for partition in range(config.num_partitions):
        keys = read_split(folder, parts, partition)
        if keys is not None:
            found.append(propose_pairs(keys, config))
    return merge_proposals(found)


def band_keys(signatures: Signatures, config: DedupConfig) -> pl.DataFrame:
    """Return one row for each document and band: partition, band_key, doc_id, content_hash, sketch.

    Left out are documents without shingles and, of equal contents, all but the first: they would share every bucket.
    """
    rows = (
        signatures.filter(pl.col("num_shingles") > 0)
        .sort("content_hash", "doc_id")
        .unique("content_hash", keep="first", maintain_order=True)
    )
    matrix = signature_matrix(rows, config)  # type: ignore[arg-type]
    keys = _hash_bands(matrix, config).reshape(-1)
    document = np.repeat(np.arange(rows.height), config.num_bands)
    return pl.DataFrame(
        {
            # ranges of the key's upper half: as even as the keys, for any number of partitions
            "partition": ((keys >> np.uint64(32)) * np.uint64(config.num_partitions)) >> np.uint64(32),
            "band_key": keys,
            "doc_id": rows["doc_id"].to_numpy()[document],
            "content_hash": rows["content_hash"].gather(document),
            "sketch": pl.Series(make_sketches(matrix)[document], dtype=pl.Array(pl.UInt64, words_of(config.num_perm))),
        }
    )


def propose_pairs(keys: pl.DataFrame, config: DedupConfig) -> tuple[pl.DataFrame, Facts]:
    """Return the pairs that one partition of the band keys proposes, with the number of bands that did."""
    rows = (
        keys.filter(pl.col("band_key").is_duplicated())
        .sort("band_key", "content_hash", "doc_id")
        .unique(["band_key", "content_hash"], keep="first", maintain_order=True)
    )
    bucket_keys = rows["band_key"].to_numpy()
    starts = np.concatenate([[0], np.flatnonzero(bucket_keys[1:] != bucket_keys[:-1]) + 1, [rows.height]])
    deviation = standard_deviation(config.threshold, config.num_perm)
    first, second, differences, counts = compare_buckets(
        rows["sketch"].to_numpy(),
        starts.astype(np.int64),
        config.max_bucket_pairs,
        most_differences(config.threshold - REJECT_DEVIATIONS * deviation, config.num_perm),
        most_differences(min(1.0, config.threshold + SURE_DEVIATIONS * deviation), config.num_perm),
    )
    doc_ids = rows["doc_id"].to_numpy()
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
    found = list(partitions)
    pairs = CANDIDATE_PAIRS.check(_sum_bands(pl.concat([CANDIDATE_PAIRS.empty(), *(proposals for proposals, _ in found)])))
    return pairs, merge_facts([facts for _, facts in found]) | {"num_candidates": pairs.height}


def _sum_bands(proposals: pl.DataFrame) -> pl.DataFrame:
    pairs = proposals.group_by("doc_id_a", "doc_id_b").agg(pl.col("shared_bands").sum(), pl.col("estimated_jaccard").first())
    return pairs.with_columns(pl.col("shared_bands").cast(pl.Int32)).sort("doc_id_a", "doc_id_b")


def _hash_bands(signatures: npt.NDArray[np.uint32], config: DedupConfig) -> Hashes:
    """Return a 64-bit key for each document and band, (documents, num_bands)."""
    keys = np.empty((len(signatures), config.num_bands), np.uint64)
    for band in range(config.num_bands):
        # the first value once more, so that the last reaches every bit of the key
        h = np.full(len(signatures), SEED ^ np.uint64(band))
        start = band * config.rows_per_band
        for column in (*range(start, start + config.rows_per_band), start):
            h = (h ^ signatures[:, column]) * CHUNK
            h ^= h >> np.uint64(32)
        keys[:, band] = h
    return keys
