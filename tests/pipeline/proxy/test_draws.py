"""Tests of `pipeline.proxy.draws`."""

from __future__ import annotations

import hashlib

import numpy as np
import polars as pl

from pipeline.proxy.draws import draw_key, draw_ranks, mix

IDS = pl.Series([hashlib.blake2b(str(n).encode(), digest_size=16).digest() for n in range(2000)], dtype=pl.Binary)


def test_a_rank_hangs_on_the_id_and_the_key_alone() -> None:
    """Shuffling the ids shuffles the ranks; another key gives unrelated ones."""
    order = np.random.default_rng(0).permutation(len(IDS))
    ranks = draw_ranks(IDS, "purpose", 3)
    assert (draw_ranks(IDS.gather(order), "purpose", 3) == ranks[order]).all()
    assert abs(np.corrcoef(ranks.astype(float), draw_ranks(IDS, "purpose", 4).astype(float))[0, 1]) < 0.1


def test_ranks_are_uniform() -> None:
    """Each tenth of the range gets about a tenth of the ids."""
    counts = np.histogram(draw_ranks(IDS, "uniform").astype(float) / 2**64, bins=10, range=(0, 1))[0]
    assert counts.min() > 130
    assert counts.max() < 280


def test_ranks_survive_a_slice_and_an_empty_column() -> None:
    """A view into a longer column gives the ranks of its own ids."""
    assert (draw_ranks(IDS[5:9], "x") == draw_ranks(IDS, "x")[5:9]).all()
    assert len(draw_ranks(IDS[:0], "x")) == 0


def test_the_mix_is_one_to_one_and_keys_differ() -> None:
    """Near inputs collide nowhere, and different purposes have different keys."""
    assert len(np.unique(mix(np.arange(10_000, dtype=np.uint64)))) == 10_000
    assert draw_key("a", 1) != draw_key("a", 2) != draw_key("b", 1)
