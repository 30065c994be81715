"""Tests of `pipeline.proxy.training`."""

from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest

from pipeline.config import ProxyConfig
from pipeline.proxy.model import save_checkpoint
from pipeline.proxy.training import ProxyRun, learning_rate, train_proxy
from tests.pipeline.proxy.conftest import Corpus


def run(corpus: Corpus, name: str) -> ProxyRun:
    """Train the named proxy."""
    spec = next(spec for spec in corpus.specs if spec.name == name)
    return train_proxy(spec, corpus.drawn.samples, corpus.splits, corpus.tokenizer.get_vocab_size(), corpus.config)


@pytest.fixture(scope="module")
def full(corpus: Corpus) -> ProxyRun:
    """Return the smallest full run."""
    return run(corpus, "full-0")


@pytest.fixture(scope="module")
def half(corpus: Corpus) -> ProxyRun:
    """Return one label half."""
    return run(corpus, "label-0-0a")


def test_the_same_run_is_bit_identical(corpus: Corpus, full: ProxyRun) -> None:
    """Tables and weights agree to the last bit."""
    again = run(corpus, "full-0")
    assert again.signals.equals(full.signals)
    assert again.extractions.equals(full.extractions)
    assert again.proxies.equals(full.proxies)
    assert save_checkpoint(again.model) == save_checkpoint(full.model)


def test_held_out_and_out_clusters_are_never_trained_on(corpus: Corpus, half: ProxyRun) -> None:
    """Exposures are exactly the in-training samples, once an epoch."""
    inside = corpus.splits.filter((pl.col("proxy") == "label-0-0a") & pl.col("in_training"))["cluster_id"]
    members = corpus.drawn.samples.filter(pl.col("cluster_id").is_in(inside.implode()))["sample_id"].sort().to_list()
    exposed = half.signals.filter(pl.col("phase") == "exposure")["sample_id"].sort().to_list()
    assert exposed == sorted(members * int(corpus.config.epochs))


def test_a_full_run_is_probed_with_gradients_at_its_checkpoints(corpus: Corpus, full: ProxyRun) -> None:
    """Every distinct window, held-out ones too, has losses, gradient norm and absorption at log-spaced steps, the last at the end."""
    probes = full.signals.filter(pl.col("phase") == "probe")
    steps = sorted(probes["step"].unique())
    assert len(steps) == corpus.config.num_checkpoints
    assert steps[-1] == full.proxies["num_steps"].item()
    windows = corpus.drawn.samples["window_id"].unique().sort().to_list()
    for step in steps:
        at_step = probes.filter(pl.col("step") == step)
        assert at_step["sample_id"].to_list() == windows
        assert at_step.select("grad_norm", "absorption", "min_k_plus_plus").null_count().sum_horizontal().item() == 0
        assert (at_step["grad_norm"] > 0).all()
        assert (at_step["absorption"] > 0).all()


def test_spillover_is_measured_on_everything_and_unseen_text_in_between(corpus: Corpus, full: ProxyRun) -> None:
    """Probes of a full run have a spillover, mostly positive in early training; held-out windows alone are looked at, from the start on."""
    probes = full.signals.filter(pl.col("phase") == "probe")
    assert probes["spillover"].null_count() == 0
    first = probes.filter(pl.col("step") == pl.col("step").min())["spillover"].to_numpy()
    assert np.mean(first > 0) > 0.9
    looks = full.signals.filter(pl.col("phase") == "unseen")
    assert looks["step"].min() == 0
    assert not set(looks["step"]) & set(probes["step"])
    trained = corpus.splits.filter("in_training")["cluster_id"].unique()
    held_out = corpus.drawn.samples.filter(~pl.col("cluster_id").is_in(trained.implode()))["window_id"].unique().sort().to_list()
    for _, rows in looks.group_by("step"):
        assert rows["sample_id"].sort().to_list() == held_out
    assert looks.sort("step")["loss"][0] == pytest.approx(math.log(corpus.tokenizer.get_vocab_size()), rel=0.05)


