"""Say which text a model of the stated size is expected to memorize, how sure that is, and against what it was checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import polars as pl

from pipeline.config import ProxyConfig, RiskConfig
from pipeline.report.ledger import reached_policy
from pipeline.report.measures import MAX_POINTS, histogram, interval, numbers, share, thin, tidy
from pipeline.statistics import wilson_interval
from pipeline.tables import Proxies

MIN_POSITIVES = 50
"""Memorized clusters from which a stratum is judged at all. Source: design of the validation, 50 positives for average precision."""

STRATUM_KEYS = ("average_precision", "ap_low", "ap_high", "auroc", "auroc_low", "auroc_high")


def sinks(
    ledger: pl.DataFrame,
    proxies: Proxies,
    evaluation: Mapping[str, Any],
    proxy: ProxyConfig,
    risk: RiskConfig,
) -> dict[str, Any]:
    """Return the definition in numbers, scores of the rows that reached the policy, and the predictor's checks."""
    judged = reached_policy(ledger).filter(pl.col("sink_score").is_not_null())
    supported = judged.filter(pl.col("is_supported"))
    return {
        "definition": {
            "prompt_tokens": proxy.prompt_tokens,
            "suffix_tokens": proxy.suffix_tokens,
            "null_quantile": risk.null_quantile,
            "discoverable_tries": risk.discoverable_tries,
            "discoverable_probability": risk.discoverable_probability,
            "target_parameters": risk.target_parameters,
            "recitation_copies": risk.recitation_copies,
        },
        "rows_judged": judged.height,
        "score_histogram": _score_histogram(judged),
        "expected_memorized": tidy(float(judged["sink_score"].sum())),
        "expected_memorized_low": tidy(float(judged["sink_score_low"].sum())),
        "expected_memorized_high": tidy(float(judged["sink_score_high"].sum())),
        "share_unsupported": share(judged.height - supported.height, judged.height),
        "classes": _counts(judged, "sink_class"),
        "scored_by": _counts(judged, "scored_by"),
        "ladder": _ladder(proxies),
        "total_flops": tidy(float(proxies["training_flops"].sum()) + float(proxies["signal_flops"].sum())),
        "largest_proxy": int(proxies["num_parameters"].max() or 0) or None,  # type: ignore[arg-type]
        "evaluation": _evaluation(evaluation),
    }


def _score_histogram(judged: pl.DataFrame) -> list[dict[str, Any]]:
    edges = np.linspace(0.0, 1.0, 21)
    inside = histogram(judged.filter(pl.col("is_supported"))["sink_score"].to_numpy(), edges)
    outside = histogram(judged.filter(~pl.col("is_supported"))["sink_score"].to_numpy(), edges)
    return [{**a, "unsupported": b["count"]} for a, b in zip(inside, outside, strict=True)]


def _counts(rows: pl.DataFrame, column: str) -> list[dict[str, Any]]:
    counted = rows.group_by(column).agg(rows=pl.len(), mean_score=pl.col("sink_score").mean())
    ordered = counted.filter(pl.col(column).is_not_null()).sort(["rows", column], descending=[True, False])
    return [{"name": row[column], "rows": row["rows"], "mean_score": tidy(row["mean_score"])} for row in ordered.iter_rows(named=True)]


def _ladder(proxies: Proxies) -> list[dict[str, Any]]:
    """Sum up the proxies per size and role: how many, how large, how far trained, at what cost."""
    grouped = (
        proxies.group_by("size", "role")
        .agg(
            proxies=pl.len(),
            num_parameters=pl.col("num_parameters").first(),
            num_token_visits=pl.col("num_token_visits").sum(),
            final_loss=pl.col("final_loss").mean(),
            held_out_loss=pl.col("held_out_loss").mean(),
            flops=pl.col("training_flops").sum() + pl.col("signal_flops").sum(),
        )
        .sort("size", "role")
    )
    return [tidy(row) for row in grouped.iter_rows(named=True)]


