"""Tests of `pipeline.proxy.targets` and its worker: exact resumption, paired order, weights and masks."""

from __future__ import annotations

import multiprocessing
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from pipeline import store
from pipeline.config import ProxyConfig, ValidationConfig
from pipeline.errors import ConfigError, IntegrityError
from pipeline.proxy.batches import Windows, load_windows
from pipeline.proxy.splits import ProxySpec
from pipeline.proxy.target_samples import target_config
from pipeline.proxy.target_worker import CHECKPOINT, run_target
from pipeline.proxy.targets import MASKED, TargetSpec, check_seeds, count_steps, schedule, train_target

VOCABULARY = 300
SPEC = TargetSpec("target-0a", "label_half", 0, 0, 11, 12)


@pytest.fixture(scope="module")
def config(tiny_config: ProxyConfig) -> ProxyConfig:
    return target_config(tiny_config, ValidationConfig(batch_windows=8), 1)


def _members(corpus: Any, share: float = 0.5, weight: float = 1.0, masked: tuple[int, ...] = ()) -> pl.DataFrame:
    chosen = corpus.drawn.samples["sample_id"].head(round(share * corpus.drawn.samples.height))
    columns = (pl.lit(weight).alias("weight"), pl.lit(list(masked), MASKED).alias("masked"))
    return pl.DataFrame({"sample_id": chosen}).with_columns(columns)


def _train(corpus: Any, config: ProxyConfig, members: pl.DataFrame, spec: TargetSpec = SPEC, **more: Any) -> Any:
    return train_target(spec, corpus.drawn.samples, members, corpus.drawn.samples["window_id"].unique(), VOCABULARY, config, **more)


def _same(first: Any, second: Any) -> bool:
    return all(getattr(first, name).equals(getattr(second, name)) for name in ("proxies", "signals", "extractions"))


def test_a_run_that_goes_on_from_any_checkpoint_ends_with_the_same_bits(corpus: Any, config: ProxyConfig) -> None:
    """Whatever the last checkpoint was, early look included, nothing of the result differs."""
    spec, states = TargetSpec("raw", "full", -1, -1, 11, 12, has_early_look=True), list[bytes]()
    whole = _train(corpus, config, _members(corpus), spec, keep=states.append, checkpoint_steps=5)
    assert len(states) == 2
    assert whole.signals["step"].unique().sort().to_list() == [1, 12]
    for state in states:
        assert _same(whole, _train(corpus, config, _members(corpus), spec, state=state))


def test_a_target_learns_what_it_is_given(corpus: Any, config: ProxyConfig) -> None:
    """After some steps, the windows in training have a lower loss than those that are not."""
    members = _members(corpus)
    run = _train(corpus, config, members, TargetSpec("a", "full", -1, -1, 1, 60))
    windows = corpus.drawn.samples.join(members, on="sample_id", how="semi")["window_id"].unique()
    inside = pl.col("sample_id").is_in(windows.implode())
    assert run.signals.filter(inside)["loss"].mean() < run.signals.filter(~inside)["loss"].mean()
    assert run.proxies["num_steps"].item() == 60