def test_feature_halves_have_gradients_and_may_go_on_without_their_text(corpus: Corpus) -> None:
    """Going on is measured once, raises the loss of what was left out beside held-out text, and leaves the run itself as it was."""
    long = corpus.config.model_copy(update={"epochs": 8.0})
    plain = run(Corpus(**{**corpus.__dict__, "config": long}), "feature-0-0a")
    ended = plain.signals.filter(pl.col("phase") == "probe")
    assert ended["absorption"].null_count() == ended["grad_norm"].null_count() == 0
    forgetful = long.model_copy(update={"forgetting": True})
    gone_on = run(Corpus(**{**corpus.__dict__, "config": forgetful}), "feature-0-0a")
    assert save_checkpoint(gone_on.model) == save_checkpoint(plain.model)
    after = gone_on.signals.filter(pl.col("phase") == "forgetting")
    assert gone_on.signals.filter(pl.col("phase") != "forgetting").equals(plain.signals)
    assert after["step"].unique().to_list() == [plain.proxies["num_steps"].item() + round(0.2 * plain.proxies["num_steps"].item())]
    inside = corpus.splits.filter((pl.col("proxy") == "feature-0-0a") & pl.col("in_training"))["cluster_id"]
    trained = corpus.splits.filter("in_training")["cluster_id"].unique()
    owners = corpus.drawn.samples.select("sample_id", "cluster_id")
    both = ended.join(after, on="sample_id", suffix="_after").join(owners, on="sample_id")
    rises = both.select("cluster_id", rise=pl.col("loss_after") - pl.col("loss"))
    is_own, is_trained = (pl.col("cluster_id").is_in(ids.implode()) for ids in (inside, trained))
    own, other = (rises.filter(which)["rise"].to_numpy().mean() for which in (is_own, is_trained & ~is_own))
    assert own > other + 0.02
    assert gone_on.proxies["signal_flops"].item() > plain.proxies["signal_flops"].item()
    assert gone_on.proxies["training_flops"].item() == plain.proxies["training_flops"].item()


def test_a_half_is_probed_once_and_forward_only(half: ProxyRun) -> None:
    """Its one probe stands at the last step and has no gradients."""
    probes = half.signals.filter(pl.col("phase") == "probe")
    assert probes["step"].unique().to_list() == half.proxies["num_steps"].to_list()
    assert probes["grad_norm"].null_count() == probes["absorption"].null_count() == len(probes)
    assert (
        half.signals.filter(pl.col("phase") == "exposure").select("prompt_loss", "grad_norm").null_count().row(0)
        == (len(half.signals) - len(probes),) * 2
    )


def test_training_lowers_the_loss_most_where_copies_are_many(corpus: Corpus, full: ProxyRun) -> None:
    """The loss before the first update is near that of guessing; trained repeats end below held-out text."""
    exposures = full.signals.filter(pl.col("phase") == "exposure").sort("step")
    assert exposures["loss"][0] == pytest.approx(math.log(corpus.tokenizer.get_vocab_size()), rel=0.05)
    row = full.proxies.row(0, named=True)
    assert row["final_loss"] < 0.8 * exposures["loss"][0]
    assert row["held_out_loss"] < exposures["loss"][0]
    assert row["num_token_visits"] > 0


def test_costs_are_counted(corpus: Corpus, full: ProxyRun, half: ProxyRun) -> None:
    """A full run costs more than a half in training and, with its backward probes, in signals."""
    whole, part = full.proxies.row(0, named=True), half.proxies.row(0, named=True)
    assert whole["training_flops"] > part["training_flops"] > 0
    assert whole["signal_flops"] > 5 * part["signal_flops"] > 0
    assert whole["num_parameters"] == part["num_parameters"] == full.model.count_parameters()


def test_the_rate_warms_up_and_falls_to_a_tenth() -> None:
    """Warmup is linear to the peak, the end is a tenth of it."""
    config = ProxyConfig(learning_rate=1.0, warmup_share=0.1)
    rates = [learning_rate(step, 100, config) for step in range(100)]
    assert rates[:3] == pytest.approx([0.1, 0.2, 0.3])
    assert max(rates) == 1.0
    assert rates[-1] == pytest.approx(0.1)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_a_broken_number_of_epochs_stops_part_way(corpus: Corpus) -> None:
    """Half an epoch is half the steps."""
    short = Corpus(**{**corpus.__dict__, "config": corpus.config.model_copy(update={"epochs": 0.5})})
    assert run(short, "full-0").proxies["num_steps"].item() == pytest.approx(run(corpus, "full-0").proxies["num_steps"].item() / 4, abs=1)
