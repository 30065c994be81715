"""Blocks are nested and cost-ordered, refitted on the proxies' labels alone, and out-of-fold."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped, unused-ignore]

from pipeline.config import RiskConfig
from pipeline.risk.ablation import ABLATIONS, RIVAL, ablate, signal_blocks
from pipeline.risk.corpus_features import corpus_texts
from pipeline.risk.features import FITTED_FEATURES
from pipeline.risk.labels import at_largest_size, label_clusters
from pipeline.risk.metrics import spearman

CONFIG = RiskConfig(num_bootstrap=10, num_folds=4)


def texts_of(world: Any) -> pl.DataFrame:
    """Return the corpus features of every cluster."""
    trained = world.evidence.samples["doc_id"].unique().to_list()
    return corpus_texts(lambda: [world.documents], trained, world.clusters, world.document_signals)[1]


def refit(texts: pl.DataFrame, world: Any) -> pl.DataFrame:
    """Fit every block, on one thread: small products wait for one another on more."""
    with threadpool_limits(limits=1):
        return ablate(texts, world.evidence, CONFIG, 1e7, 0)


@pytest.fixture(scope="module")
def found(world: Any) -> pl.DataFrame:
    return refit(texts_of(world), world)


def test_blocks_are_nested_and_end_with_every_feature() -> None:
    """Each block holds the one before it, and the last holds all."""
    blocks = list(signal_blocks().values())
    assert all(set(before) < set(after) for before, after in pairwise(blocks))
    assert set(blocks[-1]) == set(FITTED_FEATURES)


def test_every_block_scores_every_cluster_the_largest_proxy_trained_on(world: Any, found: pl.DataFrame) -> None:
    """The rival scores the rest of the corpus too."""
    assert dict(found.schema) == ABLATIONS
    trained = world.evidence.of("full", 2).filter("in_training")["cluster_id"].n_unique()
    counted = dict(found.group_by("block").len().iter_rows())
    assert {counted[block] for block in signal_blocks()} == {trained}
    assert counted[RIVAL] == len(world.copies)


def test_scores_know_the_truth_and_later_blocks_more_of_it(world: Any, found: pl.DataFrame) -> None:
    """Against labels that each row's own fit never saw, training signals add to the corpus alone."""
    labels, _ = label_clusters(world.evidence, CONFIG)
    gains = at_largest_size(labels).select("cluster_id", "gain")
    agreement = {}
    for block in signal_blocks():
        joined = found.filter(pl.col("block") == block).join(gains, on="cluster_id")
        agreement[block] = spearman(joined["predicted_gain"].to_numpy(), joined["gain"].to_numpy()) or 0.0
    names = list(signal_blocks())
    assert agreement[names[0]] > 0.3
    assert agreement[names[-1]] > agreement[names[0]] + 0.1


def test_without_labels_there_is_nothing_to_fit(make_world: Any) -> None:
    """Too few clusters of either kind give an empty frame, not a guess."""
    world = make_world(12)
    assert refit(texts_of(world), world).is_empty()


def test_shuffled_labels_give_chance(world: Any) -> None:
    """Leakage test: fitted to losses of other clusters, no block predicts the true gains."""
    order = np.random.default_rng(3).permutation(len(world.copies))
    ids = sorted(world.copies)
    other = dict(zip(ids, (ids[at] for at in order), strict=True))
    texts = texts_of(world)
    mixed = texts.with_columns(cluster_id=pl.Series([other[key] for key in texts["cluster_id"]], dtype=pl.Binary)).sort("cluster_id")
    shuffled = refit(mixed, world)
    gains = at_largest_size(label_clusters(world.evidence, CONFIG)[0]).select("cluster_id", "gain")
    joined = shuffled.filter(pl.col("block") == "corpus").join(gains, on="cluster_id")
    assert abs(spearman(joined["predicted_gain"].to_numpy(), joined["gain"].to_numpy()) or 0.0) < 0.2
