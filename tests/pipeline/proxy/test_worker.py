"""Tests of `pipeline.proxy.worker` and `pipeline.proxy.reference`, on disk and in spawned processes."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from pipeline import store
from pipeline.proxy.base import FILE_NAME
from pipeline.proxy.model import build_model
from pipeline.proxy.reference import Reference, load_reference, rare_tokens, reference_losses, run_reference
from pipeline.proxy.runs import RUN_TABLES, gather_runs
from pipeline.proxy.splits import reference_pair
from pipeline.proxy.texts import choose_texts
from pipeline.proxy.tokenizer import serialise_tokenizer
from pipeline.proxy.training import train_proxy
from pipeline.proxy.worker import measure_proxy, run_proxy
from pipeline.tables import EXTRACTIONS, PROXIES, PROXY_SIGNALS, SINK_GAPS
from tests.pipeline.proxy.conftest import Corpus


@pytest.fixture(scope="module")
def folder(corpus: Corpus, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with stored samples, splits, tokenizer and a part of documents."""
    root = tmp_path_factory.mktemp("run")
    store.publish_frame("samples", f"{root}/samples", corpus.drawn.samples)
    store.publish_frame("proxy_splits", f"{root}/splits", corpus.splits)
    store.write_bytes(f"{root}/{FILE_NAME}", serialise_tokenizer(corpus.tokenizer))
    store.write_part(f"{root}/documents", "part-00000", corpus.documents.select("doc_id", "text"))
    return root


@pytest.fixture(scope="module")
def runs(corpus: Corpus, folder: Path) -> list[store.Artifact]:
    """Return the reference pair, trained in two spawned processes."""
    vocab = corpus.tokenizer.get_vocab_size()
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [
            pool.submit(measure_proxy, spec, f"{folder}/samples", f"{folder}/splits", corpus.config, vocab, f"{folder}/proxies/{spec.name}")
            for spec in reference_pair(corpus.specs)
        ]
        ended = [future.result() for future in futures]
    for run, cost in ended:
        assert cost is not None
        told = pl.read_parquet(f"{run.folder}/proxies.parquet").row(0, named=True)
        assert (cost.training_flops, cost.signal_flops) == (told["training_flops"], told["signal_flops"])
        assert min(cost.training_seconds, cost.signal_seconds) > 0
    return [run for run, _ in ended]


def test_a_spawned_run_equals_one_in_this_process(corpus: Corpus, runs: list[store.Artifact]) -> None:
    """What comes back from disk is what training returns."""
    spec = reference_pair(corpus.specs)[0]
    expected = train_proxy(spec, corpus.drawn.samples, corpus.splits, corpus.tokenizer.get_vocab_size(), corpus.config)
    for name, frame in zip(RUN_TABLES, (expected.proxies, expected.signals, expected.extractions, expected.sink_gaps), strict=True):
        assert pl.read_parquet(f"{runs[0].folder}/{name}.parquet").equals(frame)


def test_a_finished_run_is_not_trained_again_and_a_damaged_one_is(corpus: Corpus, folder: Path, runs: list[store.Artifact]) -> None:
    """The description vouches for tables and model alike."""
    spec, model = reference_pair(corpus.specs)[0], Path(runs[0].folder) / "model.safetensors"
    call = (spec, f"{folder}/samples", f"{folder}/splits", corpus.config, corpus.tokenizer.get_vocab_size(), runs[0].folder)
    before = model.stat().st_mtime_ns
    assert measure_proxy(*call) == (runs[0], None)
    assert model.stat().st_mtime_ns == before
    good = model.read_bytes()
    model.write_bytes(good[:-1] + b"x")
    assert run_proxy(*call) == runs[0]
    assert model.read_bytes() == good


def test_runs_are_gathered_into_tables_without_copies(folder: Path, runs: list[store.Artifact]) -> None:
    """Each table over all runs is whole and checked, in order of the runs' names whatever order they ended in."""
    tables = gather_runs(runs[::-1], f"{folder}/proxies")
    assert store.read_frame(tables["proxies"])["proxy"].to_list() == sorted(run.facts["proxy"] for run in runs)
    for table in (PROXIES, PROXY_SIGNALS, EXTRACTIONS, SINK_GAPS):
        found = store.find(f"{folder}/proxies/{table.name}")
        assert found == tables[table.name]
        table.check(store.read_frame(found))


