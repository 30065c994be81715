"""Verification: a candidate pair is a duplicate pair if the exact Jaccard similarity of its shingle sets reaches the threshold.

Sets are compared as sorted 64-bit hashes. Candidates arrive already sifted by estimate (four standard deviations below the threshold);
here every one of them is compared in full, in blocks, so that memory stays level.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import numpy as np
import polars as pl

from pipeline.config import DedupConfig
from pipeline.dedup.blocks import plan_pairs
from pipeline.dedup.comparison import count_shared
from pipeline.dedup.facts import Facts, merge_facts
from pipeline.dedup.placed import Placed
from pipeline.dedup.sets import ShingleSets, StoredSets, store_sets
from pipeline.parallel import Counted, Mapper, in_order
from pipeline.tables import DUPLICATE_PAIRS, CandidatePairs, DuplicatePairs


def verify_candidates(
    candidates: CandidatePairs,
    documents: Sequence[Placed],
    sizes: pl.DataFrame,
    config: DedupConfig,
    folder: str,
    mapper: Mapper = in_order,
) -> tuple[DuplicatePairs, Facts]:
    """Compare all candidates exactly.

    `sizes` has num_shingles of every doc_id (from `signatures`). `folder` takes the shingle sets; left there, they serve `find_removals`.
    """
    blocks = plan_pairs(candidates, sizes, config)
    sets = store_sets(documents, np.unique(blocks.needs["doc_id"].to_numpy()), config, folder, mapper)
    work = ((pairs, sets.of(doc_ids)) for pairs, doc_ids in blocks)
    found = list(mapper(partial(_verify_block, config=config), Counted(work, blocks.num_blocks)))
    pairs = pl.concat([DUPLICATE_PAIRS.empty(), *(duplicates for duplicates, _ in found)]).sort("doc_id_a", "doc_id_b")
    facts = {"num_compared": 0, "num_verified": 0} | merge_facts([facts for _, facts in found])
    return DUPLICATE_PAIRS.check(pairs), facts | {"num_blocks": blocks.num_blocks}


def _verify_block(block: tuple[pl.DataFrame, StoredSets], config: DedupConfig) -> tuple[DuplicatePairs, Facts]:
    return verify_pairs(block[0], block[1].read(), config)


def verify_pairs(pairs: pl.DataFrame, sets: ShingleSets, config: DedupConfig) -> tuple[DuplicatePairs, Facts]:
    """Return those of the pairs whose exact Jaccard similarity is at least the threshold.

    jaccard = |A n B| / |A u B|; containment_a = |A n B| / |A|, containment_b = |A n B| / |B|.

    Source: Broder 1997, On the resemblance and containment of documents, section 2.
    """
    rows_a, rows_b = sets.rows_of(pairs["doc_id_a"].to_numpy()), sets.rows_of(pairs["doc_id_b"].to_numpy())
    shared = count_shared(sets.values, sets.offsets, rows_a, rows_b)
    lengths = np.diff(sets.offsets)
    sizes_a, sizes_b = lengths[rows_a], lengths[rows_b]
    compared = pairs.select("doc_id_a", "doc_id_b").with_columns(
        jaccard=shared / (sizes_a + sizes_b - shared), containment_a=shared / sizes_a, containment_b=shared / sizes_b
    )
    duplicates = DUPLICATE_PAIRS.check(compared.filter(pl.col("jaccard") >= config.threshold))
    return duplicates, {"num_compared": pairs.height, "num_verified": duplicates.height}
