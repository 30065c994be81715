"""MinHash signatures, bit for bit those of datasketch 2's `affine32` scheme, computed by compiled kernels.

The low 32 bits of each shingle hash are mixed once (fmix32), then permutation k is a_k * h + b_k modulo 2^32 with odd a_k, and the
signature holds the minimum of each permutation. Seeds and permutations are datasketch's own, drawn as it draws them: importing it to
ask would cost every process a third of a second. Its versions before 2 used another scheme whose values do not compare: `SCHEME`
belongs beside every stored signature.

Texts are signed while they are read (`sign_texts`), or from stored documents (`compute_signatures`); both give the same table.

Source: Broder 1997, On the resemblance and containment of documents, section 3.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa

from pipeline.config import DedupConfig
from pipeline.dedup.facts import Facts
from pipeline.dedup.kernels import Hashes, Words32, minima, sign_all
from pipeline.rows import name_documents
from pipeline.tables import SIGNATURES, Documents, Signatures
from pipeline.text import Bytes, Offsets, are_spaceless, cut_blocks, padded_buffers

SCHEME = "affine32"


def compute_signatures(documents: Documents, config: DedupConfig) -> tuple[Signatures, Facts]:
    """Return each document's signature and its number of shingles, repeated ones included.

    An empty text has no shingle and, as in datasketch, the largest value in every place; nothing ever proposes it.
    """
    signed = [sign_texts(*padded_buffers(texts), config) for texts in cut_blocks(documents["text"])]
    columns = pa.concat_tables([sign_texts(*padded_buffers(pa.array([], pa.large_string())), config), *signed])
    return join_signatures(name_documents(documents), columns)


def sign_texts(data: Bytes, offsets: Offsets, config: DedupConfig) -> pa.Table:
    """Return num_shingles, is_spaceless and signature of normalised texts, as `text.padded_buffers` returns them, a row each."""
    a, b = permutations(config)
    # the kernel takes up to eight permutations at a time
    pad = -len(a) % 8
    signatures = np.empty((len(offsets) - 1, len(a) + pad), np.uint32)
    spaceless = are_spaceless(data, offsets)
    counts = sign_all(data, offsets, spaceless, config.ngram, np.pad(a, (0, pad)), np.pad(b, (0, pad)), signatures)
    packed = np.ascontiguousarray(signatures[:, : len(a)])
    column = pa.FixedSizeBinaryArray.from_buffers(pa.binary(4 * len(a)), len(packed), [None, pa.py_buffer(packed)])
    return pa.table({"num_shingles": counts, "is_spaceless": spaceless, "signature": column})


def join_signatures(names: pa.Table, signed: pa.Table) -> tuple[Signatures, Facts]:
    """Return what `sign_texts` made of documents' texts, in their order, as their table of signatures, and its counts.

    `names` is what `name_documents` says of them.
    """
    columns = {
        "doc_id": names["doc_id"],
        "content_hash": names["content_hash"].cast(pa.large_binary()),
        "num_bytes": names["num_bytes"],
        "num_shingles": signed["num_shingles"],
        "is_spaceless": signed["is_spaceless"],
        "signature": signed["signature"].cast(pa.large_binary()),
    }
    signatures = SIGNATURES.check(pl.DataFrame(pl.from_arrow(pa.table(columns))))
    counts = signatures["num_shingles"]
    return signatures, {
        "num_documents": signatures.height,
        "num_shingles": int(counts.sum()),
        "num_spaceless": int(signatures["is_spaceless"].sum()),
        "num_short": int((counts == 1).sum()),
        "num_empty": int((counts == 0).sum()),
    }


def permutations(config: DedupConfig) -> tuple[Words32, Words32]:
    """Return datasketch's multipliers, all odd, and offsets, (num_perm,) each."""
    return _draw_permutations(config.seed, config.num_perm)


@cache
def _draw_permutations(seed: int, num_perm: int) -> tuple[Words32, Words32]:
    generator = np.random.RandomState(seed)
    a = generator.randint(0, 2**31, num_perm, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    return a, generator.randint(0, 2**32, num_perm, dtype=np.uint32)


def minhash(hashes: Hashes, offsets: Offsets, a: Words32, b: Words32) -> Words32:
    """Return the signatures (documents, num_perm) of documents whose shingle hashes lie one after another."""
    pad = -len(a) % 8
    return minima(hashes, offsets, np.pad(a, (0, pad)), np.pad(b, (0, pad)))[:, : len(a)]


def signature_matrix(signatures: Signatures, config: DedupConfig) -> npt.NDArray[np.uint32]:
    """Return the signature column as an array (documents, num_perm)."""
    column = signatures["signature"].rechunk().to_arrow().cast(pa.large_binary()).cast(pa.binary(4 * config.num_perm))
    values = np.frombuffer(column.buffers()[1], np.uint32)
    return values[column.offset * config.num_perm :][: len(column) * config.num_perm].reshape(-1, config.num_perm)
