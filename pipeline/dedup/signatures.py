"""MinHash signatures, bit for bit those of datasketch 2's `affine32` scheme, computed by a compiled kernel.

The low 32 bits of each shingle hash are mixed once (fmix32), then permutation k is a_k * h + b_k modulo 2^32 with odd a_k, and the
signature holds the minimum of each permutation. Seeds and permutations are datasketch's own, drawn as it draws them: importing it to
ask would cost every process a third of a second. Its versions before 2 used another scheme whose values do not compare: `SCHEME`
belongs beside every stored signature.

Source: Broder 1997, On the resemblance and containment of documents, section 3.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit

from pipeline.config import DedupConfig
from pipeline.dedup.facts import Facts, merge_facts
from pipeline.dedup.shingles import Hashes, shingle_hashes
from pipeline.tables import SIGNATURES, Documents, Signatures
from pipeline.text import Offsets

SCHEME = "affine32"
BLOCK_BYTES = 2 * 2**20
"""Text normalised, shingled and reduced at a time: keeps memory flat and the hashes near the processor."""

Words32 = npt.NDArray[np.uint32]


def compute_signatures(documents: Documents, config: DedupConfig) -> tuple[Signatures, Facts]:
    """Return each document's signature and its number of shingles, repeated ones included.

    An empty text has no shingle and, as in datasketch, the largest value in every place; nothing ever proposes it.
    """
    a, b = permutations(config)
    blocks = cut_blocks(documents["text"])
    # one buffer for all blocks, which becomes the column
    signatures, counts = np.empty((documents.num_rows, config.num_perm), np.uint32), np.empty(documents.num_rows, np.int64)
    facts, start = [], 0
    for texts in blocks:
        hashes, offsets, spaceless = shingle_hashes(texts, config)
        own = slice(start, start + len(texts))
        signatures[own], counts[own] = minhash(hashes, offsets, a, b), np.diff(offsets)
        start += len(texts)
        facts.append(
            {
                "num_documents": len(texts),
                "num_shingles": len(hashes),
                "num_spaceless": int(spaceless.sum()),
                "num_short": int((counts[own] == 1).sum()),
                "num_empty": int((counts[own] == 0).sum()),
            }
        )
    frame = pl.DataFrame(
        {
            "doc_id": pl.from_arrow(documents["doc_id"]),
            "content_hash": pl.from_arrow(documents["content_hash"].cast(pa.large_binary())),
            "num_bytes": pl.from_arrow(pc.fill_null(pc.binary_length(documents["text"]), 0).cast(pa.int64())),
            "num_shingles": counts,
            "signature": pl.from_arrow(_as_binary(signatures)),
        }
    )
    return SIGNATURES.check(frame), merge_facts(facts)


def permutations(config: DedupConfig) -> tuple[Words32, Words32]:
    """Return datasketch's multipliers, all odd, and offsets, (num_perm,) each."""
    generator = np.random.RandomState(config.seed)
    a = generator.randint(0, 2**31, config.num_perm, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    return a, generator.randint(0, 2**32, config.num_perm, dtype=np.uint32)


def minhash(hashes: Hashes, offsets: Offsets, a: Words32, b: Words32) -> Words32:
    """Return the signatures (documents, num_perm) of documents whose shingle hashes lie one after another."""
    # the kernel takes four permutations at a time
    pad = -len(a) % 4
    padded_a, padded_b = np.pad(a, (0, pad)), np.pad(b, (0, pad))
    return _minhash(_fmix32(hashes), offsets, padded_a, padded_b)[:, : len(a)]


def signature_matrix(signatures: Signatures, config: DedupConfig) -> Words32:
    """Return the signature column as an array (documents, num_perm)."""
    column = signatures["signature"].rechunk().to_arrow().cast(pa.large_binary()).cast(pa.binary(4 * config.num_perm))
    values = np.frombuffer(column.buffers()[1], np.uint32)
    return values[column.offset * config.num_perm :][: len(column) * config.num_perm].reshape(-1, config.num_perm)


def _as_binary(signatures: Words32) -> pa.Array:
    rows = np.arange(len(signatures) + 1, dtype=np.int64) * signatures.shape[1] * 4
    return pa.LargeBinaryArray.from_buffers(pa.large_binary(), len(signatures), [None, pa.py_buffer(rows), pa.py_buffer(signatures)])


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