def _evaluation(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Bring the predictor's evaluation into one shape; what is absent stays visibly so."""
    calibration: Mapping[str, Any] = raw.get("calibration") or {}
    return {
        "label_sizes": tidy(list(raw.get("label_sizes") or [])),
        "num_labelled_clusters": tidy(raw.get("num_labelled_clusters")),
        "num_positive": tidy(raw.get("num_positive")),
        "label_reliability": interval(raw.get("label_reliability")),
        "calibration": {
            "bins": [_calibrated(row) for row in numbers(calibration.get("bins"), "predicted", "observed", "count")],
            "brier_skill": interval(
                {
                    "value": calibration.get("brier_skill"),
                    "low": calibration.get("brier_skill_low"),
                    "high": calibration.get("brier_skill_high"),
                }
            ),
            **{key: tidy(calibration.get(key)) for key in ("brier", "ece", "slope")},
        },
        "strata": [_stratum(stratum) for stratum in raw.get("strata") or []],
        "gain_over_rival": _with_extras(raw.get("gain_over_rival"), "enough_data"),
        "spearman_gain": _with_extras(raw.get("spearman_gain"), "ceiling", "corrected"),
        "precision_recall": [_curve(curve) for curve in raw.get("precision_recall") or []],
        "duplication_curve": tidy(numbers(raw.get("duplication_curve"), "copies", "memorized")),
        "trajectories": [
            {"group": str(curve.get("group", "")), "points": tidy(thin(curve.get("points") or []))}
            for curve in raw.get("trajectories") or []
        ],
        "localization": [_localized(row) for row in raw.get("localization") or []],
        "scale_slope": tidy(numbers(raw.get("scale_slope"), "size", "gain")),
        "hypotheses": [_hypothesis(row) for row in raw.get("hypotheses") or []],
        "capacity_tax": _capacity(raw.get("capacity_tax") or {}),
        "features": _features(raw.get("features")),
        "notes": [str(note) for note in raw.get("notes") or []],
    }


def _curve(raw: Mapping[str, Any]) -> dict[str, Any]:
    stratum = str(raw.get("stratum", "all"))
    # curves of strata are drawn small
    points = thin(raw.get("points") or [], MAX_POINTS if stratum == "all" else MAX_POINTS // 4)
    return {"predictor": str(raw.get("predictor", "")), "stratum": stratum, "points": tidy(points)}


def _calibrated(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a bin of the reliability diagram with the interval of its observed share."""
    low, high = wilson_interval(row["observed"] * row["count"], round(row["count"]))
    return {**tidy(row), "low": tidy(low), "high": tidy(high)}


def _localized(raw: Mapping[str, Any]) -> dict[str, Any]:
    shares = {mask: interval(raw.get(mask)) for mask in ("own", "off", "other")}
    return {"stratum": str(raw.get("stratum", "")), "num_clusters": tidy(raw.get("num_clusters")), **shares}


def _hypothesis(raw: Mapping[str, Any]) -> dict[str, Any]:
    told = {key: str(raw.get(key, "")) for key in ("claim", "verdict", "unit", "sentence")}
    return {**told, "found": interval(raw), "line": tidy(raw.get("line")), "num_clusters": tidy(raw.get("num_clusters"))}


def _capacity(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return bits by proxy size and, along their line, at the size that scores are for."""
    keys = ("sink_bits", "all_bits", "sink_share", "capacity_taken_by_sinks", "capacity_filled")
    planned = raw.get("planned")
    return {
        "num_clusters": tidy(raw.get("num_clusters")),
        "num_sinks": tidy(raw.get("num_sinks")),
        "bits_per_parameter": tidy(raw.get("bits_per_parameter")),
        "sizes": [{"size": tidy(row.get("size")), **{key: interval(row.get(key)) for key in keys}} for row in raw.get("sizes") or []],
        "planned": {"parameters": tidy(planned.get("parameters")), **{key: interval(planned.get(key)) for key in keys[:2]}}
        if planned
        else None,
    }


def _with_extras(raw: Any, *keys: str) -> dict[str, Any]:
    known = raw if isinstance(raw, Mapping) else {}
    return {**interval(raw), **{key: tidy(known.get(key)) for key in keys}}


def _features(raw: Any) -> list[dict[str, Any]]:
    rows = numbers(raw, "importance")
    return [{"name": str(row.get("name", "")), "importance": tidy(row["importance"])} for row in rows]


def _stratum(raw: Mapping[str, Any]) -> dict[str, Any]:
    positives = raw.get("num_positive")
    clusters = raw.get("num_clusters")
    return {
        "stratum": str(raw.get("stratum", "")),
        "num_clusters": tidy(clusters),
        "num_positive": tidy(positives),
        "base_rate": share(positives, clusters) if positives is not None and clusters else None,
        "is_judged": positives is not None and positives >= MIN_POSITIVES,
        "predictors": [
            {"name": str(row.get("name", "")), **{key: tidy(row.get(key)) for key in STRATUM_KEYS}} for row in raw.get("predictors") or []
        ],
    }
