"""Claims get one of three answers, and each claim's figure is found again where it is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
import pytest

from pipeline.config import RiskConfig
from pipeline.risk.claims import put_claims
from pipeline.risk.findings import NOTHING, answer
from pipeline.risk.hypotheses import duplication, scale
from pipeline.risk.labels import label_clusters
from pipeline.risk.trials import forgetting, forgetting_losses, regularization, sink_localization

NUMBER = 400
IDS = [at.to_bytes(16, "big") for at in range(NUMBER)]


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def labels(gain: np.ndarray) -> pl.DataFrame:
    """Return labels whose halves are the gain give or take noise."""
    noise = 0.1 * rng().normal(size=(2, len(gain)))
    return pl.DataFrame({"cluster_id": IDS[: len(gain)], "gain": gain, "gain_first": gain + noise[0], "gain_second": gain - noise[0]})


COPIES = pl.DataFrame({"cluster_id": IDS, "copies": 2 ** (np.arange(NUMBER) % 5)})
DOUBLINGS = (np.arange(NUMBER) % 5).astype(float)


@pytest.mark.parametrize(
    ("low", "enough", "verdict"), [(0.1, True, "supported"), (-0.1, True, "not supported"), (0.1, False, "not enough data")]
)
def test_the_whole_interval_has_to_lie_beyond_the_line(low: float, enough: bool, verdict: str) -> None:
    """An interval that holds the line doesn't support the claim; too few clusters answer nothing."""
    found = answer("a claim", "nats", {"value": 0.2, "low": low, "high": 0.3}, 0.0, 99, enough=enough)
    assert found["verdict"] == verdict
    assert found["sentence"].startswith(f"A claim: {verdict} on this corpus")
    assert answer("a claim", "nats", NOTHING, 0.0, 99, enough=True)["verdict"] == "not enough data"


def test_slope_on_copies_is_found() -> None:
    """A gain of .3 nats a doubling is measured as that; gains that don't depend on copies support nothing."""
    noise = rng().normal(size=NUMBER)
    found = duplication(labels(0.3 * DOUBLINGS + 0.2 * noise), COPIES, 0.95, rng())
    assert found["value"] == pytest.approx(0.3, abs=0.03)
    assert found["verdict"] == "supported"
    assert duplication(labels(noise), COPIES, 0.95, rng())["verdict"] == "not supported"
    assert duplication(labels(noise[:30]), COPIES, 0.95, rng())["verdict"] == "not enough data"


def test_slope_on_size_is_found_and_extrapolated() -> None:
    """Half a nat a decade is measured, by class of copies too, and drawn out to the planned size."""
    base = 1.0 + 0.2 * rng().normal(size=NUMBER)
    found = scale([(1e5, labels(base)), (1e6, labels(base + 0.5))], COPIES, 1e8, 0.95, rng())
    assert found["value"] == pytest.approx(0.5, abs=1e-6)
    assert found["verdict"] == "supported"
    assert found["classes"][0]["extrapolated"]["value"] == pytest.approx(base.mean() + 1.5, abs=1e-6)
    assert {row["class"] for row in found["classes"]} == {"all", "copies 1", "copies 2-5", "copies over 5"}
    falling = scale([(1e5, labels(base)), (1e6, labels(base - 0.5))], COPIES, 1e8, 0.95, rng())
    assert falling["verdict"] == "not supported"
    assert scale([(1e5, labels(base))], COPIES, 1e8, 0.95, rng())["verdict"] == "not enough data"


def test_regularization_that_leaves_most_does_not_prevent() -> None:
    """The strongest setting decides: if it leaves less than half the claim falls."""
    plain = 1.0 + 0.1 * rng().normal(size=NUMBER)

    def frame(**left: float) -> pl.DataFrame:
        shares = {"none": 1.0, **left}
        return pl.concat(
            [pl.DataFrame({"setting": [name] * NUMBER, "cluster_id": IDS, "gain": share * plain}) for name, share in shares.items()]
        )

    assert regularization(frame(decay=0.9, dropout=0.8), 0.95, rng())["verdict"] == "supported"
    found = regularization(frame(decay=0.9, dropout=0.3), 0.95, rng())
    assert found["verdict"] == "not supported"
    assert found["value"] == pytest.approx(0.3)
    assert regularization(frame(), 0.95, rng())["verdict"] == "not enough data"


def test_localization_subtracts_held_out_text_and_prints_the_placebo() -> None:
    """Own sinks that hold one nat more than another's count; deletion that is no better than the placebo is told beside it."""
    held_out = np.arange(NUMBER) < 60
    own = np.full(NUMBER, 2.0) + 0.1 * rng().normal(size=NUMBER)
    other = own + np.where(held_out, 0.2, 1.2)
    frame = pl.DataFrame({"cluster_id": IDS, "is_held_out": held_out, "own_loss": own, "off_loss": other, "other_loss": other})
    found = sink_localization(frame, 0.95, rng())
    assert found["value"] == pytest.approx(1.0)
    assert found["verdict"] == "supported"
    assert found["sink_gap"]["value"] == pytest.approx(1.0)
    assert found["deletion_beyond_placebo"]["value"] == pytest.approx(0.0)
    assert sink_localization(frame.filter(~pl.col("is_held_out")), 0.95, rng())["verdict"] == "not enough data"


@pytest.mark.parametrize(("left", "verdict"), [(0.8, "supported"), (0.1, "not supported")])
def test_what_is_left_after_removal_is_measured(left: float, verdict: str) -> None:
    """Of two nats of memorization a share stays."""
    reference = 4.0 + 0.1 * rng().normal(size=NUMBER)
    frame = pl.DataFrame(
        {"cluster_id": IDS, "reference_loss": reference, "before_loss": reference - 2.0, "after_loss": reference - 2.0 * left}
    )
    found = forgetting(frame, 0.95, rng())
    assert found["value"] == pytest.approx(left)
    assert found["verdict"] == verdict


def test_an_audits_own_proxies_answer(world: Any) -> None:
    """In the made-up world gains rise with copies and size, and halves that went on without a text forgot what they had stored."""
    found, _ = label_clusters(world.evidence, RiskConfig())
    claims = {row["claim"]: row for row in put_claims(world.evidence, found, {0: 50_000, 1: 150_000}, 1e7, 0.95, rng())}
    assert claims["duplication accelerates memorization"]["verdict"] == "supported"
    assert claims["memorization grows with model size"]["verdict"] == "supported"
    losses = forgetting_losses(world.evidence)
    assert losses.height
    assert claims["a text removed afterwards stays memorized"]["value"] < 0.9
    assert (losses["after_loss"] - losses["before_loss"]).to_numpy().mean() > 0