def test_every_distinct_text_is_read_by_a_model_that_never_saw_it(corpus: Corpus, folder: Path, runs: list[store.Artifact]) -> None:
    """The worker's part has one row per distinct text, equal to a plain pass under the right model."""
    chosen = choose_texts(corpus.documents)
    pair = (runs[0].folder, runs[1].folder)
    paths = (f"{folder}/documents/part-00000.parquet", chosen, f"{folder}/{FILE_NAME}", f"{folder}/samples", f"{folder}/splits")
    part = run_reference(*paths, pair, corpus.config, f"{folder}/signals", "part-00000")
    signals = pl.read_parquet(f"{folder}/signals/{part.path}")
    assert signals["content_hash"].to_list() == sorted(set(corpus.documents["content_hash"]))
    reference = load_reference(pair, corpus.splits, corpus.drawn.samples, corpus.tokenizer.get_vocab_size())
    texts = corpus.documents.select("content_hash", "cluster_id", "text").unique("content_hash").rows()
    for content_hash, cluster_id, text in texts[:8]:
        model = reference.second if cluster_id in reference.trained_by_first else reference.first
        tokens = corpus.tokenizer.encode(text).ids
        losses = []
        for start in range(0, len(tokens) - 1, corpus.config.context):
            window = torch.tensor(tokens[start : start + corpus.config.context])
            with torch.no_grad():
                log_probabilities = torch.log_softmax(model.head(model(window[None])[0]), -1)
            losses += [-float(log_probabilities[at, token]) for at, token in enumerate(window[1:].tolist())]
        row = signals.row(by_predicate=pl.col("content_hash") == content_hash, named=True)
        assert row["num_tokens"] == len(tokens)
        assert row["reference_loss"] == pytest.approx(np.mean(losses), rel=1e-4)
        assert row["reference_loss_sd"] == pytest.approx(np.std(losses), rel=1e-3)
        assert row["reference_prompt_loss"] == pytest.approx(np.mean(losses[: corpus.config.prompt_tokens - 1]), rel=1e-4)


def test_gradients_of_the_reference_pass_are_those_of_each_window(corpus: Corpus) -> None:
    """With `reference_gradients` a text has the mean norm of its windows' gradients, and the losses that it has without."""
    models = [build_model(corpus.config, 1, 300, torch.Generator().manual_seed(n)) for n in (0, 1)]
    reference = Reference(models[0], models[1], frozenset([b"b" * 16]), np.zeros(300, dtype=bool))
    texts = [
        (bytes([n]) * 16, cluster * 16, text)
        for n, cluster, text in ((1, b"a", "river stone " * 30), (2, b"b", "north " * 9), (3, b"a", "r"))
    ]
    config = corpus.config.model_copy(update={"reference_gradients": True})
    plain, found = (reference_losses(texts, reference, corpus.tokenizer, each) for each in (corpus.config, config))
    assert plain["reference_grad_norm"].null_count() == 3
    np.testing.assert_allclose(found["reference_loss"][:2], plain["reference_loss"][:2], rtol=1e-5)
    assert found["reference_grad_norm"][2] is None
    for row, (_, _, text), model in zip(range(2), texts, models, strict=False):
        tokens, norms = corpus.tokenizer.encode(text).ids, []
        for start in range(0, len(tokens) - 1, config.context):
            window = torch.tensor(tokens[start : start + config.context])
            loss = torch.nn.functional.cross_entropy(model.head(model(window[None])[0, :-1]), window[1:])
            gradients = torch.autograd.grad(loss, list(model.parameters()))
            norms.append(float(torch.cat([gradient.reshape(-1) for gradient in gradients]).norm()))
        assert found["reference_grad_norm"][row] == pytest.approx(np.log2(np.mean(norms)), rel=1e-4)


def test_reading_order_and_short_texts_are_no_trouble(corpus: Corpus) -> None:
    """Rows come in order of content hash; a text without tokens has nulls, one of a single token no loss."""
    models = [build_model(corpus.config, 1, 300, torch.Generator().manual_seed(n)) for n in (0, 1)]
    reference = Reference(models[0], models[1], frozenset([b"b" * 16]), np.zeros(300, dtype=bool))
    texts = [(bytes([n]) * 16, cluster * 16, text) for n, cluster, text in ((3, b"a", ""), (1, b"b", "r"), (2, b"a", "river " * 600))]
    signals = reference_losses(texts, reference, corpus.tokenizer, corpus.config)
    assert signals.equals(reference_losses(texts[::-1], reference, corpus.tokenizer, corpus.config))
    assert signals["reference_loss"].is_null().to_list() == [True, False, True]
    assert signals["rare_token_rate"].is_null().to_list() == [False, False, True]
    assert signals["num_scored_tokens"].to_list() == [1, corpus.config.max_scored_tokens, 0]
    assert signals["num_tokens"][1] > corpus.config.max_scored_tokens


def test_rare_tokens_are_the_last_twentieth_of_the_text(corpus: Corpus) -> None:
    """Tokens called rare make up at most 5% of the distinct windows, and unseen tokens are rare."""
    is_rare = rare_tokens(corpus.drawn.samples, 400)
    distinct = corpus.drawn.samples.filter(pl.col("sample_id") == pl.col("window_id"))["tokens"].explode().to_numpy()
    assert 0.0 < is_rare[distinct].mean() <= 0.05
    assert is_rare[300:].all()
