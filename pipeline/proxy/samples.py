"""The texts that proxies train on: drawn clusters with all their copies, cut into token windows.

Copies per token stay as in the corpus, because a subsample with thinned copies understates the risk. Only the chosen documents' text is
ever read, one document at a time, and at most a few windows of each are kept.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from tokenizers import Tokenizer

from pipeline.config import ProxyConfig
from pipeline.errors import TableError
from pipeline.proxy.allocation import describe_clusters, fill_budget, summarise
from pipeline.proxy.draws import draw_key, mix
from pipeline.tables import SAMPLES, Samples

BYTES_PER_TOKEN = 4.0
SLACK = 1.5
MIN_TAIL = 16
MIN_WINDOW = 2
MAX_CHARACTERS = 1 << 20
ENCODE_BATCH = 64

Tokens = npt.NDArray[np.int32]


@dataclass(frozen=True)
class ClusterChoice:
    """Hold what was chosen before any text was read.

    `documents`: doc_id, cluster_id, content_hash, row_hash of every copy of a chosen cluster. `clusters`: all clusters with their
    strata and estimated tokens, from which the inclusion probabilities follow.
    """

    documents: pl.DataFrame
    clusters: pl.DataFrame
    chosen: pl.Series


@dataclass(frozen=True)
class DrawnSamples:
    """Hold the samples and the facts of the draw (counts, tokens, inclusion probability of every stratum)."""

    samples: Samples
    facts: Mapping[str, Any]


@dataclass(frozen=True)
class _Window:
    doc_id: int
    index: int
    start: int
    tokens: Tokens


def choose_clusters(profile: pl.DataFrame, config: ProxyConfig, seed: int) -> ClusterChoice:
    """Choose half as many clusters again as the token budget should need, by stratum, from byte counts alone.

    `profile`: doc_id, cluster_id, cluster_size, content_hash, row_hash, source, num_bytes, one row per document. The surplus leaves
    room for texts that have more or fewer bytes a token than the 4 assumed here; `draw_samples` trims it with real counts.
    """
    clusters = describe_clusters(profile, BYTES_PER_TOKEN, config.max_windows_per_document * config.context)
    chosen = fill_budget(clusters, SLACK * config.token_budget, seed)["cluster_id"]
    documents = profile.filter(pl.col("cluster_id").is_in(chosen.implode()))
    return ClusterChoice(documents.select("doc_id", "cluster_id", "content_hash", "row_hash"), clusters, chosen)


def draw_samples(
    choice: ClusterChoice, texts: Iterable[tuple[int, str]], tokenizer: Tokenizer, config: ProxyConfig, seed: int
) -> DrawnSamples:
    """Cut the chosen documents into windows and keep, stratum by stratum, as many clusters as the token budget holds.

    `texts`: (doc_id, text) of the chosen documents, in any order; others are passed over. Long documents give at most
    `max_windows_per_document` windows: the first, and others at positions drawn by cluster, the same for all its copies. A tail
    shorter than 16 tokens is left out. Raises: TableError when a chosen document's text did not come.
    """
    cluster_of = dict(zip(choice.documents["doc_id"].to_list(), choice.documents["cluster_id"].to_list(), strict=True))
    wanted = ((doc_id, text) for doc_id, text in texts if doc_id in cluster_of)
    windows: list[_Window] = []
    num_windows: dict[int, int] = {}
    for doc_id, tokens in _encode(wanted, tokenizer):
        num_windows[doc_id] = -(-len(tokens) // config.context)
        windows += _cut(doc_id, tokens, cluster_of[doc_id], config, seed)
    if missing := len(cluster_of) - len(num_windows):
        raise TableError(f"{missing} chosen document(s) came without text", where="samples", wanted="the text of every chosen document")
    aligned = _align(windows, num_windows, cluster_of, config, seed)
    return _trim(choice, aligned, config, seed)


def _encode(texts: Iterable[tuple[int, str]], tokenizer: Tokenizer) -> Iterator[tuple[int, Tokens]]:
    iterator = iter(texts)
    while batch := list(itertools.islice(iterator, ENCODE_BATCH)):
        encodings = tokenizer.encode_batch_fast([text[:MAX_CHARACTERS] for _, text in batch], add_special_tokens=False)
        for (doc_id, _), encoding in zip(batch, encodings, strict=True):
            yield doc_id, np.asarray(encoding.ids, dtype=np.int32)


def _cut(doc_id: int, tokens: Tokens, cluster_id: bytes, config: ProxyConfig, seed: int) -> Iterator[_Window]:
    for index in _positions(cluster_id, -(-len(tokens) // config.context), config, seed):
        window = tokens[index * config.context : (index + 1) * config.context]
        if len(window) >= (MIN_TAIL if index else MIN_WINDOW):
            yield _Window(doc_id, index, index * config.context, window)


def _positions(cluster_id: bytes, num_windows: int, config: ProxyConfig, seed: int) -> list[int]:
    """Return the window numbers to keep out of `num_windows`: the first, then the best-ranked by a keyed hash of the cluster."""
    if num_windows <= config.max_windows_per_document:
        return list(range(num_windows))
    later = np.arange(1, num_windows, dtype=np.uint64)
    ranks = mix(later ^ np.uint64(draw_key("windows", seed, cluster_id.hex())))
    best = np.argsort(ranks, kind="stable")[: config.max_windows_per_document - 1]
    return [0, *sorted(int(index) + 1 for index in best)]


def _align(
    windows: list[_Window], num_windows: Mapping[int, int], cluster_of: Mapping[int, bytes], config: ProxyConfig, seed: int
) -> list[_Window]:
    """Keep the positions drawn for a cluster's longest member; what a shorter member drew at those positions is a superset."""
    longest: dict[bytes, int] = {}
    for doc_id, count in num_windows.items():
        longest[cluster_of[doc_id]] = max(count, longest.get(cluster_of[doc_id], 0))
    kept = {cluster_id: set(_positions(cluster_id, count, config, seed)) for cluster_id, count in longest.items()}
    return [window for window in windows if window.index in kept[cluster_of[window.doc_id]]]


