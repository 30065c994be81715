"""Batches of token windows: which go together, in which order, and how they are padded.

The order of training is drawn from the tokens and a seed, not from sample ids, and windows of like length share a batch, so that short
texts don't pay for padding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipeline.proxy.draws import UInt64s, draw_key, mix
from pipeline.tables import Samples

BUCKET_BATCHES = 16

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Windows:
    """Hold samples as arrays: ids (S,), lengths (S,), tokens (S, context) padded with 0, content digests (S,)."""

    sample_ids: Indices
    lengths: Indices
    tokens: Tensor
    digests: UInt64s

    def __len__(self) -> int:
        return len(self.sample_ids)

    def to(self, place: torch.device) -> Windows:
        """Return the windows with their tokens on a device; batches are made there."""
        return replace(self, tokens=self.tokens.to(place))


@dataclass(frozen=True)
class Batch:
    """Hold B windows of at most T tokens: tokens (B, T), and for its N predicted tokens the place b x T + t of the token before.

    `owners` (N,): row of each predicted token; `counts` (B,): predicted tokens a row.
    """

    indices: Indices
    tokens: Tensor
    places: Tensor
    targets: Tensor
    owners: Tensor
    counts: Tensor


def load_windows(samples: Samples, context: int) -> Windows:
    """Turn samples into arrays, in order of sample_id."""
    ordered = samples.sort("sample_id")
    rows = [np.asarray(tokens, dtype=np.int64) for tokens in ordered["tokens"].to_list()]
    padded = np.zeros((len(rows), context), dtype=np.int64)
    for row, tokens in enumerate(rows):
        padded[row, : len(tokens)] = tokens
    digests = [int.from_bytes(blake2b(tokens.tobytes(), digest_size=8).digest(), "little") for tokens in rows]
    return Windows(
        ordered["sample_id"].to_numpy().astype(np.int64),
        np.array([len(tokens) for tokens in rows], dtype=np.int64),
        torch.from_numpy(padded),
        _tell_copies_apart(np.array(digests, dtype=np.uint64)),
    )


def order_epoch(windows: Windows, members: Indices, epoch: int, batch_windows: int, seed: int) -> list[Indices]:
    """Return one epoch's batches: every member once, shuffled by content and seed, like lengths together.

    Sixteen batches' worth of the shuffled members are sorted by length, cut, and the batches of the epoch shuffled again.
    """
    key = np.uint64(draw_key("order", seed, epoch))
    shuffled = members[np.argsort(mix(windows.digests[members] ^ key), kind="stable")]
    batches = []
    for start in range(0, len(shuffled), BUCKET_BATCHES * batch_windows):
        bucket = shuffled[start : start + BUCKET_BATCHES * batch_windows]
        bucket = bucket[np.argsort(windows.lengths[bucket], kind="stable")]
        batches += [bucket[at : at + batch_windows] for at in range(0, len(bucket), batch_windows)]
    order = np.random.default_rng([seed, epoch]).permutation(len(batches))
    return [batches[at] for at in order]


def order_probe(windows: Windows, members: Indices, batch_windows: int) -> Iterator[Indices]:
    """Yield batches of members sorted by length, for passes that change nothing."""
    ordered = members[np.argsort(windows.lengths[members], kind="stable")]
    return (ordered[at : at + batch_windows] for at in range(0, len(ordered), batch_windows))


def make_batch(windows: Windows, indices: Indices) -> Batch:
    """Collate windows, padded to the longest of them."""
    lengths = windows.lengths[indices]
    return collate(windows.tokens[torch.from_numpy(indices).to(windows.tokens.device)], lengths, indices)


def collate(tokens: Tensor, lengths: Indices, indices: Indices) -> Batch:
    """Cut padded tokens (B, context) to the longest row and list what is predicted: every token but a row's first."""
    width = int(lengths.max())
    tokens = tokens[:, :width].contiguous()
    counts = torch.from_numpy(lengths - 1).to(tokens.device)
    owners, steps = torch.nonzero(torch.arange(width - 1, device=tokens.device)[None] < counts[:, None], as_tuple=True)
    return Batch(indices, tokens, owners * width + steps, tokens[owners, steps + 1], owners, counts)


def sum_by_owner(values: Tensor, batch: Batch) -> Tensor:
    """Add up per-token values (N,) to one a row (B,)."""
    return torch.zeros(len(batch.counts), dtype=values.dtype, device=values.device).index_add_(0, batch.owners, values)


def pad_rows(rows: Sequence[npt.NDArray[np.int32]], context: int) -> tuple[Tensor, Indices]:
    """Return token rows as (B, context) padded with 0, and their lengths."""
    padded = np.zeros((len(rows), context), dtype=np.int64)
    for at, row in enumerate(rows):
        padded[at, : len(row)] = row
    return torch.from_numpy(padded), np.array([len(row) for row in rows], dtype=np.int64)


def _tell_copies_apart(digests: UInt64s) -> UInt64s:
    """Mix into each digest how many equal ones came before it, so that copies are drawn apart; copies are interchangeable."""
    order = np.argsort(digests, kind="stable")
    ordered = digests[order]
    is_first = np.r_[True, ordered[1:] != ordered[:-1]] if len(ordered) else np.zeros(0, dtype=bool)
    starts = np.maximum.accumulate(np.where(is_first, np.arange(len(ordered)), 0))
    result = np.empty_like(digests)
    result[order] = mix(ordered ^ mix((np.arange(len(ordered)) - starts).astype(np.uint64)))
    return result
