"""Byte-level BPE for the proxies: trained on the subsample, or the user's own.

Byte-level, because every byte string must be representable: a token "unknown" would make rare text look alike and easy.
Merges are ordered by (count, token ids), and counts don't depend on the order of the texts, so the same texts give the same tokenizer.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from pipeline.config import ProxyConfig
from pipeline.errors import InputError
from pipeline.proxy.base import FILE_NAME, find_tokenizer


def train_tokenizer(texts: Iterable[str], config: ProxyConfig) -> Tokenizer:
    """Train byte-level BPE of at most `config.vocab_size` tokens; the order of the texts doesn't matter.

    Texts are read once and not kept. A token that occurs only once is not worth a place, so a small corpus gives a smaller vocabulary.
    Source: Sennrich, Haddow, Birch 2016, section 3.2; bytes as in Radford et al. 2019, section 2.2.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=config.vocab_size,
        min_frequency=2,
        special_tokens=[],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer=trainer)
    return tokenizer


def load_tokenizer(path: str | Path) -> Tokenizer:
    """Read a `tokenizer.json`, or the one in a folder. Nothing in it is ever executed.

    Raises: InputError when there is none or it cannot be read.
    """
    file = find_tokenizer(path)
    return parse_tokenizer(file.read_bytes(), where=str(file))


def parse_tokenizer(data: bytes, where: str = FILE_NAME) -> Tokenizer:
    """Rebuild a tokenizer from the bytes of its `tokenizer.json`, padding and truncation switched off.

    Raises: InputError when they don't hold one.
    """
    try:
        tokenizer = Tokenizer.from_str(data.decode("utf-8"))
    except Exception as error:  # noqa: BLE001 - the library raises bare Exception for every fault of the file
        raise InputError(
            "the tokenizer cannot be read",
            where=where,
            wanted="JSON as written by the tokenizers library",
            got=str(error)[:200],
            do="export it again with save_pretrained or Tokenizer.save",
        ) from None
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def serialise_tokenizer(tokenizer: Tokenizer) -> bytes:
    """Return the bytes of a `tokenizer.json`."""
    return str(tokenizer.to_str(pretty=False)).encode("utf-8")
