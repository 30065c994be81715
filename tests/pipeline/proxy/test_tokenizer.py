"""Tests of `pipeline.proxy.tokenizer`."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from pipeline.config import ProxyConfig
from pipeline.errors import InputError
from pipeline.proxy.tokenizer import load_tokenizer, parse_tokenizer, serialise_tokenizer, train_tokenizer

TEXTS = [f"the {a} of {b} counts {n}" for n in range(40) for a in ("river", "stone") for b in ("north", "winter")]


def test_the_order_of_the_texts_does_not_matter(tiny_config: ProxyConfig) -> None:
    """Shuffled texts give the same bytes."""
    expected = serialise_tokenizer(train_tokenizer(TEXTS, tiny_config))
    for seed in range(3):
        shuffled = random.Random(seed).sample(TEXTS, len(TEXTS))
        assert serialise_tokenizer(train_tokenizer(shuffled, tiny_config)) == expected


@pytest.mark.parametrize("text", ["", "plain", "Zoë 東京 🦦 \x00\t\r\n", "naïve  spaces "])
def test_every_text_comes_back_whole(text: str, tiny_config: ProxyConfig) -> None:
    """Bytes never seen in training are representable."""
    tokenizer = train_tokenizer(TEXTS, tiny_config)
    encoding = tokenizer.encode(text)
    assert tokenizer.decode(encoding.ids) == text
    assert max(encoding.ids, default=0) < tokenizer.get_vocab_size() <= tiny_config.vocab_size


def test_a_stored_tokenizer_is_the_same_one(tmp_path: Path, tiny_config: ProxyConfig) -> None:
    """File, folder and bytes all give it back."""
    data = serialise_tokenizer(train_tokenizer(TEXTS, tiny_config))
    (tmp_path / "tokenizer.json").write_bytes(data)
    for path in (tmp_path, tmp_path / "tokenizer.json"):
        assert serialise_tokenizer(load_tokenizer(path)) == data
    assert serialise_tokenizer(parse_tokenizer(data)) == data


def test_a_missing_or_broken_tokenizer_says_what_to_do(tmp_path: Path) -> None:
    """The message names the file and the way out."""
    with pytest.raises(InputError, match=r"no tokenizer there.*proxy\.tokenizer"):
        load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match=r"cannot be read.*tokenizer\.json.*export it again"):
        load_tokenizer(tmp_path)
