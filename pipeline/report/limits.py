"""Say what this audit did not look at and how far its results carry, from its own data wherever they tell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pipeline.config import AuditConfig
from pipeline.report.sinks import MIN_POSITIVES
from pipeline.report.wording import count, decimal, large, percent, plural, predictor, sentence

MANY_UNDECIDED = 0.25
"""Share of scored rows with the threshold in their interval from which the page warns."""


def not_examined(config: AuditConfig, facts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """List what nobody should take this report to have checked."""
    samples = facts.get("samples", {})
    trained, tokens = samples.get("num_drawn_clusters", samples.get("num_clusters")), samples.get("num_tokens")
    lines = [
        f"Near copies whose shingle sets overlap by less than {decimal(config.dedup.threshold)} (Jaccard), translations and paraphrases.",
        f"Text after the first {count(config.proxy.max_scored_tokens)} tokens of a document: scores read no further.",
        f"Training on most of the text: proxies saw a subsample of at most {count(config.proxy.token_budget)} tokens"
        + (f" ({plural(trained, 'cluster')}, {count(tokens)} tokens)" if trained and tokens else "")
        + "; scores of all other text carry over what was learnt from these.",
        *_other_corpora(config),
        "Licences, consent, truth, toxicity, bias, and personal data beyond counted patterns: no duplicate and no score tells of it.",
        "Columns other than the text: they pass through untouched.",
    ]
    if "spans" not in facts:
        lines.insert(1, "Passages repeated inside documents that differ as wholes (licence headers, mail footers): no span search was run.")
    return lines


def _other_corpora(config: AuditConfig) -> list[str]:
    """Say what comparison with other corpora there was not."""
    if not config.reference.paths and not config.reference.runs:
        return ["Overlap with benchmarks or with any other corpus: only this corpus was compared with itself."]
    return [
        "Overlap with any other corpus than the references listed under Duplication.",
        "Parts of references inside longer rows: rows were compared with references as wholes, so a benchmark's question that stands in a "
        "page about other things is not found.",
    ]


def limits(summary: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return titled caveats; those that depend on data are there only when the data say so."""
    sinks, evaluation = summary["sinks"], summary["sinks"]["evaluation"]
    found = [
        _proxy(sinks),
        *_labels(evaluation),
        *_rival(evaluation),
        *_strata(evaluation),
        *_undecided(summary),
        *_support(sinks),
        *_recall(summary),
    ]
    found += [_limit("What the predictor says of itself", " ".join(map(sentence, evaluation["notes"])))] if evaluation["notes"] else []
    found.append(
        _limit(
            "Not a privacy guarantee",
            "A low score is no certificate: what a proxy finds memorized usually is in larger models too, but larger models memorize much "
            "that small ones do not (Biderman 2023: precision .93, recall .51 from 1.0B to 12B parameters). Read it as risk reduction.",
        )
    )
    found.append(
        _limit(
            "Removing has a price",
            "Text that is absorbed strongly can also teach. Dropping it exposes the next layer of text to more repetitions per step. "
            "Whether removal beyond duplicates helps a model must be measured on that model; weights are the milder tool.",
        )
    )
    return found


def _limit(title: str, text: str) -> dict[str, str]:
    return {"title": title, "text": text}


def _proxy(sinks: Mapping[str, Any]) -> dict[str, str]:
    target, largest = sinks["definition"]["target_parameters"], sinks["largest_proxy"]
    gap = (
        f"The largest proxy has {large(largest)} parameters, {decimal(target / largest, 2)} times fewer than the target. "
        if largest
        else ""
    )
    return _limit(
        "A proxy is not the target",
        f"{gap}Scores for {large(target)} parameters are extrapolated along a ladder of small models; other data order, tokenizer, "
        "learning rate or number of epochs changes what is memorized. Results at this scale show that the "
        "machinery is honest, not that they hold for billions of parameters.",
    )


