"""Synthetic audits: seeded ledgers of any size with the facts, gates and evaluation that stages would hand over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipeline import tables
from pipeline.config import AuditConfig, parse_config
from pipeline.report.summary import SummaryInputs

SOURCES = ("web-crawl", "manuals", "forums", "licences", "novels", "source-comments", "planted")
HOSTILE = (
    "<script>document.title='owned'</script>",
    "</style><img src=x onerror=alert(1)>",
    '"><a href="javascript:alert(1)">click</a>',
    "{{7907*7919}} {% for x in y %} ${7907*7919} <%= 7907*7919 %>",
    "\x1b[31mred\x1b[0m \x07 bell",
    "price \u202e0001\u202c and a\u200bb \u2066iso\u2069",
    "</script><svg onload=alert(2)></title></textarea>",
    "mail jane.doe@example.org or call +44 20 7946 0958, key sk-A1b2C3d4E5f6G7h8I9j0, card 4111111111111111",
    "a" + "\u0301" * 40 + " stacked",
    "مرحبا بالعالم 你好,世界 😀",
)
MakeInputs = Callable[..., SummaryInputs]
WithSpans = Callable[..., SummaryInputs]


@pytest.fixture(scope="session")
def make_inputs() -> MakeInputs:
    """Return the generator of synthetic audits."""
    return synthetic_inputs


@pytest.fixture(scope="session")
def with_spans() -> WithSpans:
    """Return what adds repeated spans to a synthetic audit."""
    return synthetic_spans


@pytest.fixture(scope="session")
def hostile_texts() -> tuple[str, ...]:
    """Return texts that would do harm where they were not escaped."""
    return HOSTILE


@pytest.fixture(scope="session")
def samples() -> list[dict[str, Any]]:
    """Return hostile texts for every document that a page could ask for."""
    return [{"doc_id": doc_id, "text": HOSTILE[doc_id % len(HOSTILE)] + " tail" * 200} for doc_id in range(4_000)]


def synthetic_inputs(num_rows: int = 4_000, seed: int = 7, evaluated: bool = True, **settings: Any) -> SummaryInputs:
    """Return a whole audit's results, drawn from a seed: about a tenth exact copies, a twentieth near copies, a few empty rows."""
    rng = np.random.default_rng(seed)
    config = parse_config({"name": "demo-corpus", "input": {"paths": ["data/samples/corpus"]}, **settings})
    family = np.where(rng.random(num_rows) < 0.18, num_rows + (rng.pareto(0.9, num_rows) * 3).astype(int) % 97, np.arange(num_rows))
    hashes = [(int(f) * 0x9E3779B97F4A7C15F39CC0605CEDC835 % 2**128).to_bytes(16, "big") for f in family]
    ids = pl.DataFrame(
        {
            "doc_id": np.arange(num_rows),
            "source": rng.choice(SOURCES, num_rows, p=[0.41, 0.2, 0.14, 0.09, 0.08, 0.05, 0.03]),
            "source_id": [f"part-{i % 7}.jsonl:{i}" for i in range(num_rows)],
            "content_hash": pl.Series(hashes, dtype=pl.Binary),
            "row_hash": pl.Series([number.to_bytes(16, "big") for number in range(num_rows)], dtype=pl.Binary),
            "num_bytes": rng.lognormal(7, 1, num_rows).astype(np.int64),
        }
    )
    clusters = _clusters(ids)
    removals = _removals(ids, rng)
    scores = _scores(clusters, rng)
    return SummaryInputs(
        run="demo-corpus-3f1c9a02be",
        config=config,
        ids=ids,
        clusters=clusters,
        removals=removals,
        duplicate_pairs=_pairs(removals),
        scores=scores,
        decisions=_decisions(ids, removals, scores, config),
        proxies=_proxies(),
        languages=_languages(ids) if evaluated else None,
        sensitive=_sensitive(ids) if evaluated else None,
        facts=_facts(evaluated),
        gates=GATES,
        band_curve=[(s / 100, 1 - (1 - (s / 100) ** 8) ** 16) for s in range(101)],
        environment={
            "python": "3.11.9",
            "cpu": "8 x example",
            "memory_bytes": 16_000_000_000,
            "packages": {"polars": "1.30", "torch": "2.7"},
        },
        timing=[
            {
                "stage": stage,
                "seconds": seconds,
                "rows": num_rows,
                "bytes": 1_000 * num_rows,
                "peak_memory_bytes": peak,
                "was_cached": cached,
            }
            for stage, seconds, peak, cached in TIMING
        ],
        finished="2024-05-01 12:00 UTC",
        digests={"input": "9c0f" * 8, "decisions": "a81b" * 8, "filtered": "77e2" * 8},
        command="sinkaudit run audit.yaml --set dedup.threshold=0.8",
    )


