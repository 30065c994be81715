"""Score every document: the teacher speaks for text that proxies trained on, the student for the rest, an empty text for itself.

Scores are made a cluster at a time and shared by its documents. Where too few clusters were extracted to learn from, graded labels
stand in, or failing those the base rate; then no row counts as supported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from scipy.special import expit
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped, unused-ignore]

from pipeline.config import RiskConfig
from pipeline.risk.classes import sink_class
from pipeline.risk.corpus_features import Parts, corpus_texts
from pipeline.risk.crossfit import NO_FOLD, Folds
from pipeline.risk.evaluation import evaluate
from pipeline.risk.evidence import Evidence, check_independence
from pipeline.risk.fallback import SCORES, base_rate_scores, scale_graded
from pipeline.risk.features import DECIMALS, FEATURES, cluster_features
from pipeline.risk.labels import at_largest_size, graded_thresholds, label_clusters
from pipeline.risk.linear import Array
from pipeline.risk.predictor import (
    UNKNOWN_LOGIT_ERROR,
    Rows,
    Teacher,
    build_rows,
    fit_teacher,
    graded,
    interval_width,
    raw_features,
    spread,
)
from pipeline.risk.reasons import reasons
from pipeline.risk.student import STUDENT_FEATURES, fit_student, student_features, student_scores
from pipeline.risk.support import Support
from pipeline.tables import (
    SINK_GAPS,
    SINK_SCORES,
    Clusters,
    DocumentSignals,
    Extractions,
    Proxies,
    ProxySignals,
    ProxySplits,
    RepeatedSpans,
    Samples,
    SinkGaps,
    SinkScores,
)


@dataclass(frozen=True)
class Target:
    """Hold how far the scored size is from the features' proxy (`ratio`) and from the largest labels (`beyond`), in doublings."""

    ratio: float
    beyond: float


def score_documents(
    parts: Parts,
    clusters: Clusters,
    samples: Samples,
    splits: ProxySplits,
    proxies: Proxies,
    signals: ProxySignals,
    extractions: Extractions,
    document_signals: DocumentSignals,
    config: RiskConfig,
    suffix_tokens: int,
    seed: int,
    sink_gaps: SinkGaps | None = None,
    spans: RepeatedSpans | None = None,
) -> tuple[SinkScores, Mapping[str, Any]]:
    """Return one scored row a document, ordered by doc_id, and facts: evaluation, model_card, notes.

    `parts` opens the documents anew at each call (it is read twice, one part in memory at a time). Signals ride along as further
    columns, null where not measurable. `spans`: None where they were not looked for. Raises: IntegrityError when feature and label proxies
    share a split.
    """
    gaps = SINK_GAPS.empty() if sink_gaps is None else sink_gaps
    evidence = Evidence(samples, splits, proxies, signals, extractions, suffix_tokens, gaps)
    check_independence(evidence)
    with threadpool_limits(limits=1):  # sums in threads depend on their number
        documents, texts = corpus_texts(parts, samples["doc_id"].unique().to_list(), clusters, document_signals, spans)
        scored, facts = score_clusters(texts, evidence, config, seed)
    return _broadcast(documents, clusters, scored), facts


def score_clusters(texts: pl.DataFrame, evidence: Evidence, config: RiskConfig, seed: int) -> tuple[pl.DataFrame, dict[str, Any]]:
    """Return one scored row a cluster of `texts` (the frame of `cluster_texts`), and the facts."""
    labels, nulls = label_clusters(evidence, config)
    thresholds = graded_thresholds(labels, nulls)
    tables = {size: cluster_features(evidence, texts, size) for size in evidence.sizes("full")}
    num_parameters = {size: evidence.num_parameters(size) for size in sorted({*tables, *labels["size"].to_list()})}
    rows = build_rows(tables, labels, num_parameters) if tables and labels.height else None
    teacher = fit_teacher(rows, config, seed) if rows is not None else None
    is_graded = rows is not None and teacher is None
    if rows is not None and is_graded:
        rows = graded(rows, thresholds)
        teacher = fit_teacher(rows, config, seed)
    if rows is None or teacher is None:
        scored = base_rate_scores(texts, labels, config)
    else:
        top = max(tables)
        beyond = float(np.log2(config.target_parameters)) - float(rows.doublings.max())
        target = Target(float(np.log2(config.target_parameters / num_parameters[top])), beyond)
        fitted = _teacher_scores(teacher, rows, tables[top], target, config)
        scored = _with_student(fitted, texts, teacher, rows, target, config)
        scored = scale_graded(scored, labels, thresholds, config) if is_graded else scored
    last = at_largest_size(labels).select("cluster_id", "extracted_out")
    described = scored.join(texts.select("cluster_id", "cluster_size", "reference_suffix_loss"), on="cluster_id").join(
        last, on="cluster_id", how="left"
    )
    classed = described.with_columns(sink_class=sink_class(evidence.suffix_tokens, config)).select([*scored.columns, "sink_class"])
    top_table = tables[max(tables)] if tables else pl.DataFrame(schema={"cluster_id": pl.Binary, **dict.fromkeys(FEATURES, pl.Float64)})
    complete = classed.join(_signal_columns(texts, top_table), on="cluster_id", how="left")
    return complete.sort("cluster_id"), evaluate(teacher, rows, labels, nulls, evidence, config, seed, is_graded=is_graded)


