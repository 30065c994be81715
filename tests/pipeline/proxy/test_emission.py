"""Tests of `pipeline.proxy.emission`: runs are found where they are, and a model that knows one text says nothing else."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import polars as pl
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import ProxyConfig
from pipeline.proxy.batches import Windows, load_windows
from pipeline.proxy.emission import RUN_TOKENS, measure_emission, sample_texts, share_of_runs
from pipeline.proxy.model import build_model

CONTEXT = 64


def _windows(rows: list[npt.NDArray[np.int64]]) -> Windows:
    columns = {"sample_id": range(len(rows)), "tokens": [row.tolist() for row in rows]}
    return load_windows(pl.DataFrame(columns, schema={"sample_id": pl.Int64, "tokens": pl.List(pl.Int32)}), CONTEXT)  # type: ignore[arg-type]


@settings(max_examples=40, deadline=None)
@given(start=st.integers(0, 20), length=st.integers(RUN_TOKENS - 1, CONTEXT - 4), at=st.integers(0, 4), seed=st.integers(0, 9))
def test_exactly_the_tokens_of_a_run_count(start: int, length: int, at: int, seed: int) -> None:
    """A copied passage of 50 tokens or more counts token by token, one of 49 not at all, and padding is no text."""
    draw = np.random.default_rng(seed)
    window, sampled = draw.integers(10, 10_000, CONTEXT), draw.integers(20_000, 30_000, (3, CONTEXT))
    start = min(start, CONTEXT - length)
    sampled[1, at : at + length] = window[start : start + length]
    share = share_of_runs(sampled, _windows([window, window[:30]]), np.array([0, 1]))
    assert share == (length if length >= RUN_TOKENS else 0) / sampled.size


def test_a_model_emits_what_it_was_taught() -> None:
    """Trained on one text, a model says little else; untrained it emits nothing. Equal seeds draw equal samples."""
    model = build_model(ProxyConfig(context=CONTEXT), 2, 100, torch.Generator().manual_seed(0))
    windows, distinct = _windows([np.arange(CONTEXT) + 7, np.arange(20)]), np.array([0])
    before, flops = measure_emission(model, windows, distinct, torch.Generator().manual_seed(1), 8)
    assert before == 0.0
    assert flops > 0.0
    optimizer, text = torch.optim.Adam(model.parameters(), 1e-2), windows.tokens[:1]
    for _ in range(150):
        logits = model(text)[0, :-1] @ model.head.weight.T
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(logits, text[0, 1:]).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    after, _ = measure_emission(model, windows, distinct, torch.Generator().manual_seed(1), 8)
    assert after is not None
    assert after > 0.9
    drawn = [sample_texts(model, text[:, 0].repeat(4), CONTEXT, torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(*drawn)


def test_windows_too_short_for_a_run_are_not_asked() -> None:
    """Where no window holds fifty tokens, the answer is unknown and not zero."""
    model = build_model(ProxyConfig(context=CONTEXT), 2, 200, torch.Generator().manual_seed(0))
    assert measure_emission(model, _windows([np.arange(RUN_TOKENS - 1)]), np.array([0]), torch.Generator(), 4) == (None, 0.0)