def synthetic_spans(inputs: SummaryInputs, policy: str = "mask") -> SummaryInputs:
    """Return the audit with spans of 30 kinds in every seventh row that deduplication left, two of which overlap, and what was done."""
    left = inputs.decisions.filter(~pl.col("reason").is_in(["empty", "exact_duplicate", "near_duplicate"]))
    docs = (
        inputs.ids.join(left, on="doc_id", how="semi").filter((pl.col("doc_id") % 7 == 0) & (pl.col("num_bytes") > 100))["doc_id"].to_list()
    )
    # the kinds come in very different numbers, the last one once
    kinds = [min(int(doc**0.5) % 40, 30) for doc in docs]
    rows = [(doc, 0, 40 + kind, kind) for doc, kind in zip(docs, kinds, strict=True)] + [(doc, 30, 60, 99) for doc in docs[::2]]
    rows.append((docs[0], 70, 90, 777))
    frame = pl.DataFrame(rows, schema={"doc_id": pl.Int64, "start": pl.Int64, "end": pl.Int64, "kind": pl.Int64}, orient="row")
    spans = frame.with_columns(
        num_words=(pl.col("end") - pl.col("start")) // 2,
        span_hash=pl.Series([f"{kind:016d}".encode() for kind in frame["kind"]], dtype=pl.Binary),
        holders=pl.col("kind").cast(pl.UInt64),
        num_occurrences=pl.len().over("kind").cast(pl.Int64) * 2,
        num_documents=pl.len().over("kind").cast(pl.Int64),
    )
    done = {"policy": policy, "rows_masked": 0, "bytes_masked": 0, "rows_trimmed": 0, "bytes_trimmed": 0, "rows_emptied": 0}
    if policy != "report":
        done |= (
            {"rows_masked": 31, "bytes_masked": 5_431}
            if policy == "mask"
            else {"rows_trimmed": 29, "bytes_trimmed": 4_129, "rows_emptied": 3}
        )
    facts = {**inputs.facts, "spans": {"num_windows": 12_345}, "filtered": done}
    config = inputs.config.model_copy(update={"release": inputs.config.release.model_copy(update={"spans": policy})})
    return replace(inputs, spans=tables.REPEATED_SPANS.check(spans.drop("kind")), facts=facts, config=config)


TIMING = (
    ("documents", 0.41, 210e6, True),
    ("signatures", 1.32, 480e6, False),
    ("proxies", 131.8, 1.61e9, False),
    ("scores", 6.2, 9e8, False),
)


def _clusters(ids: pl.DataFrame) -> tables.Clusters:
    sized = ids.select("doc_id", cluster_id="content_hash").with_columns(cluster_size=pl.len().over("cluster_id").cast(pl.Int64))
    return tables.CLUSTERS.check(sized)


def _removals(ids: pl.DataFrame, rng: np.random.Generator) -> tables.Removals:
    kept = ids.group_by("content_hash").agg(kept_doc_id=pl.col("doc_id").min())
    copies = ids.join(kept, on="content_hash").filter(pl.col("doc_id") != pl.col("kept_doc_id")).sort("doc_id")
    is_exact = rng.random(copies.height) < 0.6
    jaccard = np.where(is_exact, 1.0, rng.uniform(0.8, 1.0, copies.height))
    frame = copies.select(
        "doc_id",
        "kept_doc_id",
        reason=pl.Series(np.where(is_exact, "exact_duplicate", "near_duplicate")),
        jaccard=pl.Series(jaccard),
        containment_removed=pl.Series(np.sqrt(jaccard)),
        containment_kept=pl.Series(np.sqrt(jaccard)),
    )
    return tables.REMOVALS.check(frame)


