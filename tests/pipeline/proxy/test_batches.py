"""Tests of `pipeline.proxy.batches`."""

from __future__ import annotations

from itertools import chain

import numpy as np
import torch

from pipeline.proxy.batches import load_windows, make_batch, order_epoch, order_probe, sum_by_owner
from pipeline.tables import SAMPLES
from tests.pipeline.proxy.conftest import Corpus


def test_an_epoch_visits_every_member_once_in_a_new_order(corpus: Corpus) -> None:
    """Epochs are permutations of the members, equal only for the same seed and number."""
    windows = load_windows(corpus.drawn.samples, corpus.config.context)
    members = np.arange(0, len(windows), 2)
    epochs = [order_epoch(windows, members, epoch, 8, 1) for epoch in (0, 1, 0)]
    for epoch in epochs:
        assert sorted(np.concatenate(epoch).tolist()) == members.tolist()
        assert all(len(batch) <= 8 for batch in epoch)
    assert np.concatenate(epochs[0]).tolist() == np.concatenate(epochs[2]).tolist()
    assert np.concatenate(epochs[0]).tolist() != np.concatenate(epochs[1]).tolist()


def test_the_order_of_tokens_does_not_hang_on_sample_ids(corpus: Corpus) -> None:
    """Renumbered samples are visited with the same tokens in the same order."""
    samples = corpus.drawn.samples
    numbers = np.random.default_rng(0).permutation(len(samples))
    renumbered = SAMPLES.check(samples.with_columns(sample_id=numbers))
    visited = []
    for table in (samples, renumbered):
        windows = load_windows(table, corpus.config.context)
        batches = order_epoch(windows, np.arange(len(windows)), 0, len(windows), 1)
        visited.append(sorted(map(tuple, windows.tokens[torch.from_numpy(batches[0])].tolist())))
        visited[-1].append(tuple(int(size) for size in map(len, batches)))
    assert visited[0] == visited[1]


def test_like_lengths_share_a_batch(corpus: Corpus) -> None:
    """Padding is a small share of the tokens."""
    windows = load_windows(corpus.drawn.samples, corpus.config.context)
    members = np.arange(len(windows))
    for batches in (order_epoch(windows, members, 0, 4, 1), list(order_probe(windows, members, 4))):
        padded = sum(make_batch(windows, batch).tokens.numel() for batch in batches)
        assert padded < 1.15 * windows.lengths.sum()


def test_a_batch_predicts_every_token_but_the_first(corpus: Corpus) -> None:
    """Targets are the tokens behind their places, owners their rows, counts the lengths less one."""
    windows = load_windows(corpus.drawn.samples, corpus.config.context)
    batch = make_batch(windows, np.array([3, 0, 5]))
    expected = [windows.tokens[at, 1 : windows.lengths[at]].tolist() for at in (3, 0, 5)]
    assert batch.targets.tolist() == list(chain(*expected))
    assert batch.counts.tolist() == [len(tokens) for tokens in expected]
    before = batch.tokens.reshape(-1)[batch.places].tolist()
    assert before == list(chain(*(windows.tokens[at, : windows.lengths[at] - 1].tolist() for at in (3, 0, 5))))
    assert sum_by_owner(torch.ones(len(batch.targets)), batch).tolist() == batch.counts.tolist()
