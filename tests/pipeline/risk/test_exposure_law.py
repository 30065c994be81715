"""The exposure law on residuals drawn from a law, and on proxies' tables."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.config import RiskConfig
from pipeline.risk.crossfit import NO_FOLD
from pipeline.risk.exposure_law import (
    BEYOND,
    SHARED,
    Exposure,
    ExposureLaw,
    GainTest,
    Residuals,
    count_windows,
    extrapolation_error,
    fit_law,
    fit_laws,
    near_exposure,
    read_residuals,
)

LIMIT = math.log(0.31)
TRUE = ExposureLaw(level=0.9, copies_slope=-0.35, near_slope=-0.15, size_slope=-0.2, center=16.0, largest=16.5, spread=0.4, limit=LIMIT)
ALL_PASS = GainTest(null=-1e3, spread=1.0)


def _drawn(num_clusters: int = 400, seed: int = 0, sizes: tuple[float, ...] = (15.5, 16.5)) -> Residuals:
    """Draw residuals of TRUE: two windows a cluster at each size."""
    rng = np.random.default_rng(seed)
    copies = np.asarray(rng.geometric(0.5, num_clusters) - 1.0, np.float64)
    cluster = np.repeat(np.arange(num_clusters), 2 * len(sizes))
    doublings = np.tile(np.repeat(sizes, 2), num_clusters)
    near = rng.exponential(0.7, num_clusters)
    moved = TRUE.copies_slope * copies[cluster] + TRUE.near_slope * near[cluster]
    expected = TRUE.level + moved + TRUE.size_slope * (doublings - TRUE.center)
    missed = np.asarray(expected + TRUE.spread * rng.standard_normal(len(cluster)), np.float64)
    ids = tuple(number.to_bytes(16, "big") for number in range(num_clusters))
    return Residuals(ids, cluster, copies[cluster], near[cluster], doublings, missed, LIMIT)


def _seen(copies: float, near: float, windows: float, doublings: float, gain: float = 0.0) -> Exposure:
    return Exposure(*(np.array([float(value)]) for value in (copies, near, windows, doublings, gain)))


def _recital(law: ExposureLaw, seen: Exposure) -> float:
    return float(np.exp(law.recital(seen))[0])


def test_a_law_is_recovered_from_its_own_residuals() -> None:
    """Slopes, spread and level come back within what 1,600 rows allow."""
    law = fit_law(_drawn())
    assert law is not None
    assert law.copies_slope == pytest.approx(TRUE.copies_slope, abs=0.03)
    assert law.near_slope == pytest.approx(TRUE.near_slope, abs=0.04)
    assert law.size_slope == pytest.approx(TRUE.size_slope, abs=0.06)
    assert law.spread == pytest.approx(TRUE.spread, abs=0.03)
    at_center = law.level + law.size_slope * (TRUE.center - law.center)
    assert at_center == pytest.approx(TRUE.level, abs=0.05)


def test_its_chance_of_recital_is_how_often_residuals_are_under_the_limit() -> None:
    """What it says of one window, of four and of forty is what windows do that are drawn from it and share a part of their luck."""
    rng = np.random.default_rng(1)
    for copies, near, windows in ((4.0, 0.0, 1), (4.0, 0.0, 4), (0.0, 2.0, 4), (2.0, 0.0, 40)):
        expected = TRUE.level + TRUE.copies_slope * copies + TRUE.near_slope * near + TRUE.size_slope * (0.5 + BEYOND * 1.5)
        own, common = rng.standard_normal((200_000, windows)), rng.standard_normal((200_000, 1))
        drawn = expected + TRUE.spread * (math.sqrt(1 - SHARED) * own + math.sqrt(SHARED) * common)
        said = _recital(TRUE, _seen(copies, near, windows, 18.0))
        assert said == pytest.approx((drawn < LIMIT).any(axis=1).mean(), abs=0.004)


def test_half_of_what_size_does_is_counted_beyond_the_largest_proxy() -> None:
    """Up to it the whole slope, from there half of it, and an interval that has both ends: none and the whole."""
    at = [float(TRUE.score(*(np.array([value]) for value in (0.0, 0.0, doublings)))[0]) for doublings in (15.5, 16.5, 20.5)]
    assert at[1] - at[0] == pytest.approx(0.2 / 0.4)
    assert at[2] - at[1] == pytest.approx(4 * 0.1 / 0.4)
    assert TRUE.size_spread(16.0) == 0.0
    half_of_the_way = 1.702 * (at[2] - at[1])
    assert 1.5 * TRUE.size_spread(20.5) < half_of_the_way < 1.8 * TRUE.size_spread(20.5)


@given(
    copies=st.floats(0, 12),
    near=st.floats(0, 3),
    more=st.floats(0, 3),
    windows=st.floats(1, 500),
    doublings=st.floats(10, 40),
    slope=st.floats(-1, 0),
    size=st.floats(-1, 0),
)
def test_more_copies_more_windows_and_a_larger_model_never_lower_it(
    copies: float, near: float, more: float, windows: float, doublings: float, slope: float, size: float
) -> None:
    """With slopes at or below zero the chance of recital is monotone in all four, and a probability."""
    law = ExposureLaw(0.5, slope, slope / 2, size, 16.0, 17.0, 0.5, LIMIT)
    given = (copies, near, windows, doublings)
    base = _recital(law, _seen(*given))
    assert 0.0 <= base <= 1.0
    for raised in range(4):
        assert _recital(law, _seen(*(value + more * (at == raised) for at, value in enumerate(given)))) >= base - 1e-12


def test_order_survives_where_no_recital_is_likely() -> None:
    """Ten standard deviations from the limit log-odds still tell copies, windows and gains apart, and are those of tiny chances."""
    far = ExposureLaw(2.0, -0.2, -0.1, 0.0, 16.0, 16.0, 0.25, LIMIT)
    copies, windows = np.array([0.0, 1.0, 1.0, 1.0]), np.array([1.0, 1.0, 8.0, 8.0])
    missed = math.exp(2.0 - 0.2 + 0.25**2 / 2) - math.exp(LIMIT)
    seen = Exposure(copies, np.zeros(4), windows, np.full(4, 16.0), np.array([0.5, 0.5, 0.5, 99.0]))
    logits = far.logits(seen, GainTest(missed + 0.5, 1.0))
    assert (np.diff(logits) > 0).all()
    assert logits[-1] < -30
    assert logits[2] - logits[1] == pytest.approx(np.log(8), abs=1e-6)
    assert logits[3] - logits[2] == pytest.approx(np.log(2), abs=1e-6)
    ends = far.logits(
        replace(seen, copies=np.full(4, 1e4), windows=np.full(4, 1e6), gain=np.array([-99.0, -99.0, 99.0, 99.0])), GainTest(0, 1)
    )
    assert np.isfinite(ends).all()
    assert (ends[2:] > 13).all()
    assert (ends[:2] < -600).all()


def test_slopes_of_the_wrong_sign_are_held_at_zero() -> None:
    """Where texts of many copies happen to be missed more, the law says that copies do nothing, not that they protect."""
    drawn = _drawn()
    bent = replace(drawn, copies=-drawn.copies, near=-drawn.near)
    law = fit_law(bent)
    assert law is not None
    assert (law.copies_slope, law.near_slope) == pytest.approx((0.0, 0.0), abs=1e-6)


def test_what_does_not_vary_has_no_slope() -> None:
    """One size and one number of copies: level and spread alone, and no error of carrying it to another size."""
    drawn = _drawn(sizes=(16.0,))
    alike = replace(drawn, copies=np.zeros_like(drawn.copies), near=np.zeros_like(drawn.near))
    law = fit_law(alike)
    assert law is not None
    assert (law.copies_slope, law.near_slope, law.size_slope) == (0.0, 0.0, 0.0)
    assert extrapolation_error(alike) is None


def test_a_lawful_ladder_is_foretold_and_a_broken_one_is_not() -> None:
    """Three sizes in line cost little, a largest one that memorizes no more than the middle one costs what it is off."""
    drawn = _drawn(sizes=(15.0, 16.0, 17.0))
    bent = replace(drawn, log_loss=drawn.log_loss - TRUE.size_slope * (drawn.doublings == 17.0))
    lawful, broken = extrapolation_error(drawn), extrapolation_error(bent)
    assert lawful is not None
    assert broken is not None
    assert lawful < 0.35
    assert broken == pytest.approx(1.702 * -TRUE.size_slope / TRUE.spread, abs=0.35)


def test_two_sizes_say_how_far_they_are_apart() -> None:
    """Without a third no slope can be tested; the error is the whole step, none where both memorize alike."""
    drawn = _drawn()
    alike = replace(drawn, log_loss=drawn.log_loss - TRUE.size_slope * (drawn.doublings - TRUE.center))
    far, near = extrapolation_error(drawn), extrapolation_error(alike)
    assert far is not None
    assert near is not None
    assert far > 0.4
    assert near < 0.5 * far


def test_what_size_does_is_the_ladders_to_say() -> None:
    """Laws of halves take slope and largest size of the ladder, whatever the two label sizes say; level and copies stay the labels'."""
    labels, ladder = _drawn(), _drawn(seed=1, sizes=(15.0, 16.0, 17.0))
    steep = replace(labels, log_loss=labels.log_loss - 0.5 * (labels.doublings - 16.0))
    laws = fit_laws(steep, {}, np.ones((1, 400), np.int64), labels.cluster_ids, ladder)
    assert laws is not None
    for law in (*laws.fitted, *laws.draws):
        assert law.size_slope == pytest.approx(TRUE.size_slope, abs=0.05)
        assert law.copies_slope == pytest.approx(TRUE.copies_slope, abs=0.03)
        assert law.level == pytest.approx(TRUE.level, abs=0.05)
        assert law.largest == 17.0