def _trim(choice: ClusterChoice, windows: list[_Window], config: ProxyConfig, seed: int) -> DrawnSamples:
    frame = pl.DataFrame(
        {
            "doc_id": [window.doc_id for window in windows],
            "start": [window.start for window in windows],
            "num_tokens": [len(window.tokens) for window in windows],
            "tokens": [window.tokens.tolist() for window in windows],
            "key": [window.tokens.tobytes() for window in windows],
        },
        schema={"doc_id": pl.Int64, "start": pl.Int64, "num_tokens": pl.Int32, "tokens": pl.List(pl.Int32), "key": pl.Binary},
    ).join(choice.documents, on="doc_id")
    real = frame.group_by("cluster_id").agg(pl.col("num_tokens").cast(pl.Int64).sum())
    clusters = choice.clusters.drop("num_tokens").join(real, on="cluster_id")
    drawn = fill_budget(clusters, config.token_budget, seed)
    facts = {**summarise(choice.clusters, drawn, SLACK * config.token_budget), "num_chosen_clusters": len(choice.chosen)}
    samples = _number(frame.filter(pl.col("cluster_id").is_in(drawn["cluster_id"].implode())))
    return DrawnSamples(samples, {**facts, "num_samples": samples.height, "num_windows": samples["window_id"].n_unique()})


def _number(frame: pl.DataFrame) -> Samples:
    ordered = frame.sort("content_hash", "row_hash", "start", "doc_id").with_row_index("sample_id")
    return SAMPLES.check(
        ordered.with_columns(
            pl.col("sample_id").cast(pl.Int64),
            pl.col("sample_id").min().over("key").cast(pl.Int64).alias("window_id"),
            (pl.col("start") + pl.col("num_tokens")).alias("end"),
        ).select(*SAMPLES.columns)
    )
