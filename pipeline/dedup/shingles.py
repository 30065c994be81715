"""Shingles: the set of short runs of words that stands for a document, as 64-bit hashes.

Words are what blanks separate in the normalised text. A shingle is `ngram` words in a row; a shorter document is one whole-text
shingle, an empty one has none. In scripts without blanks between words (majority of the document's letters) the units are characters
and blanks are dropped, so that text wrapped elsewhere has the same shingles.

The hashes are part of the ledger and never change between machines or versions. A unit of n bytes is read in little-endian chunks of
eight, the last padded with zeros:

    h = SEED;  for each chunk: h = (h ^ chunk) * CHUNK, h ^= h >> 32;  h = (h ^ n * LENGTH) * FMIX;  unit = h ^ (h >> 32)

A shingle of units u_1 .. u_n is the polynomial u_1 STEP^(n-1) + ... + u_n. All arithmetic is modulo 2^64; the constants stand in
`kernels`. Only the low 32 bits enter signatures, all 64 enter exact comparison.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pipeline.config import DedupConfig
from pipeline.dedup.kernels import Hashes, hash_all, sort_and_unique
from pipeline.text import Offsets, Texts, are_spaceless, padded_buffers


def shingle_hashes(texts: Texts, config: DedupConfig) -> tuple[Hashes, Offsets, npt.NDArray[np.bool_]]:
    """Return every shingle's hash in order of appearance, where each text's begin, and which texts were cut into characters.

    Text i has `hashes[offsets[i]:offsets[i + 1]]`: (number of units - ngram + 1) of them, repeated ones included.
    """
    data, offsets = padded_buffers(texts)
    spaceless = are_spaceless(data, offsets)
    return (*hash_all(data, offsets, spaceless, config.ngram), spaceless)


def shingle_sets(hashes: Hashes, offsets: Offsets) -> tuple[Hashes, Offsets]:
    """Return each document's distinct hashes in rising order."""
    return sort_and_unique(hashes, offsets)