def test_too_few_clusters_make_no_law() -> None:
    """Nine clusters are too few, and so is what leaves nine to a fold's fit."""
    assert fit_law(_drawn(9)) is None
    few = _drawn(12)
    fold_of = {cluster_id: at % 2 for at, cluster_id in enumerate(few.cluster_ids)}
    assert fit_laws(few, fold_of, np.ones((1, 12), np.int64), few.cluster_ids, few) is None


def test_each_row_is_judged_by_the_law_that_did_not_see_its_fold() -> None:
    """A fold whose residuals are absurd does not move what is said of its own rows, and does move the rest."""
    drawn = _drawn(100)
    fold_of = {cluster_id: at % 4 for at, cluster_id in enumerate(drawn.cluster_ids)}
    strange = np.array([at % 4 == 0 for at in drawn.cluster])
    bent = replace(drawn, log_loss=np.where(strange, drawn.log_loss - 3.0, drawn.log_loss))
    plain, odd = (fit_laws(one, fold_of, np.ones((2, 100), np.int64), one.cluster_ids) for one in (drawn, bent))
    assert plain is not None
    assert odd is not None
    seen, folds = Exposure(np.zeros(3), np.zeros(3), np.ones(3), np.full(3, 18.0), np.zeros(3)), np.array([0, 1, NO_FOLD])
    before, after = (laws.out_of_fold(seen, folds, ALL_PASS) for laws in (plain, odd))
    assert after[0] == pytest.approx(before[0])
    assert (after[1:] > before[1:] + 0.5).all()


