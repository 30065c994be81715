"""Which signatures may be compared: those of one scheme, one set of permutations, and one idea of what a shingle is.

That idea is code (normalisation, tokens, shingle hashes) and is known by what it does: texts in many scripts are signed, and the digest
of what comes out goes beside every stored signature. Code that was only moved about gives the same digest; code that cuts or hashes
anything among them otherwise does not.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import pyarrow as pa
from blake3 import blake3

from pipeline.config import DedupConfig
from pipeline.dedup.signatures import SCHEME, sign_texts
from pipeline.errors import ConfigError
from pipeline.text import hash_normalised, padded_buffers

SETTINGS = ("ngram", "num_perm", "seed")
# first characters of blocks of 256: Latin to Cyrillic, Hebrew and Arabic, Indic, Thai and Lao, Tibetan, Burmese, Khmer, punctuation,
# kana, Han, Hangul, presentation forms and full width, emoji
BLOCKS = (*range(0, 0x700, 0x100), 0x900, 0xE00, 0xF00, 0x1000, 0x1700, 0x2000, 0x2100, 0x3000, 0x4E00, 0xAC00, 0xFB00, 0xFF00, 0x1F600)
BLOCK, LINE, WORD = 256, 64, 5
PROBED = DedupConfig(ngram=5, num_perm=16, num_bands=2, rows_per_band=8, seed=1)


def signature_settings(config: DedupConfig) -> dict[str, Any]:
    """Return what signatures must share to be compared, as JSON values: `scheme, ngram, num_perm, seed, definition`."""
    return {"scheme": SCHEME, **{name: getattr(config, name) for name in SETTINGS}, "definition": _definition()}


def refuse_unlike(stored: Mapping[str, Any] | None, config: DedupConfig, where: str) -> None:
    """Return if signatures with these stored settings can be compared with those that the configuration makes.

    Raises: ConfigError naming each setting that differs, and the ways out.
    """
    if stored is None:
        raise ConfigError(
            "stored signatures do not say how they were made, so they cannot be compared with",
            where=where,
            do="run that audit again, or name its files under reference.paths",
        )
    wanted = signature_settings(config)
    unlike = [name for name, value in wanted.items() if stored.get(name) != value]
    if not unlike:
        return
    own = [f"dedup.{name}={stored.get(name)}" for name in unlike if name in SETTINGS]
    ways = [f"set {', '.join(own)}"] if len(own) == len(unlike) else []
    raise ConfigError(
        "stored signatures were made in another way, so they cannot be compared with",
        where=where,
        wanted=", ".join(f"{name} {wanted[name]}" for name in unlike),
        got=", ".join(f"{name} {stored.get(name)}" for name in unlike),
        do=" or ".join([*ways, "run that audit again under today's settings", "name its files under reference.paths"]),
    )


@cache
def _definition() -> str:
    """Return the digest of content hashes, kinds, shingle counts and signatures of the probe, whatever the settings in use."""
    normalised = padded_buffers(pa.array(_probe(), pa.large_string()))
    signed = sign_texts(*normalised, PROBED)
    digest = blake3(b"".join(hash_normalised(*normalised).to_pylist()))
    digest.update(repr(signed.select(["num_shingles", "is_spaceless"]).to_pylist()).encode())
    digest.update(b"".join(signed["signature"].to_pylist()))
    return digest.hexdigest(length=16)


def _probe() -> Iterator[str]:
    """Yield texts of consecutive characters, blank after every fifth: each block in pieces, as it is and behind Latin letters."""
    for block in BLOCKS:
        for start in range(block, block + BLOCK, LINE):
            points = [chr(point) for point in range(start, start + LINE)]
            words = ["".join(points[i : i + WORD]) for i in range(0, LINE, WORD)]
            yield " ".join(words)
            yield " ".join(f"E{word}\t" for word in words)
