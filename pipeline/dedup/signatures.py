"""MinHash signatures, bit for bit those of datasketch 2's `affine32` scheme, computed by a compiled kernel.

The low 32 bits of each shingle hash are mixed once (fmix32), then permutation k is a_k * h + b_k modulo 2^32 with odd a_k, and the
signature holds the minimum of each permutation. Seeds and permutations are datasketch's own. Its versions before 2 used another
scheme whose values do not compare: `SCHEME` belongs beside every stored signature.

Source: Broder 1997, On the resemblance and containment of documents, section 3.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from datasketch import MinHash
from numba import njit

from pipeline.config import DedupConfig
from pipeline.dedup.facts import Facts, merge_facts
from pipeline.dedup.shingles import Hashes, shingle_hashes
from pipeline.tables import SIGNATURES, Documents, Signatures
from pipeline.text import Offsets

SCHEME = "affine32"
BLOCK_BYTES = 8 * 2**20
"""Text normalised, shingled and reduced at a time: keeps memory flat and the hashes near the processor."""

Words32 = npt.NDArray[np.uint32]


def compute_signatures(documents: Documents, config: DedupConfig) -> tuple[Signatures, Facts]:
    """Return each document's signature and its number of shingles, repeated ones included.

    An empty text has no shingle and, as in datasketch, the largest value in every place; nothing ever proposes it.
    """
    a, b = permutations(config)
    signatures, counts, facts = [np.empty((0, config.num_perm), np.uint32)], [np.empty(0, np.int64)], []
    for texts in cut_blocks(documents["text"]):
        hashes, offsets, spaceless = shingle_hashes(texts, config)
        signatures.append(minhash(hashes, offsets, a, b))
        counts.append(np.diff(offsets))
        facts.append(
            {
                "num_documents": len(texts),
                "num_shingles": len(hashes),
                "num_spaceless": int(spaceless.sum()),
                "num_short": int((counts[-1] == 1).sum()),
                "num_empty": int((counts[-1] == 0).sum()),
            }
        )
    flat = np.concatenate(signatures).reshape(-1)
    rows = np.arange(documents.num_rows + 1, dtype=np.int64) * config.num_perm
    frame = pl.DataFrame(
        {
            "doc_id": pl.from_arrow(documents["doc_id"]),
            "content_hash": pl.from_arrow(documents["content_hash"].cast(pa.large_binary())),
            "num_shingles": np.concatenate(counts),
            "signature": pl.from_arrow(pa.LargeListArray.from_arrays(pa.array(rows), pa.array(flat))),
        }
    )
    return SIGNATURES.check(frame), merge_facts(facts)


def permutations(config: DedupConfig) -> tuple[Words32, Words32]:
    """Return datasketch's multipliers and offsets, (num_perm,) each."""
    a, b = MinHash(num_perm=config.num_perm, seed=config.seed, scheme=SCHEME).permutations
    return a, b


def minhash(hashes: Hashes, offsets: Offsets, a: Words32, b: Words32) -> Words32:
    """Return the signatures (documents, num_perm) of documents whose shingle hashes lie one after another."""
    # the kernel takes four permutations at a time
    pad = -len(a) % 4
    padded_a, padded_b = np.pad(a, (0, pad)), np.pad(b, (0, pad))
    return _minhash(_fmix32(hashes), offsets, padded_a, padded_b)[:, : len(a)]


def signature_matrix(signatures: Signatures, config: DedupConfig) -> Words32:
    """Return the signature column as an array (documents, num_perm)."""
    return signatures["signature"].explode().to_numpy().reshape(-1, config.num_perm)


def cut_blocks(texts: pa.ChunkedArray) -> list[pa.Array]:
    """Cut texts into runs of about `BLOCK_BYTES` bytes, in order."""
    blocks = []
    for chunk in texts.chunks:
        lengths = pc.fill_null(pc.binary_length(chunk), 0).to_numpy(zero_copy_only=False)
        block_of = (np.cumsum(lengths) - lengths) // BLOCK_BYTES
        starts = [0, *(np.flatnonzero(np.diff(block_of)) + 1).tolist(), len(chunk)] if len(chunk) else []
        blocks += [chunk.slice(start, end - start) for start, end in pairwise(starts)]
    return blocks


@njit(cache=True, nogil=True)
def _fmix32(hashes: Hashes) -> Words32:
    # Source: MurmurHash3, fmix32, Appleby 2011
    mixed = np.empty(len(hashes), np.uint32)
    for i in range(len(hashes)):
        h = np.uint32(hashes[i])
        h = np.uint32((h ^ (h >> np.uint32(16))) * np.uint32(0x85EBCA6B))
        h = np.uint32((h ^ (h >> np.uint32(13))) * np.uint32(0xC2B2AE35))
        mixed[i] = h ^ (h >> np.uint32(16))
    return mixed


@njit(cache=True, nogil=True)
def _minhash(mixed: Words32, offsets: Offsets, a: Words32, b: Words32) -> Words32:
    """Keep four running minima in registers: permutations outside, shingles inside, which vectorises eight wide."""
    signatures = np.empty((len(offsets) - 1, len(a)), np.uint32)
    for document in range(len(offsets) - 1):
        shingles = mixed[offsets[document] : offsets[document + 1]]
        for k in range(0, len(a), 4):
            a0, a1, a2, a3 = a[k], a[k + 1], a[k + 2], a[k + 3]
            b0, b1, b2, b3 = b[k], b[k + 1], b[k + 2], b[k + 3]
            m0 = m1 = m2 = m3 = np.uint32(0xFFFFFFFF)
            for i in range(len(shingles)):
                h = shingles[i]
                m0 = min(m0, np.uint32(a0 * h + b0))
                m1 = min(m1, np.uint32(a1 * h + b1))
                m2 = min(m2, np.uint32(a2 * h + b2))
                m3 = min(m3, np.uint32(a3 * h + b3))
            signatures[document, k] = m0
            signatures[document, k + 1] = m1
            signatures[document, k + 2] = m2
            signatures[document, k + 3] = m3
    return signatures
