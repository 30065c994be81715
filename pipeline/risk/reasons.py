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
    "contrast": ("loss", "loss_per_zlib", "min_k_plus_plus", "reference_loss", "reference_gap", "counterfactual_gap"),
    "recital": ("suffix_log_prob", "greedy_match", "prompt_loss", "suffix_loss", "prompt_suffix_difference"),
    "trajectory": ("trajectory_sum", "trajectory_iqr", "trajectory_drop"),
    "gradient": ("grad_norm", "absorption_last", "absorption_sum"),
    "text": ("zlib_ratio", "length", "rare_token_rate"),
    "pass": ("document_loss", "document_loss_sd", "document_prompt_suffix_difference", "document_loss_per_zlib"),
}


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
    drop, spread = values["trajectory_drop"], values["trajectory_iqr"]
    if drop is not None:
        return f"a loss that fell {drop:+.2f} nats a token beside unseen text's"
    return "its losses in training" if spread is None else f"losses in training spread over {spread:.2f} nats a token"


def _gradient(values: Values) -> str:
    absorbed = values["absorption_sum"]
    return "its gradients" if absorbed is None else f"absorption of {2.0**absorbed:.2g} nats an exposure"


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
    "text": _text,
    "pass": _pass,
}
