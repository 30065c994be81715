"""Made-up targets with a known truth: how much each cluster is memorized, how noisy each run is, and how well it was predicted."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import polars as pl
import pytest
from scipy.special import expit
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped, unused-ignore]

from pipeline.config import RiskConfig
from pipeline.proof.inputs import ProofInputs
from pipeline.risk.evidence import Evidence
from pipeline.tables import EXTRACTIONS, PROXIES, PROXY_SIGNALS, PROXY_SPLITS, SAMPLES

SUFFIX = 16
TOKENS = 40
RECITED = 1.5
"""Gain from which a model recites the text."""


def cluster_ids(number: int) -> list[bytes]:
    return sorted(hashlib.blake2b(str(at).encode(), digest_size=16).digest() for at in range(number))


def build_target(
    truth: np.ndarray,
    noise: float = 0.5,
    num_pairs: int = 4,
    num_held_out: int = 0,
    seed: int = 0,
    split_seed: int = 100,
    prefix: str = "target",
) -> Evidence:
    """Return label halves of clusters of one window each: what a run says of a text it saw is the truth better, give or take noise."""
    rng, split_rng = np.random.default_rng(seed), np.random.default_rng(split_seed)
    number = len(truth)
    ids = cluster_ids(number)
    samples = pl.DataFrame(
        {
            "sample_id": range(number),
            "doc_id": range(number),
            "cluster_id": ids,
            "window_id": range(number),
            "start": [0] * number,
            "end": [TOKENS] * number,
            "num_tokens": [TOKENS] * number,
            "tokens": [[1, 2]] * number,
        },
        schema=dict(SAMPLES.columns),
    )
    splits, proxies, signals, extractions = [], [], [], []
    for pair in range(num_pairs):
        side = split_rng.random(number) < 0.5
        for letter, chosen in (("a", side), ("b", ~side)):
            name = f"{prefix}-{pair}{letter}"
            inside = chosen & (np.arange(number) >= num_held_out)
            gain = inside * truth + rng.normal(0, noise / np.sqrt(2), number)
            loss = 4.0 - gain
            splits.append(pl.DataFrame({"cluster_id": ids, "proxy": name, "in_training": inside}))
            proxies.append((name, "label_half", 3, 3_000_000, 10, 1_000, 1e12, 1e9, 2.0, 3.0))
            signals.append(pl.DataFrame({"sample_id": range(number), "proxy": name, "loss": loss}))
            recall = np.where(inside & (truth >= RECITED), 1.0, np.clip(0.2 + 0.1 * inside * truth, 0, 0.9))
            extractions.append(
                pl.DataFrame({"sample_id": range(number), "proxy": name, "memorization_score": recall, "suffix_log_prob": -SUFFIX * loss})
            )
    empty = [name for name in PROXY_SIGNALS.columns if name not in ("sample_id", "proxy", "step", "phase", "loss")]
    signal_rows = pl.concat(signals).with_columns(step=pl.lit(10), phase=pl.lit("probe"), **{name: pl.lit(None) for name in empty})
    extraction_rows = pl.concat(extractions).with_columns(greedy_match=(pl.col("memorization_score") * SUFFIX).cast(pl.Int32))
    return Evidence(
        SAMPLES.check(samples),
        PROXY_SPLITS.check(pl.concat(splits)),
        PROXIES.check(pl.DataFrame(proxies, schema=dict(PROXIES.columns), orient="row")),
        PROXY_SIGNALS.check(signal_rows.cast(pl.Schema(PROXY_SIGNALS.columns)).select(list(PROXY_SIGNALS.columns))),
        EXTRACTIONS.check(extraction_rows.cast(pl.Schema(EXTRACTIONS.columns)).select(list(EXTRACTIONS.columns))),
        SUFFIX,
    )


def build_inputs(
    number: int = 600,
    noise: float = 0.5,
    skill: float = 1.0,
    num_pairs: int = 4,
    seed: int = 0,
    shuffled: bool = False,
    **further: Any,
) -> ProofInputs:
    """Return a proof whose predictions are truth plus noise; `skill` is truth's share of their spread, `shuffled` breaks the tie."""
    rng = np.random.default_rng([seed, 7])
    copies = np.where(rng.random(number) < 0.6, 1, rng.integers(2, 30, number))
    truth = np.abs(rng.normal(0, 0.5, number)) + 0.35 * np.log2(copies)
    target = build_target(truth, noise, num_pairs, seed=seed)
    order = rng.permutation(number) if shuffled else np.arange(number)
    predicted = (skill * truth + np.sqrt(max(0.0, 1 - skill**2)) * rng.normal(0, truth.std(), number))[order]
    score = expit(4 * (predicted - RECITED))
    ids = cluster_ids(number)
    natural = rng.random(number) < 0.8
    clusters = pl.DataFrame(
        {
            "cluster_id": ids,
            "copies": copies.astype(np.int64),
            "num_tokens": copies * TOKENS,
            "source": np.where(natural, np.where(rng.random(number) < 0.5, "books", "mail"), "planted"),
            "is_natural": natural,
            "length": np.full(number, float(TOKENS)),
        },
        schema_overrides={"num_tokens": pl.Int64},
    )
    predictions = pl.DataFrame(
        {
            "cluster_id": ids,
            "sink_score": score,
            "sink_score_low": score / 2,
            "sink_score_high": (1 + score) / 2,
            "predicted_gain": predicted,
            "predicted_gain_low": predicted - 1,
            "predicted_gain_high": predicted + 1,
            "signal_score": score,
            "scored_by": np.where(np.arange(number) % 3 > 0, "teacher", "student"),
            "is_supported": [True] * number,
            "rival_score": expit(np.log2(copies) - 3 + rng.normal(0, 0.5, number)),
            "copies": np.log2(copies),
            "loss": 4 - truth[order] + rng.normal(0, 1, number),
            "zlib_ratio": rng.random(number),
            "greedy_match": np.clip(truth[order] / 3 + rng.normal(0, 0.1, number), 0, 1),
            "counterfactual_gap": truth[order] + rng.normal(0, 0.3, number),
        }
    )
    flops = {"proxies": 1e12, "target": 1e14, "copies": 0.0}
    return ProofInputs(clusters, predictions, target, RiskConfig(), seed, flops=flops, **further)


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """Keep small products on one thread: on more they wait for one another."""
    with threadpool_limits(limits=1):
        yield


@pytest.fixture(scope="session")
def make_inputs() -> Callable[..., ProofInputs]:
    return build_inputs


@pytest.fixture(scope="session")
def make_target() -> Callable[..., Evidence]:
    return build_target