def _pairs(removals: tables.Removals) -> tables.DuplicatePairs:
    frame = removals.select(
        doc_id_a="kept_doc_id", doc_id_b="doc_id", jaccard="jaccard", containment_a="containment_kept", containment_b="containment_removed"
    )
    return tables.DUPLICATE_PAIRS.check(frame)


def _scores(clusters: tables.Clusters, rng: np.random.Generator) -> tables.SinkScores:
    groups = clusters.group_by("cluster_id", maintain_order=True).agg(pl.col("cluster_size").first())
    logit = 1.3 * np.log2(groups["cluster_size"].to_numpy()) - 3.4 + rng.normal(0, 1.5, groups.height)
    groups = groups.with_columns(score=pl.Series(1 / (1 + np.exp(-logit))), supported=pl.Series(rng.random(groups.height) > 0.04))
    clusters_ = clusters.join(groups.drop("cluster_size"), on="cluster_id", how="left", maintain_order="left")
    size, score, supported = (clusters_[name].to_numpy() for name in ("cluster_size", "score", "supported"))
    spread = 0.04 + 0.25 * score * (1 - score)
    frame = clusters.with_columns(
        sink_score=pl.Series(score),
        sink_score_low=pl.Series(np.clip(score - spread, 0, 1)),
        sink_score_high=pl.Series(np.clip(score + spread, 0, 1)),
        predicted_gain=pl.Series(score * 2.1),
        predicted_gain_low=pl.Series(score * 1.4),
        predicted_gain_high=pl.Series(score * 2.9),
        signal_score=pl.Series(score * 0.7),
        sink_class=pl.when(pl.col("cluster_size") > 5).then(pl.lit("recitation")).when(pl.Series(score) > 0.3).then(pl.lit("recollection")),
        scored_by=pl.Series(np.where(rng.random(len(size)) < 0.2, "teacher", "student")),
        is_supported=pl.Series(supported),
        reason=pl.Series(
            np.where(size > 5, "many copies; low loss under a model that never saw it", "rare words; strong gradients at the end")
        ),
    )
    return tables.SINK_SCORES.check(frame.drop("cluster_size"))


def _decisions(ids: pl.DataFrame, removals: tables.Removals, scores: tables.SinkScores, config: AuditConfig) -> tables.Decisions:
    is_empty = pl.col("doc_id") % 211 == 5
    is_sink = pl.col("sink_score") >= config.release.sink_threshold
    frame = (
        ids.select("doc_id")
        .join(removals.select("doc_id", "kept_doc_id", copy="reason"), on="doc_id", how="left")
        .join(scores.select("doc_id", "sink_score", "is_supported"), on="doc_id")
        .with_columns(
            reason=pl.when(pl.col("copy").is_not_null())
            .then("copy")
            .when(is_empty)
            .then(pl.lit("empty"))
            .when(~pl.col("is_supported"))
            .then(pl.lit("outside_support"))
            .when(is_sink)
            .then(pl.lit("sink_risk"))
            .otherwise(pl.lit("unique"))
        )
        .with_columns(
            action=pl.col("reason").replace_strict(
                {
                    "exact_duplicate": "drop",
                    "near_duplicate": "drop",
                    "empty": "drop",
                    "outside_support": "review",
                    "sink_risk": "downweight",
                },
                default="keep",
            )
        )
        .with_columns(
            weight=pl.when(pl.col("action") == "drop")
            .then(0.0)
            .when(pl.col("action") == "downweight")
            .then(1.0 - 0.9 * pl.col("sink_score"))
            .otherwise(1.0),
            evidence=pl.lit("{}"),
        )
    )
    return tables.DECISIONS.check(frame.select(list(tables.DECISIONS.columns)).sort("doc_id"))


