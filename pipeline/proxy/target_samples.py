"""The text that targets train on: every window of the corpus as it came, or as much of it as a budget allows.

A target's configuration is the proxies' own with one dial, so that tokens, windows and the prompt's place are the same, and every window
of the proxies' subsample is one of the targets'.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import polars as pl
from tokenizers import Tokenizer

from pipeline.config import ProxyConfig, ValidationConfig
from pipeline.errors import ConfigError
from pipeline.proxy.allocation import describe_clusters, fill_budget
from pipeline.proxy.samples import BYTES_PER_TOKEN, ClusterChoice, DrawnSamples, draw_samples

NO_LIMIT = 10**12

Texts = Callable[[list[int]], Iterable[tuple[int, str]]]


def target_config(proxy: ProxyConfig, validation: ValidationConfig, dial: float) -> ProxyConfig:
    """Return the proxies' configuration with a target's one size and training.

    Raises: ConfigError when proxies start from a base: a target that starts from it as well is not built.
    """
    if proxy.init_from is not None:
        raise ConfigError("targets cannot start from a base", where="proxy.init_from", do="validate an audit without proxy.init_from")
    own = {name: getattr(validation, name) for name in ("epochs", "batch_windows", "learning_rate", "held_out_share")}
    unlimited = {"token_budget": NO_LIMIT, "max_windows_per_document": NO_LIMIT}
    return proxy.model_copy(update={**own, **unlimited, "ladder": (dial,), "memsinks": False})


def draw_target_samples(
    profile: pl.DataFrame, inside: pl.Series, texts: Texts, tokenizer: Tokenizer, config: ProxyConfig, max_tokens: int | None, seed: int
) -> DrawnSamples:
    """Cut all windows of all documents, or of the clusters `inside` and as many others as `max_tokens` has room for.

    `profile` as for `choose_clusters`; `config` from `target_config`; `texts` returns (doc_id, text) of documents.
    Texts beyond a million characters are cut off there, as for proxies.
    """
    clusters = describe_clusters(profile, BYTES_PER_TOKEN, NO_LIMIT)
    chosen = clusters["cluster_id"]
    if max_tokens is not None:
        is_inside = clusters["cluster_id"].is_in(inside.implode())
        room = max(max_tokens - int(clusters.filter(is_inside)["num_tokens"].sum()), 0)
        chosen = pl.concat([clusters.filter(is_inside), fill_budget(clusters.filter(~is_inside), room, seed)])["cluster_id"]
    documents = profile.filter(pl.col("cluster_id").is_in(chosen.implode()))
    choice = ClusterChoice(documents.select("doc_id", "cluster_id", "content_hash", "row_hash"), clusters, chosen)
    return draw_samples(choice, texts(documents["doc_id"].to_list()), tokenizer, config, seed)