def test_a_text_that_gains_less_than_the_null_is_not_memorized() -> None:
    """Recited for certain, its log-odds are those of its gain: what was predicted and is else missed, less what a reciter may miss."""
    law, test = ExposureLaw(-9.0, 0.0, 0.0, 0.0, 16.0, 16.0, 0.4, LIMIT), GainTest(2.0, 0.5)
    gain = np.array([0.0, 2.0, 4.0]) + math.exp(LIMIT) - math.exp(-9.0 + 0.4**2 / 2)
    logits = law.logits(Exposure(np.zeros(3), np.zeros(3), np.ones(3), np.full(3, 16.0), gain), test)
    assert logits[1] == pytest.approx(0.0, abs=1e-6)
    assert logits[0] < -5 < 5 < logits[2]


def test_who_recites_gains_what_the_rest_of_its_kind_still_misses() -> None:
    """Of two kinds of text of one predicted gain the one that proxies still miss more of gains more once it is recited, at any size."""
    test = GainTest(2.0, 0.5)
    missed = TRUE.missed(_seen(0.0, 0.0, 1.0, 15.0))[0]
    assert missed == pytest.approx(math.exp(0.9 + 0.2 + 0.4**2 / 2))
    assert TRUE.missed(_seen(0.0, 0.0, 1.0, 30.0))[0] == pytest.approx(math.exp(0.9 - 0.1 + 0.4**2 / 2))
    seen = _seen(0.0, 0.0, 1.0, 15.0, gain=1.0)
    said = np.exp(TRUE.logits(seen, test) - TRUE.logits(seen, ALL_PASS))[0]
    assert said == pytest.approx(test.passes(np.array([1.0 + missed - math.exp(LIMIT)]))[0], rel=0.01)


def test_windows_are_counted_as_the_target_cuts_them() -> None:
    """Whole windows and tails of half of one; a text too short has one all the same, and so has one that nobody counted."""
    counted = pl.DataFrame({"num_tokens": [0, 10, 63, 64, 95, 97, 640, None]}).select(count_windows(pl.col("num_tokens"), 64))
    assert counted.to_series().to_list() == [1, 1, 1, 1, 1, 2, 10, 1]


def test_residuals_are_those_of_models_that_trained_on_the_text(world: Any) -> None:
    """One row a window and label half of the right side, by every size; the limit is what makes a suffix discoverable."""
    counts = list(world.copies.values())
    # a mass of 3 doublings for texts of one copy, of the others none was measured
    known = {"copies": [math.log2(count) for count in counts], "fuzzy_mass": [3.0 if count == 1 else None for count in counts]}
    texts = pl.DataFrame({"cluster_id": list(world.copies), **known})
    residuals = read_residuals(world.evidence, texts, RiskConfig())
    assert (residuals.near == np.where(residuals.copies == 0, 2.0, 0.0)).all()
    wanted = sum(world.evidence.recitals("label_half", size).filter("in_training").height for size in (0, 1))
    assert len(residuals.log_loss) == wanted > 400
    assert len(np.unique(residuals.doublings)) == 2
    assert math.exp(residuals.limit) * world.evidence.suffix_tokens == pytest.approx(-math.log(1 - 0.5 ** (1 / 100)), rel=1e-6)
    law = fit_law(residuals)
    assert law is not None
    assert law.copies_slope < -0.1
    assert law.size_slope < 0.0


def test_near_copies_that_were_not_measured_are_none() -> None:
    """log2(1 + mass); null and NaN count as no near copy."""
    masses = pl.DataFrame({"fuzzy_mass": [0.0, 1.0, 3.0, None, math.nan]})
    assert masses.select(near_exposure(pl.col("fuzzy_mass"))).to_series().to_list() == [0.0, 1.0, 2.0, 0.0, 0.0]
