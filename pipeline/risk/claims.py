"""Every claim that an audit's own proxies can answer, put to the corpus in one place."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import polars as pl

from pipeline.risk.evidence import Evidence
from pipeline.risk.findings import Finding
from pipeline.risk.hypotheses import duplication, scale
from pipeline.risk.labels import at_largest_size
from pipeline.risk.trials import forgetting, forgetting_losses, sink_localization


def put_claims(
    evidence: Evidence, labels: pl.DataFrame, parameters: Mapping[int, int], planned: float, interval: float, rng: np.random.Generator
) -> list[Finding]:
    """Return one finding a claim: copies and scale always; localization and forgetting where proxies were trained for them.

    `labels`: of every size, with LABELS' columns; `parameters`: non-embedding, by rank; `planned`: those of the model to come.
    """
    copies = pl.DataFrame(evidence.samples).group_by("cluster_id").agg(copies=pl.col("doc_id").n_unique())
    by_size = [(float(parameters[size]), labels.filter(pl.col("size") == size)) for size in sorted(parameters)]
    found = [duplication(at_largest_size(labels), copies, interval, rng), scale(by_size, copies, planned, interval, rng)]
    sinks, forgotten = evidence.sinks(), forgetting_losses(evidence)
    if sinks.height:
        found.append(sink_localization(sinks, interval, rng))
    if forgotten.height:
        found.append(forgetting(forgotten, interval, rng))
    return found
