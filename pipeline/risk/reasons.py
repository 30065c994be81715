"""Say in words what moved a score: the two groups of features with the largest pull, with their values, never the text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl

from pipeline.risk.linear import Array

Values = Mapping[str, Any]

NUM_REASONS = 2
MIN_PULL = 0.05  # logits

THEMES: dict[str, tuple[str, ...]] = {
    "copies": ("copies", "fuzzy_mass"),
    "contrast": ("loss", "loss_per_zlib", "min_k_plus_plus", "reference_loss", "reference_gap", "counterfactual_gap", "scale_slope"),
    "recital": ("suffix_log_prob", "greedy_match", "prompt_loss", "suffix_loss", "prompt_suffix_difference"),
    "trajectory": ("trajectory_sum", "trajectory_iqr", "exposure_drop", "forgetting"),
    "gradient": ("grad_norm", "absorption_last", "absorption_sum", "reference_grad_norm", "reference_absorption"),
    "teaching": ("spillover", "specificity"),
    "span": ("span_share", "span_copies"),
    "sinks": ("sink_gap", "placebo_gap"),
    "common": ("commonness",),
    "text": ("zlib_ratio", "length", "rare_token_rate"),
    "pass": ("document_loss", "document_loss_sd", "document_prompt_suffix_difference", "document_loss_per_zlib", "document_grad_norm"),
}


def exposure_reasons(logits: Array, values: pl.DataFrame) -> list[str]:
    """Return one sentence a row where the exposure law scores: what sets its log-odds (n,) off from the middle one is exposure."""
    pulls = logits - np.median(logits) if len(logits) else logits
    return [_sentence([("copies", float(pull))], row) for pull, row in zip(pulls.tolist(), values.iter_rows(named=True), strict=True)]


def reasons(design: Array, beta: Array, names: Sequence[str], values: pl.DataFrame) -> list[str]:
    """Return one sentence a row of `design (n, q)`, whose columns are `names`; `values` holds the features in their own units."""
    themes = list(THEMES)
    pulls = np.zeros((len(design), len(themes)))
    for at, name in enumerate(names):
        theme = next((number for number, key in enumerate(themes) if name.removesuffix(" missing") in THEMES[key]), None)
        if theme is not None:
            pulls[:, theme] += design[:, at] * beta[at]
    order = np.argsort(-np.abs(pulls), axis=1, kind="stable")[:, :NUM_REASONS]
    rows = zip(order.tolist(), np.take_along_axis(pulls, order, axis=1).tolist(), values.iter_rows(named=True), strict=True)
    return [
        _sentence([(themes[number], pull) for number, pull in zip(chosen, pull_row, strict=True)], row) for chosen, pull_row, row in rows
    ]


def _sentence(ranked: list[tuple[str, float]], values: Values) -> str:
    said = [("raised by " if pull > 0 else "lowered by ") + PHRASES[theme](values) for theme, pull in ranked if abs(pull) >= MIN_PULL]
    return "; ".join(said) or "nothing sets it apart from the corpus"


def _copies(values: Values) -> str:
    count, mass = int(values["cluster_size"]), 2.0 ** (values["fuzzy_mass"] or 0.0) - 1.0
    words = "1 copy" if count == 1 else f"{count} copies"
    if (windows := values.get("windows")) is not None and windows > 1:
        words += f" of {windows:.0f} windows"
    return words if mass < 0.5 else f"{words} and near-copies worth {mass:.1f} more"


def _contrast(values: Values) -> str:
    inside, outside = values["loss"], values["reference_loss"]
    if inside is None:
        return "losses that could not be measured"
    without = "" if outside is None else f", {outside:.2f} under models that did not"
    return f"loss {inside:.2f} nats a token under the model that saw it{without}"


def _recital(values: Values) -> str:
    prompt, suffix, match = values["prompt_loss"], values["suffix_loss"], values["greedy_match"]
    if match is None:
        return "a text too short to be recited"
    losses = "" if prompt is None or suffix is None else f", {suffix:.2f} nats a token after a prompt at {prompt:.2f}"
    return f"a suffix of which greedy decoding recites {match:.0%}{losses}"


def _trajectory(values: Values) -> str:
    drop, spread = values["exposure_drop"], values["trajectory_iqr"]
    if drop is not None:
        return f"a loss that fell {drop:+.2f} nats a token beside unseen text's"
    return "its losses in training" if spread is None else f"losses in training spread over {spread:.2f} nats a token"


def _gradient(values: Values) -> str:
    absorbed = values["absorption_sum"]
    return "its gradients" if absorbed is None else f"absorption of {2.0**absorbed:.2g} nats an exposure"


def _teaching(values: Values) -> str:
    gained = values["spillover"]
    if gained is None:
        return "what it does for other text, which could not be measured"
    return f"a step on it {'lowering' if gained >= 0 else 'raising'} the loss of held-out text by {abs(gained):.2g} nats a token"


def _span(values: Values) -> str:
    share, copies = values["span_share"], values["span_copies"]
    if share is None or copies is None:
        return "repeated spans that were not looked for"
    return f"{share:.0%} of it in spans that stand in up to {2.0**copies:.0f} places" if share else "no span that other documents repeat"


def _common(values: Values) -> str:
    common = values["commonness"]
    return "too few words to say how common they are" if common is None else f"phrases that stand in {2.0**common:.1f} texts each"


def _sinks(values: Values) -> str:
    gap, placebo = values["sink_gap"], values["placebo_gap"]
    if gap is None or placebo is None:
        return "sinks that were not trained"
    return f"a loss {gap:+.2f} nats a token without its own sinks, {placebo:+.2f} without random ones"


def _text(values: Values) -> str:
    ratio, rare = values["zlib_ratio"], values["rare_token_rate"]
    if ratio is None:
        return "its length"
    rarity = "" if rare is None else f", {rare:.0%} rare tokens"
    return f"{round(2.0 ** values['length'])} bytes that compress to {ratio:.0%}{rarity}"


def _pass(values: Values) -> str:
    outside = values["reference_loss"]
    return "no loss to go by" if outside is None else f"loss {outside:.2f} nats a token under a model that never saw it"


PHRASES: dict[str, Callable[[Values], str]] = {
    "copies": _copies,
    "contrast": _contrast,
    "recital": _recital,
    "trajectory": _trajectory,
    "gradient": _gradient,
    "teaching": _teaching,
    "span": _span,
    "sinks": _sinks,
    "common": _common,
    "text": _text,
    "pass": _pass,
}
