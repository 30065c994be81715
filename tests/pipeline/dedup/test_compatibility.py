"""Stored signatures are compared with only if they were made the same way, and a refusal says what to do."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from pipeline.config import DedupConfig
from pipeline.dedup import compatibility
from pipeline.dedup.compatibility import refuse_unlike, signature_settings
from pipeline.dedup.signatures import sign_texts
from pipeline.errors import ConfigError


def test_equal_settings_are_compared_whatever_else_differs() -> None:
    """Bands, thresholds and policies decide what is done with signatures, not what they are."""
    stored = signature_settings(DedupConfig(threshold=0.7, num_bands=8, max_copies=3))
    refuse_unlike(stored, DedupConfig(), "an earlier run")


@pytest.mark.parametrize(("name", "value"), [("ngram", 7), ("num_perm", 256), ("seed", 2)])
def test_a_setting_that_differs_is_named_with_its_remedy(name: str, value: int) -> None:
    """The message says which setting, both values, and how to get to the stored one."""
    stored = signature_settings(DedupConfig(**{name: value}))
    with pytest.raises(
        ConfigError, match=f"in night-1.*wanted {name} .*got {name} {value}.*set dedup.{name}={value} or run that audit again"
    ):
        refuse_unlike(stored, DedupConfig(), "night-1")


def test_signatures_of_other_code_or_of_unknown_make_are_refused() -> None:
    """No setting mends another definition of shingles, and none is offered."""
    stored = {**signature_settings(DedupConfig()), "definition": "0" * 32}
    with pytest.raises(ConfigError, match=r"definition 0+; what to do: run that audit again .*or name its files under reference\.paths"):
        refuse_unlike(stored, DedupConfig(), "night-1")
    with pytest.raises(ConfigError, match="do not say how they were made"):
        refuse_unlike(None, DedupConfig(), "night-1")


@pytest.mark.parametrize("change", ["a text loses its last word", "a hash differs in one bit"])
def test_the_definition_follows_what_the_code_does(monkeypatch: pytest.MonkeyPatch, change: str) -> None:
    """If texts are cut or hashed in another way, the digest is another; settings in use do not enter it."""
    expected = signature_settings(DedupConfig())["definition"]
    assert signature_settings(DedupConfig(ngram=7, seed=9, num_perm=64, num_bands=8))["definition"] == expected

    def other(data: Any, offsets: Any, config: DedupConfig) -> pa.Table:
        signed = sign_texts(data, offsets, config)
        if change.startswith("a text"):
            return signed.set_column(0, "num_shingles", pa.array([max(0, count - 1) for count in signed["num_shingles"].to_pylist()]))
        values = signed["signature"].to_pylist()
        last = bytes([values[-1][0] ^ 1]) + values[-1][1:]
        return signed.set_column(2, "signature", pa.array([*values[:-1], last], signed["signature"].type))

    monkeypatch.setattr(compatibility, "sign_texts", other)
    compatibility._definition.cache_clear()
    try:
        assert signature_settings(DedupConfig())["definition"] != expected
    finally:
        compatibility._definition.cache_clear()
