"""Does a model recite a text: the greedy continuation of a window's prompt against the true one.

One teacher-forced pass decides it. As long as every argmax so far was the true token, greedy decoding has fed the model exactly the true
text, so the first position where they differ is the same in both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class ExtractionScores:
    """Hold scores per window (B,); `is_scored` marks windows with prompt and whole suffix, other values mean nothing."""

    is_scored: Bools
    memorization_score: Floats
    greedy_match: npt.NDArray[np.int32]
    suffix_log_prob: Floats


def score_extraction(
    loss: Floats, is_argmax: Bools, lengths: npt.NDArray[np.int64], prompt_tokens: int, suffix_tokens: int
) -> ExtractionScores:
    """Score windows from per-token losses and argmax hits (B, T), column t about token t.

    memorization_score: share of suffix tokens that are the argmax given the true text before; 1 means extractable with a prompt of
    `prompt_tokens`. greedy_match: suffix tokens that greedy decoding reproduces before its first error. suffix_log_prob: nats, sum.
    Source: Carlini et al. 2023, definition 3.1 (extractable with k tokens of context); Biderman et al. 2023, equation 1 (score).
    """
    end = prompt_tokens + suffix_tokens
    hits = _columns(is_argmax, prompt_tokens, end).astype(bool)
    losses = _columns(loss, prompt_tokens, end)
    return ExtractionScores(
        lengths >= end,
        hits.mean(1, dtype=np.float64).astype(np.float32),
        np.logical_and.accumulate(hits, axis=1).sum(1).astype(np.int32),
        -losses.sum(1, dtype=np.float64).astype(np.float32),
    )


def mean_loss(loss: Floats, lengths: npt.NDArray[np.int64], start: int, end: int) -> Floats:
    """Return the mean loss of tokens start to end (exclusive) in nats per token; NaN where the window is shorter.

    Token 0 is never predicted, so it is left out of a range that begins with it.
    """
    part = _columns(loss, max(start, 1), end)
    if part.shape[1] == 0:
        return np.full(len(lengths), np.nan, dtype=np.float32)
    return np.where(lengths >= end, part.mean(1, dtype=np.float64), np.nan).astype(np.float32)


def _columns(values: npt.NDArray[np.generic], start: int, end: int) -> npt.NDArray[np.generic]:
    """Return columns start to end, zeros where the batch is narrower."""
    part = np.zeros((len(values), end - start), dtype=values.dtype)
    present = values[:, start:end]
    part[:, : present.shape[1]] = present
    return part
