"""Tests of `pipeline.risk.predictions` on the world of known truth."""

from __future__ import annotations

from typing import Any

import polars as pl

from pipeline.config import RiskConfig
from pipeline.risk.ablation import RIVAL
from pipeline.risk.predictions import ablate_documents, collect_predictions


def test_predictions_are_one_row_a_cluster_with_the_rivals_score(world: Any) -> None:
    """Scores are the documents' own, the rival's stand where proxies trained on the cluster, and parts change nothing."""
    config = RiskConfig(num_bootstrap=10, num_folds=4)
    scores, _ = world.score(config)
    halves = [world.documents.slice(0, 100), world.documents.slice(100)]
    known = (world.clusters, world.evidence, world.document_signals, config, 0)
    first, second = ablate_documents(lambda: iter([world.documents]), *known), ablate_documents(lambda: iter(halves), *known)
    assert first.equals(second)
    predictions = collect_predictions(scores, first)
    assert predictions["cluster_id"].is_sorted()
    assert predictions["cluster_id"].n_unique() == predictions.height
    both = predictions.join(pl.DataFrame(scores), on="cluster_id", suffix="_own")
    assert (both["sink_score"] == both["sink_score_own"]).all()
    rivals = first.filter(pl.col("block") == RIVAL)
    assert predictions["rival_score"].is_not_null().sum() == rivals.height > 0
    assert not set(predictions.columns) & {"doc_id", "reason"}
