"""The whole proof: from frozen predictions and measured targets to figures, and from figures to verdicts."""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped, unused-ignore]

from pipeline.proof.ablation import ablation
from pipeline.proof.agreement import MIN_CLUSTERS, agreement, draw_labels
from pipeline.proof.bars import cost_bars, outcome_bars, prediction_bars
from pipeline.proof.calibration import calibration
from pipeline.proof.discrimination import discrimination
from pipeline.proof.drop_curve import drop_curve
from pipeline.proof.estimates import tidy
from pipeline.proof.independence import check_unseen
from pipeline.proof.inputs import ProofInputs
from pipeline.proof.labels import ROLE, TargetLabels, label_targets
from pipeline.proof.onion import onion
from pipeline.proof.outcome import outcome
from pipeline.proof.strata import join_evidence, strata
from pipeline.risk.capacity import capacity_tax
from pipeline.risk.claims import put_claims
from pipeline.risk.classes import CLASS_THRESHOLD
from pipeline.risk.hypotheses import duplication
from pipeline.risk.labels import label_clusters
from pipeline.risk.trials import forgetting, regularization, sink_localization


def judge(inputs: ProofInputs) -> dict[str, Any]:
    """Return every figure of the proof and the bars, JSON values; the same inputs give the same result.

    Raises: IntegrityError when a proxy shares a target's split, or no two target runs are complementary.
    """
    if inputs.proxy is not None:
        check_unseen(inputs.proxy, inputs.target)
    with threadpool_limits(limits=1):  # sums in threads depend on their number
        labels = label_targets(inputs.target, inputs.settings)
        judged, kept = join_evidence(inputs, labels)
        figures = _predictions(inputs, judged, kept) | _consequences(inputs, labels)
    bars = prediction_bars(figures["agreement"], figures["discrimination"], figures["calibration"]["strata"])
    bars += cost_bars(inputs.flops, _parameters(inputs), _largest_proxy(inputs)) + outcome_bars(figures["outcome"])
    return dict(tidy({"bars": bars, **figures}))


def _predictions(inputs: ProofInputs, judged: pl.DataFrame, labels: TargetLabels) -> dict[str, Any]:
    interval = inputs.settings.interval
    predicted = judged["predicted_gain"].to_numpy()
    rng = np.random.default_rng([inputs.seed, 0])
    memorized = labels.frame["memorized"].fill_null(False).to_numpy()
    gain = labels.frame["gain"].to_numpy()
    of_labels, agreements = [], []
    for name, mask in strata(judged):
        draws = draw_labels(labels.pair_gains[mask], rng) if mask.sum() >= MIN_CLUSTERS else None
        agreements.append({"stratum": name, **agreement(predicted[mask], draws, interval)})
        mean = float(gain[mask].mean()) if mask.any() else None
        of_labels.append({"stratum": name, "num_clusters": int(mask.sum()), "num_memorized": int(memorized[mask].sum()), "mean_gain": mean})
    return {
        "labels": {
            "num_clusters": judged.height,
            "num_pairs": labels.pair_gains.shape[1],
            "null_gain": labels.null,
            "target_parameters": _parameters(inputs),
            "strata": of_labels,
        },
        "agreement": agreements,
        "discrimination": discrimination(judged, labels, inputs.flops, interval, np.random.default_rng([inputs.seed, 1])),
        "calibration": calibration(judged, labels, inputs.proxy_evaluation, interval, np.random.default_rng([inputs.seed, 2])),
        "ablation": ablation(
            inputs.ablations, judged, labels, inputs.flops, interval, np.random.default_rng([inputs.seed, 3]), inputs.seed
        ),
    }


def _consequences(inputs: ProofInputs, labels: TargetLabels) -> dict[str, Any]:
    interval, arms = inputs.settings.interval, inputs.arms
    rng = np.random.default_rng([inputs.seed, 4])
    return {
        "outcome": outcome(arms, inputs.clusters, inputs.target, interval) if arms is not None else [],
        "onion": onion(arms, inputs.clusters, inputs.predictions, inputs.target, interval) if arms is not None else [],
        "drop_curve": drop_curve(arms.drop_curve, interval) if arms is not None and arms.drop_curve is not None else [],
        "hypotheses": _hypotheses(inputs, labels, rng),
        "capacity_tax": _capacity(inputs, np.random.default_rng([inputs.seed, 5])),
    }


def _hypotheses(inputs: ProofInputs, labels: TargetLabels, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Answer the claims: copies by the target's labels, scale by the ladder (the target saw another corpus), the rest where runs exist."""
    interval, natural = inputs.settings.interval, inputs.clusters.filter("is_natural")
    found = [
        duplication(labels.frame, inputs.clusters, interval, rng) | {"scope": "all", "models": "target"},
        duplication(labels.frame, natural, interval, rng) | {"scope": "natural", "models": "target"},
    ]
    if inputs.proxy is not None:
        planned = inputs.planned_parameters or inputs.settings.target_parameters
        of_proxies, _ = label_clusters(inputs.proxy, inputs.settings)
        parameters = {size: inputs.proxy.num_parameters(size) for size in inputs.proxy.sizes(ROLE)}
        for scope, labelled in (("all", of_proxies), ("natural", of_proxies.join(natural, on="cluster_id", how="semi"))):
            claims = put_claims(inputs.proxy, labelled, parameters, planned, interval, rng)
            found += [claim | {"scope": scope, "models": "proxies"} for claim in (claims if scope == "all" else claims[:2])]
    given = ((inputs.regularization, regularization), (inputs.localization, sink_localization), (inputs.forgetting, forgetting))
    return found + [ask(frame, interval, rng) | {"scope": "all", "models": "given"} for frame, ask in given if frame is not None]


def _capacity(inputs: ProofInputs, rng: np.random.Generator) -> dict[str, Any]:
    """Return the tax by the audit's own proxies, with its extrapolation, and as the target measured it."""
    sinks = inputs.predictions.filter(pl.col("sink_score") >= CLASS_THRESHOLD)["cluster_id"]
    found = {}
    for name, evidence in (("proxies", inputs.proxy), ("target", inputs.target)):
        if evidence is not None:
            runs = evidence.proxies.filter((pl.col("role") == ROLE) & pl.col("proxy").is_in(list(inputs.total_parameters)))
            totals = {int(size): inputs.total_parameters[proxy] for proxy, size in runs.select("proxy", "size").iter_rows()}
            found[name] = capacity_tax(evidence, sinks, totals, inputs.planned_parameters, inputs.settings.interval, rng)
    return found


def _parameters(inputs: ProofInputs) -> int:
    return inputs.target.num_parameters(max(inputs.target.sizes(ROLE)))


def _largest_proxy(inputs: ProofInputs) -> float | None:
    return None if inputs.proxy is None else float(inputs.proxy.num_parameters(max(inputs.proxy.sizes("full"))))
