"""Tests of `pipeline.risk.localization` and of the two sink signals, on hand-made losses."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import polars as pl
import pytest

from pipeline.risk.evidence import Evidence
from pipeline.risk.forward_features import View
from pipeline.risk.localization import localization
from pipeline.risk.training_features import placebo_gap, sink_gap
from pipeline.tables import EXTRACTIONS, PROXIES, PROXY_SIGNALS, PROXY_SPLITS, SAMPLES, SINK_GAPS

IDS = [bytes([number]) * 16 for number in range(6)]
COPIES = (1, 1, 2, 7, 1, 1)  # the last two are held out


def _evidence(rows: list[tuple[Any, ...]]) -> Evidence:
    samples, number = [], 0
    for key, copies in zip(IDS, COPIES, strict=True):
        first = number
        for _ in range(copies):
            samples.append((number, number, key, first, 0, 20, 20, [1] * 20))
            number += 1
    splits = [(key, "memsinks-0", at < 4) for at, key in enumerate(IDS)]
    return Evidence(
        SAMPLES.check(pl.DataFrame(samples, schema=dict(SAMPLES.columns), orient="row")),
        PROXY_SPLITS.check(pl.DataFrame(splits, schema=dict(PROXY_SPLITS.columns), orient="row")),
        PROXIES.empty(),
        PROXY_SIGNALS.empty(),
        EXTRACTIONS.empty(),
        8,
        SINK_GAPS.check(pl.DataFrame(rows, schema=dict(SINK_GAPS.columns), orient="row")),
    )


@pytest.fixture
def evidence() -> Evidence:
    """Return clusters of 1, 1, 2, 7 copies in training and two held-out ones; sample ids of first copies are 0, 1, 2, 4, 11, 12."""
    own = {0: (1.0, 1.0), 1: (2.0, 0.5), 2: (1.0, None), 4: (0.1, 1.0), 11: (3.0, 0.0), 12: (3.0, 0.0)}
    rows: list[tuple[Any, ...]] = []
    for sample, (loss, score) in own.items():
        match = None if score is None else int(8 * score)
        rows.append((sample, "memsinks-0", "own", loss, score, match))
        rows.append((sample, "memsinks-0", "off", loss + (2.0 if sample < 11 else 0.5), None if score is None else 0.0, match))
        rows.append((sample, "memsinks-0", "other", loss + (1.5 if sample < 11 else 0.25), None if score is None else score / 2, match))
    return _evidence(rows)


def test_recitation_is_counted_within_strata_and_masks(evidence: Evidence) -> None:
    """Of one-copy texts half are recited with own sinks on, none with them off; texts too short to recite are not counted."""
    found = {row["stratum"]: row for row in localization(evidence, 0.95)}
    assert list(found) == ["copies 1", "copies 2-5", "copies 6-20", "copies over 20", "held out"]
    assert [row["num_clusters"] for row in found.values()] == [2, 0, 1, 0, 2]
    one = found["copies 1"]
    assert (one["own"]["value"], one["off"]["value"], one["other"]["value"]) == (0.5, 0.0, 0.0)
    assert one["own"]["low"] < 0.5 < one["own"]["high"]
    assert found["copies 2-5"]["own"] == {"value": None, "low": None, "high": None}
    assert found["copies 6-20"]["own"]["value"] == 1.0
    assert found["held out"]["own"]["value"] == 0.0


def test_the_gaps_are_less_what_held_out_text_shows(evidence: Evidence) -> None:
    """2.0 less 0.5 for own sinks, 0.5 less 0.25 for the placebo, nothing on average for held-out text."""
    view = View(**{**_empty_view(), "sinks": evidence.sinks()})
    gaps, placebos = (dict(signal(view).iter_rows()) for signal in (sink_gap, placebo_gap))
    assert [gaps[key] for key in IDS] == pytest.approx([1.5] * 4 + [0.0] * 2)
    assert [placebos[key] for key in IDS] == pytest.approx([0.25] * 4 + [0.0] * 2)


def test_without_such_a_proxy_nothing_is_said(evidence: Evidence) -> None:
    """No rows, no strata, and signals that are null wherever they are joined."""
    without = replace(evidence, sink_gaps=SINK_GAPS.empty())
    assert localization(without, 0.95) == []
    assert sink_gap(View(**{**_empty_view(), "sinks": without.sinks()})).is_empty()


def test_the_order_of_rows_changes_nothing(evidence: Evidence) -> None:
    """Sums are taken in the order of values, not of ids."""
    shuffled = SINK_GAPS.check(pl.DataFrame(evidence.sink_gaps).sample(fraction=1.0, shuffle=True, seed=3))
    assert replace(evidence, sink_gaps=shuffled).sinks().equals(evidence.sinks())


def _empty_view() -> dict[str, Any]:
    return {name: 0 if name == "suffix_tokens" else pl.DataFrame() for name in View.__dataclass_fields__}
