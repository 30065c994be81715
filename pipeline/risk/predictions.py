"""What an audit predicted, one row a cluster, to be frozen before a target trains; and what each block of signals would have said."""

from __future__ import annotations

import polars as pl
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped, unused-ignore]

from pipeline.config import RiskConfig
from pipeline.risk.ablation import RIVAL, ablate
from pipeline.risk.corpus_features import Parts, corpus_texts
from pipeline.risk.evidence import Evidence
from pipeline.risk.fallback import SCORES
from pipeline.tables import Clusters, DocumentSignals, RepeatedSpans, SinkScores

NOT_OF_CLUSTERS = ("doc_id", "sink_class", "reason")


def ablate_documents(
    parts: Parts,
    clusters: Clusters,
    evidence: Evidence,
    document_signals: DocumentSignals,
    config: RiskConfig,
    seed: int,
    spans: RepeatedSpans | None = None,
) -> pl.DataFrame:
    """Return `pipeline.risk.ablation.ablate` for documents: features as scoring makes them, at the size that the scores are for."""
    with threadpool_limits(limits=1):  # sums in threads depend on their number
        trained = evidence.samples["doc_id"].unique().to_list()
        _, texts = corpus_texts(parts, trained, clusters, document_signals, spans)
        return ablate(texts, evidence, config, config.target_parameters, seed)


def collect_predictions(scores: SinkScores, ablations: pl.DataFrame) -> pl.DataFrame:
    """Return the scores and signals of every cluster with text, in order of cluster_id, with the rival's out-of-fold score beside them."""
    rivals = ablations.filter(pl.col("block") == RIVAL).select("cluster_id", rival_score="sink_score")
    scored = pl.DataFrame(scores).filter(pl.col("scored_by") != "empty").drop(NOT_OF_CLUSTERS)
    first = scored.unique("cluster_id", keep="first", maintain_order=True)
    return first.cast(dict.fromkeys(SCORES, pl.Float64)).join(rivals, on="cluster_id", how="left").sort("cluster_id")
