"""Tests of `pipeline.proxy.samples`."""

from __future__ import annotations

import polars as pl
import pytest

from pipeline.config import ProxyConfig
from pipeline.errors import TableError
from pipeline.proxy.samples import MIN_TAIL, choose_clusters, draw_samples
from pipeline.proxy.tokenizer import train_tokenizer
from tests.pipeline.proxy.conftest import SEED, Corpus, draw, make_documents


def contents(samples: pl.DataFrame, documents: pl.DataFrame) -> list[tuple[object, ...]]:
    """Return the samples without what reflects file order."""
    joined = samples.join(documents.select("doc_id", "content_hash"), on="doc_id")
    return joined.sort("sample_id").select("sample_id", "content_hash", "window_id", "start", "tokens").rows()


def test_every_copy_of_a_drawn_cluster_is_there_and_the_budget_holds(corpus: Corpus) -> None:
    """Copies per cluster are those of the corpus, tokens stay within the budget, and strata are reported."""
    samples, facts = corpus.drawn.samples, corpus.drawn.facts
    copies = samples.group_by("cluster_id").agg(pl.col("doc_id").n_unique().alias("copies"))
    sizes = corpus.documents.select("cluster_id", "cluster_size").unique()
    assert (copies.join(sizes, on="cluster_id").select(pl.col("copies") == pl.col("cluster_size"))).to_series().all()
    assert samples["num_tokens"].sum() == facts["num_tokens"] <= corpus.config.token_budget
    assert 0 < len(copies) < len(sizes)
    assert sum(stratum["num_drawn"] for stratum in facts["strata"]) == facts["num_drawn_clusters"] == len(copies)
    assert all(0.0 <= stratum["inclusion_probability"] <= 1.0 for stratum in facts["strata"])


def test_the_order_of_files_changes_nothing_but_doc_ids(corpus: Corpus) -> None:
    """Renumbered and shuffled documents give the same samples in the same order."""
    shuffled = corpus.documents.drop("doc_id").sample(fraction=1.0, shuffle=True, seed=5)
    shuffled = shuffled.with_row_index("doc_id").cast({"doc_id": pl.Int64})
    other = draw(shuffled, corpus.config, corpus.tokenizer)
    assert contents(other.samples, shuffled) == contents(corpus.drawn.samples, corpus.documents)
    assert other.facts == corpus.drawn.facts


def test_windows_are_the_document_and_equal_ones_share_a_window_id(corpus: Corpus) -> None:
    """A sample's tokens stand at its place in the document; window_id is the smallest id of equal tokens."""
    texts = dict(corpus.documents.select("doc_id", "text").rows())
    first: dict[tuple[int, ...], int] = {}
    for row in corpus.drawn.samples.sort("sample_id").iter_rows(named=True):
        assert corpus.tokenizer.encode(texts[row["doc_id"]]).ids[row["start"] : row["end"]] == row["tokens"]
        assert row["window_id"] == first.setdefault(tuple(row["tokens"]), row["sample_id"])
        assert row["start"] % corpus.config.context == 0
        assert row["num_tokens"] == row["end"] - row["start"] >= (MIN_TAIL if row["start"] else 2)


def test_long_documents_give_the_same_few_windows_in_every_copy(corpus: Corpus) -> None:
    """The first window is always there, others lie at positions of the cluster, also when members differ in length."""
    config = corpus.config.model_copy(update={"max_windows_per_document": 3, "token_budget": 100_000})
    long = corpus.documents.head(1).with_columns(cluster_size=pl.lit(6))
    base = " ".join(f"river {n} stone" for n in range(400))
    texts = [base + " north" * extra for extra in (0, 0, 40, 41, 300, 900)]
    documents = pl.concat([long.with_columns(doc_id=pl.lit(n, dtype=pl.Int64), text=pl.lit(text)) for n, text in enumerate(texts)])
    samples = draw(documents.with_columns(num_bytes=pl.col("text").str.len_bytes()), config, corpus.tokenizer).samples
    starts = samples.group_by("doc_id").agg(pl.col("start").sort()).sort("doc_id")["start"].to_list()
    assert starts[0] == starts[1]
    assert all(found[0] == 0 and len(found) <= 3 for found in starts)
    assert all(set(found) <= set(starts[-1]) for found in starts)


def test_a_missing_text_is_an_error(corpus: Corpus) -> None:
    """A chosen document without text cannot be passed over, its copies would be thinned."""
    choice = choose_clusters(corpus.documents.drop("text"), corpus.config, SEED)
    with pytest.raises(TableError, match=r"chosen document\(s\) came without text"):
        draw_samples(choice, [], corpus.tokenizer, corpus.config, SEED)


def test_an_empty_corpus_gives_no_samples(tiny_config: ProxyConfig) -> None:
    """Nothing in, nothing out."""
    assert draw(make_documents(1)[:0], tiny_config, train_tokenizer([], tiny_config)).samples.is_empty()
