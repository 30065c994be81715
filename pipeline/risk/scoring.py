"""Score every document: the teacher speaks for text that proxies trained on, the student for the rest, an empty text for itself.

Scores are made a cluster at a time and shared by its documents. Where too few clusters were extracted to learn from, the exposure law
speaks alone, failing that graded labels stand in, and failing those the base rate; then no row counts as supported.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from scipy.special import expit, logit
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped, unused-ignore]

from pipeline.config import RiskConfig
from pipeline.risk.classes import sink_class
from pipeline.risk.corpus_features import Parts, corpus_texts
from pipeline.risk.crossfit import NO_FOLD
from pipeline.risk.evaluation import evaluate
from pipeline.risk.evidence import Evidence, check_independence
from pipeline.risk.exposure_law import count_windows, exposure, read_residuals
from pipeline.risk.fallback import SCORES, base_rate_scores, scale_graded, unchecked_law
from pipeline.risk.features import DECIMALS, FEATURES, cluster_features
from pipeline.risk.labels import at_largest_size, graded_thresholds, label_clusters, null_gain
from pipeline.risk.linear import Array
from pipeline.risk.predictor import (
    Rows,
    Teacher,
    build_rows,
    extrapolation_spread,
    fit_teacher,
    folds_of,
    gain_extrapolation_spread,
    gain_spread,
    graded,
    interval_width,
    is_enough,
    raw_features,
    target_gains,
)
from pipeline.risk.reasons import exposure_reasons, reasons
from pipeline.risk.student import STUDENT_FEATURES, fit_student, student_features, student_gains, student_logits, student_signals
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
    """Hold how large the scored model is and how far, in doublings, from what it is predicted by.

    `doublings`: log2 of its parameters. `ratio`: from the features' proxy. `beyond`: from the largest labels.
    """

    doublings: float
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
    is_graded = rows is not None and not is_enough(rows)
    fitted = graded(rows, thresholds) if rows is not None and is_graded else rows
    texts = texts.with_columns(windows=count_windows(pl.col("num_tokens"), evidence.context))
    teacher = None
    if fitted is not None:
        missed, ladder = (read_residuals(evidence, texts, config, role) for role in ("label_half", "full"))
        teacher = fit_teacher(fitted, missed, ladder, null_gain(nulls), config, seed, is_graded=is_graded)
    if fitted is None or teacher is None:
        scored = base_rate_scores(texts, labels, config)
    else:
        top, size = max(tables), float(np.log2(config.target_parameters))
        target = Target(size, size - float(np.log2(num_parameters[top])), size - float(fitted.doublings.max()))
        taught = tables[top].join(texts.select("cluster_id", "windows"), on="cluster_id", how="left", maintain_order="left")
        scored = _teacher_scores(teacher, fitted, taught, target, config)
        scored = _with_student(scored, texts, teacher, fitted, target, config)
        if is_graded:
            scored = scale_graded(scored, labels, thresholds, config) if teacher.laws is None else unchecked_law(scored, labels)
    last = at_largest_size(labels).select("cluster_id", "extracted_out")
    described = scored.join(texts.select("cluster_id", "cluster_size", "reference_suffix_loss"), on="cluster_id").join(
        last, on="cluster_id", how="left"
    )
    classed = described.with_columns(sink_class=sink_class(evidence.suffix_tokens, config)).select([*scored.columns, "sink_class"])
    top_table = tables[max(tables)] if tables else pl.DataFrame(schema={"cluster_id": pl.Binary, **dict.fromkeys(FEATURES, pl.Float64)})
    complete = classed.join(_signal_columns(texts, top_table), on="cluster_id", how="left")
    return complete.sort("cluster_id"), evaluate(teacher, rows, fitted, labels, nulls, evidence, config, seed)


def _teacher_scores(teacher: Teacher, rows: Rows, table: pl.DataFrame, target: Target, config: RiskConfig) -> pl.DataFrame:
    raw = raw_features(table)
    ratio = np.full(len(raw), target.ratio)
    folds = folds_of(table["cluster_id"].to_list(), rows, teacher.folds)
    gain = target_gains(teacher.gain, raw, folds)
    seen = exposure(table, target.doublings, gain)
    logits = teacher.sink_logits(raw, seen, folds)
    sink_sd = np.hypot(teacher.sink_spread(raw, seen), extrapolation_spread(teacher, target.doublings, target.beyond))
    supported = Support.fit(raw[folds != NO_FOLD], config.support_quantile).holds(raw)
    frame = _frame(
        table["cluster_id"],
        logits,
        sink_sd,
        gain,
        gain_spread(teacher, raw, target.ratio, target.beyond),
        np.asarray(expit(teacher.signal.predict(raw, ratio, folds))),
        config,
    )
    values = table.with_columns(cluster_size=(2.0 ** pl.col("copies")).round())
    if teacher.sink is None:
        said = exposure_reasons(logits, values)
    else:
        said = reasons(teacher.sink.design(raw, ratio), teacher.sink.fitted.betas[NO_FOLD], teacher.sink.names(), values)
    return frame.with_columns(scored_by=pl.lit("teacher"), is_supported=pl.Series(supported), reason=pl.Series(said, dtype=pl.String))


def _with_student(
    scored: pl.DataFrame, texts: pl.DataFrame, teacher: Teacher, rows: Rows, target: Target, config: RiskConfig
) -> pl.DataFrame:
    taught = texts.join(scored, on="cluster_id", how="inner").sort("cluster_id")
    rest = texts.join(scored, on="cluster_id", how="anti").sort("cluster_id")
    if rest.is_empty():
        return scored
    folds = folds_of(taught["cluster_id"].to_list(), rows, teacher.folds)
    inside = folds != NO_FOLD
    sink, signal, gain = (taught[name].to_numpy()[inside] for name in ("sink_score", "signal_score", "predicted_gain"))
    lesson = taught.filter(pl.Series(inside))
    taught_raw, taught_folds = student_features(lesson), folds[inside]
    student = fit_student(taught_raw, sink if teacher.laws is None else None, signal, gain, taught_folds, config.support_quantile)
    raw, unseen = student_features(rest), np.full(rest.height, NO_FOLD)
    gain = student_gains(student, raw, unseen)
    if teacher.laws is None:
        logits, sink_sd = student_logits(student, raw, unseen), np.full(len(raw), student.sink_spread)
    else:
        seen = exposure(rest, target.doublings, gain)
        guessed = exposure(lesson, target.doublings, student_gains(student, taught_raw, taught_folds))
        logits = teacher.laws.out_of_fold(seen, unseen, teacher.test)
        missed = logit(sink) - teacher.laws.out_of_fold(guessed, taught_folds, teacher.test)
        sink_sd = np.hypot(teacher.laws.drawn(seen, teacher.test).std(axis=1), float(np.std(missed)))
    sink_sd = np.hypot(sink_sd, extrapolation_spread(teacher, target.doublings, target.beyond))
    signal = student_signals(student, raw, unseen)
    gain_sd = np.full(len(raw), float(np.hypot(student.gain_spread, gain_extrapolation_spread(teacher, target.ratio, target.beyond))))
    frame = _frame(rest["cluster_id"], logits, sink_sd, gain, gain_sd, signal, config)
    if student.sink is None:
        said = exposure_reasons(logits, rest)
    else:
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
    # a chance of one in a billion is not one of one in a million
    rounded = filled.with_columns(pl.col(*SCORES).round_sig_figs(DECIMALS), pl.col(*FEATURES).round(DECIMALS)).drop("num_bytes")
    return SINK_SCORES.check(rounded.with_columns(pl.col("sink_class").cast(pl.String)))