def _teacher_scores(teacher: Teacher, rows: Rows, table: pl.DataFrame, target: Target, config: RiskConfig) -> pl.DataFrame:
    raw = raw_features(table)
    ratio = np.full(len(raw), target.ratio)
    folds = _folds_of(table["cluster_id"].to_list(), teacher, rows)
    design = teacher.sink.design(raw, ratio)
    error = UNKNOWN_LOGIT_ERROR if teacher.sink_error is None else teacher.sink_error
    sink_sd = spread(teacher.sink_draws, design, teacher.sink, error, target.beyond)
    gain_sd = spread(teacher.gain_draws, teacher.gain.design(raw, ratio), teacher.gain, teacher.gain_error or 0.0, target.beyond)
    supported = Support.fit(raw[folds != NO_FOLD], config.support_quantile).holds(raw)
    frame = _frame(
        table["cluster_id"],
        teacher.sink.predict(raw, ratio, folds),
        sink_sd,
        teacher.gain.predict(raw, ratio, folds),
        gain_sd,
        np.asarray(expit(teacher.signal.predict(raw, ratio, folds))),
        config,
    )
    values = table.with_columns(cluster_size=(2.0 ** pl.col("copies")).round())
    said = reasons(design, teacher.sink.fitted.betas[NO_FOLD], teacher.sink.names(), values)
    return frame.with_columns(scored_by=pl.lit("teacher"), is_supported=pl.Series(supported), reason=pl.Series(said, dtype=pl.String))


def _with_student(
    scored: pl.DataFrame, texts: pl.DataFrame, teacher: Teacher, rows: Rows, target: Target, config: RiskConfig
) -> pl.DataFrame:
    taught = texts.join(scored, on="cluster_id", how="inner").sort("cluster_id")
    folds = _folds_of(taught["cluster_id"].to_list(), teacher, rows)
    inside = folds != NO_FOLD
    sink, signal, gain = (taught[name].to_numpy()[inside] for name in ("sink_score", "signal_score", "predicted_gain"))
    student = fit_student(student_features(taught)[inside], sink, signal, gain, folds[inside], config.support_quantile)
    rest = texts.join(scored, on="cluster_id", how="anti").sort("cluster_id")
    if rest.is_empty():
        return scored
    raw = student_features(rest)
    sink, signal, gain = student_scores(student, raw, np.full(len(raw), NO_FOLD))
    error = UNKNOWN_LOGIT_ERROR if teacher.sink_error is None else teacher.sink_error
    sink_sd = np.full(len(raw), float(np.hypot(student.sink_spread, error * max(target.beyond, 0.0))))
    gain_sd = np.full(len(raw), float(np.hypot(student.gain_spread, (teacher.gain_error or 0.0) * max(target.beyond, 0.0))))
    frame = _frame(rest["cluster_id"], sink, sink_sd, gain, gain_sd, signal, config)
    standardizer = student.standardizers[0]
    said = reasons(standardizer.design(raw), student.sink.betas[NO_FOLD], standardizer.names(STUDENT_FEATURES), rest)
    supported = pl.Series(student.support.holds(raw))
    return pl.concat(
        [scored, frame.with_columns(scored_by=pl.lit("student"), is_supported=supported, reason=pl.Series(said, dtype=pl.String))]
    )


def _frame(
    cluster_ids: pl.Series, logits: Array, logit_sd: Array, gain: Array, gain_sd: Array, signal: Array, config: RiskConfig
) -> pl.DataFrame:
    reach = interval_width(config.interval)
    columns = (
        expit(logits),
        expit(logits - reach * logit_sd),
        expit(logits + reach * logit_sd),
        gain,
        gain - reach * gain_sd,
        gain + reach * gain_sd,
        signal,
    )
    return pl.DataFrame({"cluster_id": cluster_ids, **dict(zip(SCORES, columns, strict=True))})


def _folds_of(cluster_ids: list[bytes], teacher: Teacher, rows: Rows) -> Folds:
    fold = dict(zip(rows.cluster_ids, teacher.folds.tolist(), strict=True))
    return np.array([fold.get(cluster_id, NO_FOLD) for cluster_id in cluster_ids], np.int64)


def _signal_columns(texts: pl.DataFrame, table: pl.DataFrame) -> pl.DataFrame:
    """Return FEATURES of every cluster: the teacher's where proxies trained on it, else those that the corpus and one pass give."""
    known = [name for name in FEATURES if name in texts.columns]
    everywhere = texts.select("cluster_id", *known).join(table, on="cluster_id", how="left", suffix="_teacher")
    return everywhere.select(
        "cluster_id", *(pl.coalesce(f"{name}_teacher", name).alias(name) if name in known else pl.col(name) for name in FEATURES)
    )


def _broadcast(documents: pl.DataFrame, clusters: Clusters, scored: pl.DataFrame) -> SinkScores:
    rows = pl.DataFrame(clusters).select("doc_id", "cluster_id").join(documents.select("doc_id", "num_bytes"), on="doc_id")
    rows = rows.join(scored, on="cluster_id", how="left").sort("doc_id")
    is_empty = pl.col("num_bytes") == 0
    emptied = {**dict.fromkeys(SCORES, 0.0), "scored_by": "empty", "is_supported": True, "reason": "no text", "sink_class": None}
    filled = rows.with_columns(pl.when(is_empty).then(pl.lit(value)).otherwise(pl.col(name)).alias(name) for name, value in emptied.items())
    rounded = filled.with_columns(pl.col(*SCORES, *FEATURES).round(DECIMALS)).drop("num_bytes")
    return SINK_SCORES.check(rounded.with_columns(pl.col("sink_class").cast(pl.String)))
