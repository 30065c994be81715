"""A corpus of invented sentences, small enough that a proxy trains on it in a second."""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass

import polars as pl
import pytest
import torch
from tokenizers import Tokenizer

from pipeline.config import ProxyConfig
from pipeline.proxy.samples import DrawnSamples, choose_clusters, draw_samples
from pipeline.proxy.splits import ProxySpec, plan_proxies, split_clusters
from pipeline.proxy.tokenizer import train_tokenizer
from pipeline.tables import ProxySplits

WORDS = ("river", "stone", "carries", "under", "bridge", "morning", "letter", "winter", "counts", "silver", "north", "garden")
SEED = 7


@dataclass(frozen=True)
class Corpus:
    """Hold the documents (doc_id, cluster_id, cluster_size, content_hash, row_hash, source, num_bytes, text) and a draw of them."""

    documents: pl.DataFrame
    config: ProxyConfig
    tokenizer: Tokenizer
    drawn: DrawnSamples
    specs: tuple[ProxySpec, ...]
    splits: ProxySplits


def make_documents(num_clusters: int = 60, seed: int = 0) -> pl.DataFrame:
    """Return clusters of 1, 1, 2, 4 and 8 copies from two sources, from 10 to 200 words long."""
    rng, rows = random.Random(seed), []
    for cluster in range(num_clusters):
        copies = (1, 1, 2, 4, 8)[cluster % 5]
        text = " ".join([*rng.choices(WORDS, k=rng.choice((10, 30, 60, 200))), f"number {cluster}"])
        digest = hashlib.blake2b(text.encode(), digest_size=16).digest()
        rows += [(digest, copies, digest, digest, "ab"[cluster % 2], len(text), text)] * copies
    names = ["cluster_id", "cluster_size", "content_hash", "row_hash", "source", "num_bytes", "text"]
    frame = pl.DataFrame(rows, schema=names, orient="row").sample(fraction=1.0, shuffle=True, seed=seed)
    return frame.with_row_index("doc_id").cast({"doc_id": pl.Int64})


def draw(documents: pl.DataFrame, config: ProxyConfig, tokenizer: Tokenizer, seed: int = SEED) -> DrawnSamples:
    """Choose clusters and cut their texts."""
    choice = choose_clusters(documents.drop("text"), config, seed)
    return draw_samples(choice, documents.select("doc_id", "text").iter_rows(), tokenizer, config, seed)


@pytest.fixture(scope="session")
def tiny_config() -> ProxyConfig:
    """Return a configuration whose models are a few thousand parameters."""
    return ProxyConfig(
        vocab_size=300, context=32, prompt_tokens=8, suffix_tokens=8, token_budget=4000, ladder=(1, 2, 3), epochs=2.0, held_out_share=0.1
    )


@pytest.fixture(scope="session")
def corpus(tiny_config: ProxyConfig) -> Corpus:
    """Return a drawn and split corpus."""
    documents = make_documents()
    tokenizer = train_tokenizer(documents["text"], tiny_config)
    drawn = draw(documents, tiny_config, tokenizer)
    specs = plan_proxies(tiny_config, SEED)
    return Corpus(documents, tiny_config, tokenizer, drawn, specs, split_clusters(drawn.samples, specs, tiny_config, SEED))


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """Compute as the workers do, in fixtures too: sums in threads depend on their number."""
    torch.set_num_threads(1)
