"""Signals of forward passes: what proxies say about a text, without a look at how they learnt it.

Every function takes a `View` and returns the columns cluster_id and its own name; a cluster is the mean of its distinct windows
unless a docstring says otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl


@dataclass(frozen=True)
class View:
    """Hold one proxy size's evidence.

    `probes`: the full proxy's last probe, one row a cluster and window; `checkpoints`: all its probes; `recitals`: its extractions;
    `halves`: last probes of the feature halves (of the largest size up to this one), with in_training; `exposures`: losses in training;
    `unseen`: losses of held-out clusters over the steps of the full proxy; `ladder`: parameters and last probes of the full proxies up to
    this size; `forgotten`: how losses of feature halves rose when training went on without a text; `held_out`: clusters that no proxy
    saw; `texts`: one row a cluster with num_tokens, zlib_bytes and the one forward pass; `sinks`: the
    frame of `Evidence.sinks`.
    """

    probes: pl.DataFrame
    checkpoints: pl.DataFrame
    recitals: pl.DataFrame
    halves: pl.DataFrame
    exposures: pl.DataFrame
    held_out: pl.DataFrame
    texts: pl.DataFrame
    suffix_tokens: int
    sinks: pl.DataFrame
    unseen: pl.DataFrame
    ladder: tuple[tuple[int, pl.DataFrame], ...]
    forgotten: pl.DataFrame


def per_cluster(rows: pl.DataFrame, name: str, value: pl.Expr) -> pl.DataFrame:
    """Aggregate rows to one value a cluster under a column of that name."""
    return rows.group_by("cluster_id", maintain_order=True).agg(value.cast(pl.Float64).alias(name))


def loss(view: View) -> pl.DataFrame:
    """Return l(x; T), the full proxy's last loss.

    Unit: nats per token. Direction: lower, more memorization. Source: Yeom 2018, section 3.
    """
    return per_cluster(view.probes, "loss", pl.col("loss").mean())


def loss_per_zlib(view: View) -> pl.DataFrame:
    """Return the text's summed loss over its compressed size: loss x tokens / zlib bytes.

    Unit: nats per compressed byte. Direction: lower, more memorization. Source: Carlini 2021, section 5.
    """
    joined = loss(view).join(view.texts, on="cluster_id")
    value = pl.when(pl.col("zlib_bytes") > 0).then(pl.col("loss") * pl.col("num_tokens") / pl.col("zlib_bytes"))
    return joined.select("cluster_id", value.alias("loss_per_zlib"))


def prompt_loss(view: View) -> pl.DataFrame:
    """Return the loss over the windows' prompts.

    Unit: nats per token. Direction: none alone; read beside suffix_loss.
    """
    return per_cluster(view.probes, "prompt_loss", pl.col("prompt_loss").mean())


def suffix_loss(view: View) -> pl.DataFrame:
    """Return the loss over the windows' suffixes, given their prompts.

    Unit: nats per token. Direction: lower, more memorization. Source: Carlini 2023, section 3.
    """
    return per_cluster(view.probes, "suffix_loss", pl.col("suffix_loss").mean())


def prompt_suffix_difference(view: View) -> pl.DataFrame:
    """Return l(prompt) - l(suffix), of the window where it is largest.

    Unit: nats per token. Direction: higher, more memorization: the prompt surprises, what follows is known by heart.
    """
    return per_cluster(view.probes, "prompt_suffix_difference", (pl.col("prompt_loss") - pl.col("suffix_loss")).max())


def min_k_plus_plus(view: View) -> pl.DataFrame:
    """Return the mean of the lowest k% of (log p - mu) / sigma over the vocabulary.

    Unit: z-score. Direction: higher, more memorization. Source: Zhang 2024, "Min-K%++", section 4.
    """
    return per_cluster(view.probes, "min_k_plus_plus", pl.col("min_k_plus_plus").mean())


def suffix_log_prob(view: View) -> pl.DataFrame:
    """Return log p_z per token, of the window whose suffix is likeliest.

    Unit: nats per token. Direction: higher, more memorization. Source: Hayes 2024, "(n, p)-discoverable extraction".
    """
    return per_cluster(view.recitals, "suffix_log_prob", pl.col("suffix_log_prob").max() / view.suffix_tokens)


def greedy_match(view: View) -> pl.DataFrame:
    """Return the longest run of suffix tokens that greedy decoding reproduces before its first error, over windows.

    Unit: share of the suffix; 1 is extractable. Direction: higher, more memorization. Source: Carlini 2023; Biderman 2023.
    """
    return per_cluster(view.recitals, "greedy_match", pl.col("greedy_match").max() / view.suffix_tokens)


def reference_loss(view: View) -> pl.DataFrame:
    """Return the mean loss under feature halves that did not train on the cluster.

    Unit: nats per token. Direction: higher, more to memorize. Source: Carlini 2022, "Membership inference from first principles".
    """
    return per_cluster(view.halves.filter(~pl.col("in_training")), "reference_loss", pl.col("loss").mean())


def rare_token_rate(view: View) -> pl.DataFrame:
    """Return the share of the text's tokens that are rare in the corpus, as the one forward pass counted it.

    Unit: share. Direction: higher, more to memorize.
    """
    return view.texts.select("cluster_id", "rare_token_rate")