def _labels(evaluation: Mapping[str, Any]) -> list[dict[str, str]]:
    reliability, positives = evaluation["label_reliability"]["value"], evaluation["num_positive"]
    found = []
    if reliability is None:
        found.append(_limit("Label reliability unknown", "Without it nobody can say how close to its ceiling a predictor is."))
    elif reliability < 0.8:
        found.append(
            _limit(
                "Labels are noisy",
                f"Two independent halves of the proxies agree at {decimal(reliability)}; no predictor can correlate with such labels above "
                f"{decimal(max(reliability, 0.0) ** 0.5, 2)}.",
            )
        )
    if positives is not None and positives < MIN_POSITIVES:
        found.append(
            _limit(
                "Few memorized clusters",
                f"Only {plural(positives, 'cluster')} came out memorized, fewer than the {MIN_POSITIVES} from which a figure is judged. "
                "Average precision and calibration are printed with their intervals but prove little; prefer the predicted gain.",
            )
        )
    return found


def _rival(evaluation: Mapping[str, Any]) -> list[dict[str, str]]:
    gain = evaluation["gain_over_rival"]
    if gain["value"] is None:
        return [_limit("No comparison with the simple rival", "It was not measured whether proxies beat copies, loss and compressibility.")]
    if gain["enough_data"] is False:
        return [
            _limit(
                "Too few labels to compare with the simple rival",
                f"The difference in average precision ({decimal(gain['value'])}) decides nothing. {_ahead(evaluation)}".strip(),
            )
        ]
    if gain["low"] is None or gain["low"] <= 0.0:
        return [
            _limit(
                "No gain over the simple rival shown",
                f"The predictor's average precision differs by {decimal(gain['value'])} from a logistic model on copies, loss and "
                "compressibility; the interval holds 0, so this counts as no gain.",
            )
        ]
    return []


def _ahead(evaluation: Mapping[str, Any]) -> str:
    """Name the rankings that did better than the sink score on all labelled clusters, if any: a reader should not have to find them."""
    pooled: list[Mapping[str, Any]] = next((row["predictors"] for row in evaluation["strata"] if row["stratum"] == "all"), [])
    found = {row["name"]: row["average_precision"] for row in pooled if row["average_precision"] is not None}
    own = found.get("sink_score")
    ahead = [] if own is None else [name for name in found if found[name] > own]
    if own is None or not ahead:
        return ""
    told = "; ".join(f"{predictor(name)} {decimal(found[name])}" for name in sorted(ahead, key=lambda name: (-found[name], name)))
    return f"By the figures alone, these rank memorized clusters better than the sink score ({decimal(own)}): {told}."


def _undecided(summary: Mapping[str, Any]) -> list[dict[str, str]]:
    decisions = summary["decisions"]
    if (decisions["share_near_threshold"] or 0.0) < MANY_UNDECIDED:
        return []
    threshold = decimal(decisions["policy"]["sink_threshold"])
    kept = " and keep their full weight unless they are removed for another reason" if decisions["policy"]["sink_bound"] == "low" else ""
    return [
        _limit(
            "Many scores are undecided",
            f"For {percent(decisions['share_near_threshold'])} of the scored rows the interval holds the threshold of {threshold}: they "
            f"may be memorized or not{kept}. The sum of scores is no firmer than they are.",
        )
    ]


def _strata(evaluation: Mapping[str, Any]) -> list[dict[str, str]]:
    thin = [f"{row['stratum']} ({count(row['num_positive'])} memorized)" for row in evaluation["strata"] if not row["is_judged"]]
    if not thin:
        return []
    return [_limit("Strata without enough data", f"Fewer than {MIN_POSITIVES} memorized clusters, so no judgement: {', '.join(thin)}.")]


def _support(sinks: Mapping[str, Any]) -> list[dict[str, str]]:
    outside = sinks["share_unsupported"]
    if not outside:
        return []
    return [
        _limit(
            "Text unlike the training sample",
            f"{percent(outside)} of the rows that deduplication left are unlike what the predictor was fitted on; there it abstains.",
        )
    ]


def _recall(summary: Mapping[str, Any]) -> list[dict[str, str]]:
    if summary["duplication"]["planted_recall"]["value"] is not None:
        return []
    return [
        _limit("Recall of deduplication is theoretical", "No copies were planted in this run; only the band curve says what was missed.")
    ]
