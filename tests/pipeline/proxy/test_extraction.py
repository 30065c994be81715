"""Tests of `pipeline.proxy.extraction` and `pipeline.proxy.probe` against real greedy decoding."""

from __future__ import annotations

import numpy as np
import polars as pl
import torch

from pipeline.config import ProxyConfig
from pipeline.proxy.batches import load_windows
from pipeline.proxy.extraction import mean_loss, score_extraction
from pipeline.proxy.model import build_model
from pipeline.proxy.optimizer import AdamW
from pipeline.proxy.probe import probe_windows
from pipeline.tables import SAMPLES, Samples
from tests.pipeline.proxy.test_transformer import load_original


def make_samples(rows: list[list[int]]) -> Samples:
    """Return one sample per row of tokens, each a cluster of its own."""
    frame = pl.DataFrame({"tokens": rows}, schema={"tokens": pl.List(pl.Int32)}).with_row_index("sample_id")
    lengths = pl.col("tokens").list.len()
    ids = [bytes([n]) * 16 for n in range(len(rows))]
    frame = frame.with_columns(
        doc_id=pl.col("sample_id"), window_id=pl.col("sample_id"), start=pl.lit(0), end=lengths, num_tokens=lengths
    ).with_columns(cluster_id=pl.Series(ids, dtype=pl.Binary))
    return SAMPLES.check(frame.with_columns(pl.col(name).cast(dtype) for name, dtype in SAMPLES.columns.items()))


def test_greedy_match_is_what_greedy_generation_reproduces(tiny_config: ProxyConfig) -> None:
    """A half-trained model's teacher-forced prefix agrees with transformers' own `generate`, and so do the summed log-probabilities."""
    rng = np.random.default_rng(0)
    rows = [rng.integers(0, 30, 24).tolist() for _ in range(12)]
    samples = make_samples([*rows, rows[0][:15], rows[1][:5]])
    windows = load_windows(samples, tiny_config.context)
    model = build_model(tiny_config, 2, 30, torch.Generator().manual_seed(0))
    optimizer, tokens = AdamW(model, 0.0), torch.tensor(rows)
    for _ in range(25):
        logits = model.head(model(tokens[:, :-1]))
        torch.nn.functional.cross_entropy(logits.reshape(-1, 30), tokens[:, 1:].reshape(-1)).backward()  # type: ignore[no-untyped-call]
        optimizer.step(6e-3)
    probe = probe_windows(model, windows, np.arange(len(windows)), tiny_config)
    original = load_original(model)
    prompt, suffix = tiny_config.prompt_tokens, tiny_config.suffix_tokens
    made = original.generate(  # type: ignore[operator]
        tokens[:, :prompt], attention_mask=torch.ones(12, prompt, dtype=torch.long), max_new_tokens=suffix, do_sample=False, pad_token_id=0
    )[:, prompt:]
    matches = (made == tokens[:, prompt : prompt + suffix]).long().cumprod(1).sum(1).numpy()
    assert probe.is_scored.tolist() == [True] * 12 + [False] * 2
    assert (probe.greedy_match[:12] == matches).all()
    assert 0 < matches.mean() < suffix
    assert ((probe.memorization_score[:12] == 1.0) == (matches == suffix)).all()
    with torch.no_grad():
        log_probabilities = torch.log_softmax(original(tokens).logits, -1)[:, prompt - 1 : prompt + suffix - 1]
    expected = log_probabilities.gather(2, tokens[:, prompt : prompt + suffix, None]).sum((1, 2)).numpy()
    np.testing.assert_allclose(probe.suffix_log_prob[:12], expected, rtol=1e-4)
    np.testing.assert_allclose(probe.suffix_loss[:12], -expected / suffix, rtol=1e-4)
    assert np.isnan(probe.suffix_loss[12:]).all()
    assert np.isnan(probe.prompt_loss).tolist() == [False] * 13 + [True]


def test_scores_follow_from_hits_and_losses() -> None:
    """The score counts all hits of the suffix, the match only those before the first error."""
    hits = np.array([[0, 0, 1, 0, 1, 1], [0, 0, 1, 1, 1, 1]], dtype=bool)
    losses = np.array([[0, 1, 2, 3, 4, 5]] * 2, dtype=np.float32)
    scores = score_extraction(losses, hits, np.array([6, 6]), prompt_tokens=2, suffix_tokens=4)
    assert scores.memorization_score.tolist() == [0.75, 1.0]
    assert scores.greedy_match.tolist() == [1, 4]
    assert scores.suffix_log_prob.tolist() == [-14.0, -14.0]


def test_the_first_token_is_never_predicted_and_short_windows_have_no_mean() -> None:
    """A prompt's mean leaves token 0 out; what a window doesn't reach is NaN."""
    losses = np.array([[0, 1, 3, 9]], dtype=np.float32)
    assert mean_loss(losses, np.array([4]), 0, 3).tolist() == [2.0]
    assert np.isnan(mean_loss(losses, np.array([2]), 0, 3)).all()
    assert np.isnan(mean_loss(losses, np.array([4]), 0, 1)).all()
    assert np.isnan(mean_loss(losses[:, :3], np.array([3]), 0, 9)).all()
