from __future__ import annotations

import pytest

from pipeline import costs
from pipeline.config import AuditConfig, parse_config
from pipeline.errors import ConfigError
from pipeline.planning import Size, plan_dedup


def _config(**runtime: object) -> AuditConfig:
    return parse_config({"input": {"paths": ["x"]}, "runtime": runtime})


def _size(num_rows: int, text_bytes: int) -> Size:
    return Size(1, text_bytes, num_rows, text_bytes, False)


def test_twice_the_text_takes_twice_the_time_and_disk_but_not_the_memory() -> None:
    """Beyond what is spent once, time and disk follow the text; memory follows the number of documents alone."""
    one, two = (plan_dedup(_size(100_000, times * 10**9), _config()) for times in (1, 2))
    fixed = costs.START.fixed + sum(cost.fixed for cost in costs.STAGES.values())
    assert two.cpu_seconds - fixed == pytest.approx(2 * (one.cpu_seconds - fixed), rel=0.01)
    assert two.memory_bytes == one.memory_bytes
    assert two.disk_bytes > 1.8 * one.disk_bytes


def test_a_slower_machine_takes_longer_and_nothing_else() -> None:
    """Seconds follow the machine's pace; memory and disk do not."""
    one, two = (plan_dedup(_size(100_000, 10**9), _config(), pace) for pace in (1.0, 2.0))
    assert two.cpu_seconds == pytest.approx(2 * one.cpu_seconds, rel=0.01)
    assert two.seconds["verification"] == pytest.approx(2 * one.seconds["verification"], abs=0.11)
    assert (two.memory_bytes, two.disk_bytes) == (one.memory_bytes, one.disk_bytes)


def test_workers_share_the_stages_that_can_be_shared() -> None:
    """CPU seconds stay, shared stages take half the time with two, the others do not."""
    one, two = (plan_dedup(_size(10**5, 10**9), _config(workers=workers)) for workers in (1, 2))
    assert one.cpu_seconds == two.cpu_seconds
    for name, cost in costs.STAGES.items():
        assert two.seconds[name] == pytest.approx(one.seconds[name] / (2 if cost.is_shared else 1), abs=0.06)


def test_documents_that_do_not_fit_are_refused_by_the_plan() -> None:
    """Whoever plans learns it, not whoever runs."""
    plan_dedup(_size(10**6, 10**9), _config(memory_limit="2GB"))
    with pytest.raises(ConfigError, match="memory limit"):
        plan_dedup(_size(10**8, 10**9), _config(memory_limit="2GB"))
