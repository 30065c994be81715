"""Keyed draws: pseudo-random numbers that hang on what is drawn and on a seed, never on the order in which things arrive.

A cluster id or a digest of tokens is already uniform, so mixing it with a key is enough. The mix runs on whole columns, because a large
corpus has hundreds of millions of clusters.
"""

from __future__ import annotations

import json

import numpy as np
import numpy.typing as npt
import polars as pl
import pyarrow as pa
from blake3 import blake3

UInt64s = npt.NDArray[np.uint64]


def draw_key(*parts: object) -> int:
    """Return a 63-bit number that stands for a purpose and a seed, given as JSON-representable values."""
    return int.from_bytes(blake3(json.dumps(parts, separators=(",", ":")).encode()).digest(length=8), "little") >> 1


def draw_ranks(ids: pl.Series, *key: object) -> UInt64s:
    """Return a uniform 64-bit number for each 16-byte id, a function of the id and the key alone.

    Source: the mix is splitmix64 (Steele, Lea, Flood 2014, "Fast splittable pseudorandom number generators", figure 17).
    """
    words = _words(ids)
    with np.errstate(over="ignore"):
        mixed = mix(words[:, 0] ^ np.uint64(draw_key(*key)))
        return mix(mixed ^ words[:, 1])


def mix(values: UInt64s) -> UInt64s:
    """Scramble 64-bit numbers one to one, so that near inputs give unrelated outputs."""
    with np.errstate(over="ignore"):
        values = values + np.uint64(0x9E3779B97F4A7C15)
        values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return values ^ (values >> np.uint64(31))


def _words(ids: pl.Series) -> npt.NDArray[np.uint64]:
    array = ids.to_arrow().cast(pa.binary(16))
    flat = pa.concat_arrays(array.chunks) if isinstance(array, pa.ChunkedArray) else array
    raw = np.frombuffer(flat.buffers()[1] or b"", dtype="<u8")
    return raw.reshape(-1, 2)[flat.offset : flat.offset + len(flat)].astype(np.uint64)