def _languages(ids: pl.DataFrame) -> tables.Languages:
    guess = (
        pl.when(pl.col("doc_id") % 29 == 3).then(pl.lit("und")).when(pl.col("doc_id") % 7 == 1).then(pl.lit("de")).otherwise(pl.lit("en"))
    )
    frame = ids.select("doc_id", language=guess)
    return tables.LANGUAGES.check(frame.with_columns(confidence=pl.when(pl.col("language") == "und").then(0.0).otherwise(0.9)))


def _sensitive(ids: pl.DataFrame) -> tables.SensitivePatterns:
    """Return what was found in every fifth row: e-mail addresses in most, a cloud key in some, nothing in the rest."""
    seen = ids.filter(pl.col("doc_id") % 5 == 0).select("doc_id", is_high_risk=pl.col("doc_id") % 10 == 0)
    found = [
        seen.filter(pl.col("doc_id") % 3 == rest).with_columns(kind=pl.lit(kind, dtype=pl.String), count=pl.lit(count, dtype=pl.Int64))
        for rest, kind, count in ((0, "email_address", 2), (1, "nothing", 0), (2, "phone_number", 1))
    ]
    keys = seen.filter(pl.col("doc_id") % 105 == 0).with_columns(kind=pl.lit("cloud_key"), count=pl.lit(3, dtype=pl.Int64))
    return tables.SENSITIVE_PATTERNS.check(pl.concat([*found, keys]).sort("doc_id", "kind"))


def _proxies() -> tables.Proxies:
    rows = [
        {
            "proxy": f"{role}-{size}-{index}",
            "role": role,
            "size": size,
            "num_parameters": 20_000 * 4**size,
            "num_steps": 480,
            "num_token_visits": 480_000,
            "training_flops": 3e11 * 4**size,
            "signal_flops": 1e11 * 4**size,
            "final_loss": 3.4 - 0.3 * size,
            "held_out_loss": 4.1 - 0.2 * size,
        }
        for size, role, number in (
            (0, "full", 1),
            (1, "full", 1),
            (2, "full", 1),
            (0, "feature_half", 4),
            (0, "label_half", 4),
            (1, "label_half", 4),
        )
        for index in range(number)
    ]
    frame = pl.DataFrame(rows).with_columns(pl.col("size").cast(pl.Int32))
    return tables.PROXIES.check(frame)


def _facts(evaluated: bool) -> dict[str, dict[str, Any]]:
    facts: dict[str, dict[str, Any]] = {
        "documents": {"text_column": "text", "num_files": 7},
        "candidates": {"num_pairs": 1_532, "num_skipped": 0, "num_buckets": 912},
        "verification": {"num_compared": 1_311, "num_verified": 803},
        "samples": {"tokens_per_byte": 0.27, "num_clusters": 1_204, "num_tokens": 119_840},
    }
    if evaluated:
        facts["scores"] = _evaluation()
        facts["planted"] = _planted()
        facts["sensitive"] = {
            "num_high_risk": 1_700,
            "num_released": 3_100,
            "num_characters": 5_400_321,
            "num_cut": 3,
            "max_characters": 100_000,
            "phone_region": "",
            "detectors": {"detect-secrets": "1.5.0", "phonenumbers": "9.0.1", "python-stdnum": "2.2"},
        }
    return facts


def _planted() -> dict[str, Any]:
    bins = [
        {
            "low": low / 100,
            "high": (low + 5) / 100,
            "num_pairs": 50,
            "proposed": 45,
            "in_one_cluster": 45 if low >= 80 else 0,
            "removed": 45 if low >= 80 else 0,
            "proposed_share": {"value": 0.9, "low": 0.79, "high": 0.96, "n": 50},
            "recall": {"value": 0.9, "low": 0.79, "high": 0.96, "n": 50} if low >= 80 else None,
            "expected": 0.91,
        }
        for low in range(60, 100, 5)
    ]
    sweep = [
        {"threshold": at / 100, "num_pairs": 900 - at, "num_clusters": 300 - at, "num_removable": 500 - at, "is_estimate": at < 80}
        for at in range(65, 105, 5)
    ]
    return {
        "num_pairs": 400,
        "num_duplicates": 200,
        "recall": {"value": 0.97, "low": 0.955, "high": 0.985, "n": 200},
        "precision": {"value": 1.0, "low": 0.98, "high": 1.0, "n": 194},
        "bins": bins,
        "sweep": sweep,
    }


