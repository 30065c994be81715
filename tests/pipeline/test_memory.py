from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import AuditConfig, parse_config
from pipeline.errors import ConfigError
from pipeline.memory import MAX_UNIT, MIN_UNIT, check_limit, choose_sizes, parse_size, peak_of, smallest_limit


@pytest.mark.parametrize(("text", "size"), [("1.5GB", 1_500_000_000), ("800 MiB", 800 * 2**20), ("12345", 12345), ("2gb", 2 * 10**9)])
def test_sizes_are_read_with_their_units(text: str, size: int) -> None:
    """Decimal and binary units, with or without a blank, in any case; no unit is bytes."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "1.5 apples", "-1GB", "1,5GB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    """The message shows what was given."""
    with pytest.raises(ValueError, match="wanted a size such as"):
        parse_size(text)


@given(st.integers(10**9, 10**11), st.integers(1, 16))
def test_chosen_sizes_leave_half_of_the_limit_to_documents(limit: int, workers: int) -> None:
    """What units take and as much again stays within the limit, and no unit is outside its bounds."""
    if limit < smallest_limit(workers):
        with pytest.raises(ValueError, match="too small"):
            choose_sizes(limit, workers)
        return
    sizes = choose_sizes(limit, workers)
    unit = sizes["bytes_per_part"]
    assert MIN_UNIT <= unit == sizes["block_bytes"] <= MAX_UNIT
    assert sizes["partition_bytes"] == unit // 2
    assert 2 * peak_of(unit, workers, 0) - peak_of(0, workers, 0) <= limit


def test_a_limit_that_documents_break_says_what_would_do() -> None:
    """The error names the setting, the bytes wanted and the bytes a document."""
    check_limit(None, MAX_UNIT, 2, 10**12)
    check_limit(2 * 10**9, MIN_UNIT, 2, 10**6)
    with pytest.raises(ConfigError, match="a document") as caught:
        check_limit(10**9, MIN_UNIT, 2, 10**8)
    assert caught.value.where == "runtime.memory_limit"


def _config(limit: str | None, **dedup: int) -> AuditConfig:
    return parse_config({"input": {"paths": ["x"]}, "dedup": dedup, "runtime": {"memory_limit": limit}})


def test_the_limit_settles_sizes_that_the_user_did_not() -> None:
    """They are settings from then on: written out and read again they are the same; what the user set stays."""
    config = _config("1.2GB", block_bytes=2**20)
    assert config.dedup.block_bytes == 2**20
    assert MIN_UNIT < config.input.bytes_per_part < MAX_UNIT
    assert config.dedup.partition_bytes == config.input.bytes_per_part // 2
    assert AuditConfig.model_validate_json(config.model_dump_json()) == config
    assert _config(None).input.bytes_per_part > MAX_UNIT


def test_a_limit_below_the_base_is_a_configuration_error() -> None:
    """It is refused before anything is read."""
    with pytest.raises(ConfigError, match="too small"):
        _config("100MB")
