"""Tests of `pipeline.proxy.costs`."""

from __future__ import annotations

from itertools import count

import pytest

from pipeline.proxy.costs import Laps, measure_peak
from pipeline.proxy.training import train_proxy
from tests.pipeline.proxy.conftest import Corpus


def test_laps_add_up_by_name() -> None:
    """Every block counts under its name, one that fails too; without a clock nothing does."""
    ticks = count()
    laps = Laps(lambda: float(next(ticks)))
    with laps.lap("a"), laps.lap("b"):
        pass
    with pytest.raises(KeyError), laps.lap("b"):
        raise KeyError
    assert laps.seconds == {"a": 3.0, "b": 2.0}
    timeless = Laps()
    with timeless.lap("a"):
        pass
    assert timeless.seconds == {"a": 0.0}


def test_training_tells_its_steps_from_its_signals(corpus: Corpus) -> None:
    """One lap a step, others for passes, and results that know nothing of the clock."""
    spec = next(spec for spec in corpus.specs if spec.name == "label-0-0a")
    ticks = count()
    laps = Laps(lambda: float(next(ticks)))
    vocab_size = corpus.tokenizer.get_vocab_size()
    run = train_proxy(spec, corpus.drawn.samples, corpus.splits, vocab_size, corpus.config, laps=laps)
    assert laps.seconds["training"] == run.proxies["num_steps"].item()
    assert laps.seconds["signals"] >= 1.0
    again = train_proxy(spec, corpus.drawn.samples, corpus.splits, vocab_size, corpus.config)
    assert again.signals.equals(run.signals)


def test_the_peak_is_that_of_a_product() -> None:
    """It lies where any machine's does: above a tenth of a billion operations a second and below a quadrillion."""
    assert 1e8 < measure_peak(seconds=0.02) < 1e15