BITS = ("sink_bits", "all_bits", "sink_share", "capacity_taken_by_sinks", "capacity_filled")


def _evaluation() -> dict[str, Any]:
    steps = [1, 2, 4, 8, 16, 32, 64, 120, 180, 240, 300, 360, 420, 480]
    names = ("sink score", "logistic on copies + loss + zlib", "copies", "loss")
    predictors = [
        {
            "name": n,
            "average_precision": a,
            "ap_low": a - 0.06,
            "ap_high": a + 0.05,
            "auroc": u,
            "auroc_low": u - 0.03,
            "auroc_high": u + 0.03,
        }
        for n, a, u in zip(names, (0.61, 0.52, 0.4, 0.18), (0.9, 0.86, 0.8, 0.55), strict=True)
    ]
    return {
        "label_sizes": [20_000, 80_000],
        "num_labelled_clusters": 1_204,
        "num_positive": 143,
        "label_reliability": {"value": 0.71, "low": 0.62, "high": 0.78},
        "calibration": {
            "bins": [
                {"predicted": p, "observed": o, "count": c}
                for p, o, c in ((0.02, 0.01, 702), (0.09, 0.11, 260), (0.3, 0.26, 120), (0.55, 0.61, 80), (0.86, 0.8, 42))
            ],
            "brier": 0.071,
            "brier_skill": 0.34,
            "brier_skill_low": 0.25,
            "brier_skill_high": 0.42,
            "ece": 0.031,
            "slope": 0.94,
        },
        "strata": [
            {"stratum": "all", "num_clusters": 1204, "num_positive": 143, "predictors": predictors},
            {"stratum": "copies 1", "num_clusters": 980, "num_positive": 61, "predictors": predictors[:2]},
            {"stratum": "copies 2-5", "num_clusters": 150, "num_positive": 38, "predictors": predictors[:2]},
            {"stratum": "copies over 20", "num_clusters": 9, "num_positive": 9, "predictors": []},
        ],
        "gain_over_rival": {"value": 0.09, "low": 0.03, "high": 0.15},
        "spearman_gain": {"value": 0.62, "low": 0.55, "high": 0.68},
        "precision_recall": [
            {"stratum": stratum, "predictor": n, "points": [[r / 100, max(base, p * (1 - (r / 100) ** k))] for r in range(1, 101)]}
            for stratum, base in (("all", 0.12), ("copies 1", 0.06), ("copies 2-5", 0.25), ("copies over 20", 1.0))
            for n, p, k in zip(names, (0.97, 0.9, 0.75, 0.4), (2.2, 1.6, 1.2, 0.7), strict=True)
        ],
        "duplication_curve": [
            {"copies": c, "memorized": m, "low": max(0.0, m - w), "high": min(1.0, m + w), "count": n}
            for c, m, w, n in (
                (1, 0.05, 0.015, 980),
                (2, 0.17, 0.05, 90),
                (4, 0.34, 0.1, 60),
                (8, 0.58, 0.14, 40),
                (16, 0.8, 0.15, 25),
                (32, 0.94, 0.1, 9),
            )
        ],
        "trajectories": [
            {"group": g, "points": [[s, 7.6 * np.exp(-s / t) + f] for s in steps]}
            for g, t, f in (("sinks", 150.0, 0.6), ("ordinary", 260.0, 2.4), ("unseen", 310.0, 3.1))
        ],
        "scale_slope": [
            {"size": s, "gain": g, "low": g - 0.06, "high": g + 0.06} for s, g in ((20_000, 0.21), (80_000, 0.34), (320_000, 0.52))
        ],
        "hypotheses": [
            {
                "claim": "duplication accelerates memorization",
                "verdict": "supported",
                "unit": "nats per token a doubling of copies",
                "sentence": "Duplication accelerates memorization: supported on this corpus.",
                "value": 0.31,
                "low": 0.27,
                "high": 0.35,
                "line": 0.0,
                "num_clusters": 1_204,
            },
            {
                "claim": "memorization grows with model size",
                "verdict": "not enough data",
                "unit": "nats",
                "sentence": "...",
                "num_clusters": 12,
            },
        ],
        "capacity_tax": {
            "num_clusters": 1_204,
            "num_sinks": 143,
            "bits_per_parameter": 3.6,
            "sizes": [
                {
                    "size": s,
                    **{key: {"value": v, "low": 0.9 * v, "high": 1.1 * v} for key, v in zip(BITS, (b, 3 * b, 0.33, 0.2, 0.6), strict=True)},
                }
                for s, b in ((20_000, 14_000.0), (80_000, 40_000.0))
            ],
            "planned": {
                "parameters": 1e7,
                "sink_bits": {"value": 2e6, "low": 1e6, "high": 3e6},
                "all_bits": {"value": 5e6, "low": 4e6, "high": 6e6},
            },
        },
        "features": [
            {"name": "log2_copies", "importance": 0.41},
            {"name": "absorption", "importance": 0.22},
            {"name": "suffix_loss", "importance": 0.11},
        ],
        "notes": ["The null of out-versus-out splits rests on 2,408 comparisons."],
    }


