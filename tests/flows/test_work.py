"""Tests of `flows.work` and of how a stage tells it: rates, sums, and a peak measured once."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from flows.measure import Meter
from flows.processes import call_timed
from flows.work import Work, reading_work, work_of
from pipeline import store
from pipeline.config import ProxyConfig
from pipeline.proxy.costs import RunCost


def test_rates_are_operations_and_tokens_over_seconds() -> None:
    """A share needs a peak, a rate needs seconds, and tokens that were not counted stay unknown in sums."""
    work = Work(8e9, 2.0, 1000) + Work(4e9, 2.0, 500)
    assert work.as_dict(6e9) == {"flops": 12e9, "seconds": 4.0, "tokens_per_second": 375.0, "share_of_peak": 0.5}
    assert (work + Work(1.0, 1.0)).tokens is None
    assert Work(1e9, 0.0, 5).as_dict(None) == {"flops": 1e9, "seconds": 0.0, "tokens_per_second": None, "share_of_peak": None}


def test_a_stage_adds_up_the_work_that_was_done_in_it() -> None:
    """By kind, while it is open; a stage without work says nothing of it."""
    with Meter() as meter:
        with meter.stage("proxies") as timing:
            for _ in range(2):
                for kind, work in work_of(RunCost(3e9, 1e9, 100, 1.0, 0.5)).items():
                    meter.record("proxies", kind, work)
            meter.record("reference", "reading", Work(1.0, 1.0))
            timing.peak_flops_per_second = 6e9
        with meter.stage("scores"):
            pass
    first, second = (timing.as_dict() for timing in meter.timings)
    assert first["work"]["training"] == {"flops": 6e9, "seconds": 2.0, "tokens_per_second": 100.0, "share_of_peak": 0.5}
    assert first["work"]["signals"]["tokens_per_second"] is None
    assert first["work"].keys() == {"training", "signals"}
    assert "work" not in second


def test_reading_costs_a_third_of_training_a_token(tmp_path: Path) -> None:
    """Operations of a forward pass follow from what the run's training cost, threefold with gradients."""
    store.write_part(str(tmp_path), "part-00000", pl.DataFrame({"num_scored_tokens": [10, 20]}))
    store.write_part(str(tmp_path), "proxies", pl.DataFrame({"training_flops": [600.0], "num_token_visits": [2]}))
    for gradients, flops in ((False, 3000.0), (True, 9000.0)):
        config = ProxyConfig(reference_gradients=gradients)
        assert reading_work(f"{tmp_path}/part-00000.parquet", str(tmp_path), 2.0, config) == Work(flops, 2.0, 30)


def test_a_timed_call_returns_what_the_call_does() -> None:
    """CPU seconds and seconds on the wall come with it."""
    result, computed, waited = call_timed("math", "factorial", 5)
    assert result == 120
    assert min(computed, waited) >= 0.0
    with pytest.raises(ValueError, match="not defined for negative"):
        call_timed("math", "factorial", -1)