def test_full_runs_alone_are_asked_what_they_emit(corpus: Any, config: ProxyConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    """An arm's emission is a share of tokens; a half's is nobody's question."""
    monkeypatch.setattr("pipeline.proxy.emission.RUN_TOKENS", 4)
    assert 0.0 < _train(corpus, config, _members(corpus), TargetSpec("a", "full", -1, -1, 1, 60)).emission < 1.0
    assert _train(corpus, config, _members(corpus)).emission is None


def test_another_models_checkpoint_is_refused(corpus: Any, config: ProxyConfig) -> None:
    """A state of other sizes, and bytes that are none, are told apart from a run's own."""
    states: list[bytes] = []
    _train(corpus, config, _members(corpus), keep=states.append, checkpoint_steps=5)
    larger = config.model_copy(update={"ladder": (2,)})
    with pytest.raises(IntegrityError, match="not the checkpoint"):
        _train(corpus, larger, _members(corpus), state=states[0])
    with pytest.raises(IntegrityError, match="not the checkpoint"):
        _train(corpus, config, _members(corpus), state=b"nothing")


def test_a_killed_worker_resumes_to_the_bytes_of_one_left_alone(corpus: Any, config: ProxyConfig, tmp_path: Path) -> None:
    """After kill -9 in the middle, the folder has a checkpoint and no description; then it ends as if nothing had been."""
    samples = store.publish_frame("samples", f"{tmp_path}/samples", corpus.drawn.samples)
    members = store.write_part(str(tmp_path), "members", _members(corpus))
    spec = TargetSpec("target-0a", "label_half", 0, 0, 11, 300)
    validation = corpus.drawn.samples["window_id"].head(5)
    arguments = (spec, samples.folder, f"{tmp_path}/{members.path}", validation, VOCABULARY, config, 20)
    process = multiprocessing.get_context("spawn").Process(target=run_target, args=(*arguments, f"{tmp_path}/killed"))
    process.start()
    checkpoint = tmp_path / "killed" / CHECKPOINT
    while not checkpoint.exists():
        time.sleep(0.02)
        assert process.is_alive()
    process.kill()
    process.join()
    assert checkpoint.exists()
    assert store.find(f"{tmp_path}/killed") is None
    resumed, whole = (run_target(*arguments, f"{tmp_path}/{name}") for name in ("killed", "whole"))
    assert [part.digest for part in resumed.parts] == [part.digest for part in whole.parts]
    assert not checkpoint.exists()
    assert run_target(*arguments, f"{tmp_path}/killed") == resumed


def test_taking_samples_away_leaves_the_rest_in_order(corpus: Any, config: ProxyConfig) -> None:
    """Each epoch of a filtered run is the unfiltered one's with the removed samples left out."""
    windows: Windows = load_windows(corpus.drawn.samples, config.context)
    every, few = np.arange(len(windows)), np.arange(0, len(windows), 3)
    full = np.concatenate(schedule(windows, every, count_steps(len(every), 2, 1), 1, seed=5))
    part = np.concatenate(schedule(windows, few, count_steps(len(few), 2, 1), 1, seed=5))
    assert part.tolist() == [place for place in full.tolist() if place in set(few.tolist())]
    assert full[: len(every)].tolist() != full[len(every) :].tolist()
    assert np.concatenate(schedule(windows, every, 3, 8, seed=6)).tolist() != full[:24].tolist()


def test_masked_tokens_and_low_weights_teach_less(corpus: Any, config: ProxyConfig) -> None:
    """Masking every token trains on nothing but decay; masking none is the same as no weights; and weights act."""
    spec = TargetSpec("a", "full", -1, -1, 1, 40)
    plain = _train(corpus, config, _members(corpus, 1.0), spec)
    masked = _train(corpus, config, _members(corpus, 1.0, masked=tuple(range(config.context))), spec)
    light = _train(corpus, config, _members(corpus, 1.0, weight=0.01), spec)
    losses = [run.proxies["held_out_loss"].item() for run in (plain, light, masked)]
    assert losses[0] < losses[1] < losses[2]
    assert masked.proxies["held_out_loss"].item() == pytest.approx(np.log(VOCABULARY), abs=0.05)


def test_targets_share_no_seed_with_a_proxy() -> None:
    """The same seed is refused by both names."""
    proxy = ProxySpec("full-0", "full", 0, -1, -1, 11)
    with pytest.raises(IntegrityError, match="full-0 and target target-0a"):
        check_seeds([proxy], [SPEC])
    check_seeds([proxy], [TargetSpec("b", "full", -1, -1, 12, 1)])


def test_a_target_of_a_fine_tuning_audit_is_refused(tiny_config: ProxyConfig) -> None:
    """What is not built is said, not guessed."""
    with pytest.raises(ConfigError, match="init_from"):
        target_config(tiny_config.model_copy(update={"init_from": "base"}), ValidationConfig(), 8)