GATES: list[dict[str, Any]] = [
    {
        "name": "rows_add_up",
        "value": 0,
        "low": None,
        "high": None,
        "limit": 0,
        "severity": "error",
        "status": "pass",
        "unit": "count",
        "meaning": "Rows in equal rows kept plus rows removed, in every source.",
    },
    {
        "name": "filtered_rows",
        "value": 3367,
        "low": None,
        "high": None,
        "limit": 1,
        "severity": "error",
        "status": "pass",
        "unit": "count",
        "meaning": "Something is left to train on.",
    },
    {
        "name": "planted_recall",
        "value": 0.97,
        "low": 0.955,
        "high": 0.985,
        "limit": 0.95,
        "severity": "warn",
        "status": "pass",
        "unit": "share",
        "meaning": "Copies planted in the corpus were found and removed.",
    },
    {
        "name": "largest_source_loss",
        "value": 0.43,
        "low": None,
        "high": None,
        "limit": 0.8,
        "severity": "warn",
        "status": "pass",
        "unit": "share",
        "meaning": "No source loses most of its rows.",
    },
    {
        "name": "gain_over_rival",
        "value": 0.09,
        "low": 0.03,
        "high": 0.15,
        "limit": 0.0,
        "severity": "warn",
        "status": "pass",
        "meaning": "Proxies find more than copies, loss and compressibility do.",
    },
    {
        "name": "outside_support",
        "value": 0.041,
        "low": None,
        "high": None,
        "limit": 0.03,
        "severity": "warn",
        "status": "warn",
        "unit": "share",
        "meaning": "Share of rows unlike anything the predictor was fitted on.",
    },
    {
        "name": "secrets_in_kept_rows",
        "value": None,
        "low": None,
        "high": None,
        "limit": 0,
        "severity": "warn",
        "status": "not_measured",
        "unit": "count",
        "meaning": "Secrets found in kept rows with a high score.",
    },
]


@pytest.fixture
def validation_values(hostile_texts: tuple[str, ...]) -> dict[str, Any]:
    """Return a validation's results in which every figure is another one, of a corpus with a hostile source."""
    return synthetic_validation(hostile_texts[0])


def synthetic_validation(source: str) -> dict[str, Any]:
    """Return every part of results.json, drawn from a seed."""
    rng = np.random.default_rng(3)

    def figure(scale: float = 1.0) -> float:
        return round(float(rng.uniform(0.05, 0.95)) * scale, 6)

    def estimate(**further: Any) -> dict[str, Any]:
        low, value, high = sorted(figure() for _ in range(3))
        return {"value": value, "low": low, "high": high, **further}

    def number(most: int = 10**6) -> int:
        return int(rng.integers(1_000, most))

    def agreed(**further: Any) -> dict[str, Any]:
        names = ("spearman", "disattenuated", "auroc", "normalised", "reliability")
        facts = {"num_clusters": number(), "num_top": number(), "enough_data": True, "enough_data_top": True, "ceiling": figure()}
        return {**facts, **{name: estimate() for name in names}, **further}

    def found(stratum: str, label: str) -> dict[str, Any]:
        metrics = ("average_precision", "auroc", "recall_at_precision", "precision_at_recall")
        names = ("sink_score", "predicted_gain", "rival", "copies", "small-model-extractable")
        rows = [{"name": name, "flops": figure(1e12), "spearman": figure(), **{metric: estimate() for metric in metrics}} for name in names]
        rows[names.index("copies")]["beyond"] = {metric: estimate(is_gain=True) for metric in metrics[:2]}
        less = [{"name": name, "rival": "rival", "average_precision": estimate(is_gain=True)} for name in names[:2]]
        counts = {"num_clusters": number(), "num_positive": number(), "base_rate": figure(), "enough_data": True}
        claimed = {"memorized": "sink_score", "strong gain": "predicted_gain"}[label]
        told = {"stratum": stratum, "label": label, "claimed_by": claimed, **counts, "enough_data_differences": True}
        return {**told, "predictors": rows, "not_measured": ["LT-IQR"], "differences": less}

    def calibrated(stratum: str) -> dict[str, Any]:
        bins = [{"predicted": at / 10, "observed": at / 11, "low": at / 12, "high": at / 9, "count": number()} for at in range(1, 9)]
        figures = {name: estimate() for name in ("brier", "brier_skill", "slope", "intercept")}
        gain = {"num_clusters": number(), "slope": estimate(), "intercept": estimate(), "mean_miss": estimate(), "share_inside": figure()}
        counts = {"num_clusters": number(), "num_positive": number(), "base_rate": figure(), "mean_score": figure(), "ece": figure()}
        return {"stratum": stratum, **counts, **figures, "bins": bins, "enough_data": True, "gain": gain}

    def arm(name: str) -> dict[str, Any]:
        pair = {"recall_removed": {"arm": figure(), "base": figure()}, "recall_kept": {"arm": figure(), "base": figure()}}
        totals = {"num_seeds": 3, "num_tokens": figure(1e6), "flops": figure(1e12), "held_out_loss": figure(), "emission": None}
        recall = {"recall_natural": figure(), "recall_planted": figure(), "num_removed_clusters": number(), "recall_change": estimate()}
        return {"arm": name, **totals, **recall, **pair, "relative_cost": estimate()}

    verdicts = (("met", True), ("missed", False), ("not enough data", False), ("cannot be resolved", False))
    bars = []
    for verdict, is_certain in verdicts:
        told, bar = estimate(), f"Bar that is {verdict}"
        limits = {"limit": [figure(), None], "aim": None, "verdict": verdict, "is_certain": is_certain}
        told_of = {"bar": bar, "value": told["value"], "interval": [told["low"], told["high"]], **limits}
        bars.append({**told_of, "sentence": f"{bar}: {verdict} (for a reason)."})
    strata = ("natural", "natural, copies 1", "natural, by the student", "planted", "all", f"source {source}")
    resolved = {"is_resolved": False, "runs_needed": number(9_000), "noise": figure()}
    kind = {"kind": "equal_steps", "num_natural_clusters": number(), "base_recall": figure(), "is_measurable": False}
    layers = {"next": estimate(), "rest": estimate(), "num_next": number(), "num_rest": number()}
    noise = {"recall": figure(), "held_out_loss": figure(), "num_runs": 5}
    curve = [
        {
            "criterion": name,
            "share": share,
            "cost": estimate(),
            "memorized_removed": figure(),
            "memorized_removed_by_tokens": figure(),
            "cost_over_random": estimate(),
            "beats_random": True,
        }
        for name in ("random", "risk_low_spillover")
        for share in (0.05, 0.1)
    ]
    taxes = ("sink_bits", "all_bits", "sink_share", "capacity_taken_by_sinks", "capacity_filled")
    tax = {"size": number(), **{name: estimate() for name in taxes}}
    planned = {"parameters": figure(1e9), "sink_bits": estimate(), "all_bits": estimate()}
    block = {"flops": figure(1e12), "average_precision": estimate()}
    added = {"adds_spearman": estimate(), "adds_average_precision": estimate()}
    blocks = [{"block": "corpus", **agreed(), **block}, {"block": "+ forward", **agreed(), **block, **added}]
    outcome = {"policy_against_random": estimate(**resolved), "policy_cost": estimate(**resolved)}
    bound = {"is_upper_bound": True, "sees_target_labels": True}
    claim = {"claim": "copies memorize", "unit": "nats", "line": 0.0, "num_clusters": number(), "verdict": "supported"}
    sizes = {"target_parameters": number(), "largest_proxy_parameters": number(), "size_gap": figure(90), "flops_share": figure()}
    visits = {"target_token_visits": number(), "largest_proxy_token_visits": number(), "token_visit_share": figure()}
    spent = {"target_flops": figure(1e14), "proxy_flops": figure(1e12), "is_target_measured": False}
    counted: tuple[str, ...] = ("tokens", "documents", "clusters", "natural_clusters", "units", "held_out_clusters", "unseen_clusters")
    counted += ("validation_windows", "windows", "shared_windows", "not_identifiable_clusters")
    order = {"frozen": "2026-01-01T00:00:00+00:00", "predictions": "ab12cd", "number": 2, "predictions_came_first": False}
    before = {"num_trained_before": 8, "num_begun_before": 1, "run": "demo-1", "digests": {"samples": "ef56"}, "code_versions": {}}
    labelled = [{"stratum": name, "num_clusters": number(), "num_memorized": number(), "mean_gain": figure()} for name in strata]
    return {
        "bars": bars,
        "labels": {"num_clusters": number(), "num_pairs": 4, "null_gain": figure(), "target_parameters": number(), "strata": labelled},
        "agreement": [{"stratum": name, **agreed()} for name in strata],
        "discrimination": [found(name, label) for name in strata[:-1] for label in ("memorized", "strong gain")],
        "calibration": {
            "strata": [calibrated(name) for name in strata[:-1]],
            "travelled": {name: {"proxies": figure(), "target": figure()} for name in ("ece", "brier_skill", "slope")},
        },
        "ablation": [
            {
                "stratum": "natural",
                "num_clusters": number(),
                "blocks": blocks,
                "upper_bound": agreed(**bound),
                "upper_bound_of_blocks": agreed(**bound),
            }
        ],
        "outcome": [{**kind, "seed_noise": noise, "arms": [arm(name) for name in ("minhash", "policy")], **outcome}],
        "onion": [{"arm": "policy", "kind": "equal_steps", **layers, "verdict": "cannot be resolved"}],
        "drop_curve": [
            {
                "scope": "natural",
                "rows": curve,
                "seed_noise": figure(),
                "beats_random": [],
                "reaches_aim": [],
                "enough_data": True,
                "sentence": "Nothing is free.",
            }
        ],
        "hypotheses": [{**claim, **estimate(), "scope": "all", "models": "target", "sentence": "Copies memorize: supported."}],
        "capacity_tax": {
            "target": {
                "sizes": [tax],
                "num_clusters": number(),
                "num_sinks": number(),
                "planned": planned,
                "enough_data": True,
                "bits_per_parameter": 3.6,
            }
        },
        "order": {**order, **before},
        "efficiency": {**sizes, **visits, **spent},
        "corpus": {f"num_{name}": number() for name in counted},
        "interval": 0.95,
        "null_quantile": 0.99,
        "settings": {"audit_seed": 11, "seed": 12, "arms": ["raw", "minhash"], "arm_dial": None},
        "trained": {"label_halves": 6, "planned_label_halves": 8, "arm_runs": 3, "planned_arm_runs": 12},
        "scored_for": {"parameters": 1e9, "target": number()},
        "record_bytes": number(),
        "limits": ["Nothing beyond this <b>corpus</b>."],
    }
