"""Tests of `pipeline.proxy.spillover` against plain differentiation and against real steps."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch
from torch import Tensor
from torch.func import functional_call, grad
from torch.nn import functional as F

from pipeline.proxy.batches import Indices, Windows, load_windows, make_batch
from pipeline.proxy.losses import mean_token_loss
from pipeline.proxy.model import ProxyModel, build_model
from pipeline.proxy.optimizer import BETAS, EPSILON, AdamW
from pipeline.proxy.probe import Probe
from pipeline.proxy.spillover import HeldOutHalves, probe_with_gradients, split_held_out
from pipeline.tables import PROXY_SPLITS, SAMPLES
from tests.pipeline.proxy.conftest import Corpus


class Trained:
    """A proxy after a few steps, its windows, and what the probe says."""

    def __init__(self, corpus: Corpus) -> None:
        self.windows: Windows = load_windows(corpus.drawn.samples, corpus.config.context)
        self.halves: HeldOutHalves = split_held_out(corpus.drawn.samples, corpus.splits)
        self.model: ProxyModel = build_model(corpus.config, 1, 300, torch.Generator().manual_seed(3))
        self.optimizer = AdamW(self.model, 0.1)
        members = np.array([at for at in range(len(self.windows)) if at not in set(self.halves.both())])
        for step in range(20):
            batch = make_batch(self.windows, np.roll(members, 8 * step)[:8])
            hidden = self.model(batch.tokens).reshape(-1, self.model.shape.width).index_select(0, batch.places)
            mean_token_loss(hidden, self.model.head.weight, batch.targets)[0].backward()  # type: ignore[no-untyped-call]
            self.optimizer.step(0.01)
        self.before = self.optimizer.values.clone()
        self.probe: Probe = probe_with_gradients(self.model, self.optimizer, self.windows, self.halves, corpus.config)

    def loss(self, members: Indices, values: dict[str, Tensor]) -> Tensor:
        """Return the mean token loss over windows."""
        sums, count = torch.zeros(()), 0
        for at in members.tolist():
            tokens = self.windows.tokens[at, : int(self.windows.lengths[at])]
            hidden = functional_call(self.model, values, (tokens[None],))[0, :-1]
            sums = sums + F.cross_entropy(hidden @ values["head.weight"].t(), tokens[1:], reduction="sum")
            count += len(tokens) - 1
        return sums / count

    def gradient(self, members: Indices, values: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the gradient of the mean token loss over windows."""

        def loss(at: dict[str, Tensor]) -> Tensor:
            return self.loss(members, at)

        return grad(loss)(values)

    def direction(self, at: int) -> dict[str, Tensor]:
        """Return Adam's step on one window alone, at rate 1 and without momentum."""
        values = {name: parameter.detach() for name, parameter in self.model.named_parameters()}
        gradients = self.gradient(np.array([at]), values)
        second = self.optimizer.by_parameter(self.optimizer.second)
        correction = 1 - BETAS[1] ** (self.optimizer.num_steps + 1)
        names = dict(self.model.named_parameters())
        return {
            name: gradient / (((BETAS[1] * second[names[name]] + (1 - BETAS[1]) * gradient.square()) / correction).sqrt() + EPSILON)
            for name, gradient in gradients.items()
        }

    def judges(self, at: int) -> Indices:
        """Return the windows that judge a window: held-out ones, of the other half if it is held out itself."""
        halves = self.halves
        return halves.second if at in halves.first else halves.first if at in halves.second else halves.both()


@pytest.fixture(scope="module")
def trained(corpus: Corpus) -> Trained:
    torch.set_num_threads(1)
    return Trained(corpus)


def test_spillover_is_the_slope_of_held_out_loss_along_a_step(trained: Trained) -> None:
    """It equals the exact directional derivative, for trained and held-out windows; absorption is that of the window's own loss."""
    values = {name: parameter.detach() for name, parameter in trained.model.named_parameters()}
    chosen = [*trained.halves.others[:3].tolist(), *trained.halves.first[:1].tolist(), *trained.halves.second[:1].tolist()]
    for at in chosen:
        step, row = trained.direction(at), int(np.flatnonzero(trained.probe.indices == at)[0])
        for members, found in ((trained.judges(at), trained.probe.spillover[row]), (np.array([at]), trained.probe.absorption[row])):
            gradients = trained.gradient(members, values)
            slope = sum(float((gradients[name] * step[name]).sum()) for name in step)
            assert found == pytest.approx(slope, rel=2e-3, abs=1e-4)


def test_a_small_step_lowers_held_out_loss_by_as_much(trained: Trained) -> None:
    """The sign and size are those of a real step, to first order: a central difference tells."""
    values = {name: parameter.detach().double() for name, parameter in trained.model.named_parameters()}
    buffers = {name: buffer.double() for name, buffer in trained.model.named_buffers()}
    at, rate = int(trained.halves.others[0]), 1e-4
    judges, step = trained.judges(at), trained.direction(at)
    low, high = (
        float(trained.loss(judges, {**buffers, **{name: value - sign * rate * step[name].double() for name, value in values.items()}}))
        for sign in (1.0, -1.0)
    )
    row = int(np.flatnonzero(trained.probe.indices == at)[0])
    assert (high - low) / (2 * rate) == pytest.approx(float(trained.probe.spillover[row]), rel=1e-2)


def test_a_pass_changes_nothing(trained: Trained) -> None:
    """Parameters are bit for bit what they were, and no gradient stays behind."""
    assert torch.equal(trained.optimizer.values, trained.before)
    assert all(parameter.grad is None for parameter in trained.model.parameters())


def test_held_out_clusters_are_cut_in_two_and_no_window_judges_itself(corpus: Corpus) -> None:
    """Halves are disjoint in clusters, cover all distinct windows with the others, and are the same whatever order rows come in."""
    samples, splits = corpus.drawn.samples, corpus.splits
    halves = split_held_out(samples, splits)
    everything = np.sort(np.concatenate([halves.first, halves.second, halves.others]))
    assert everything.tolist() == np.flatnonzero((samples["window_id"] == samples["sample_id"]).to_numpy()).tolist()
    clusters = [set(samples["cluster_id"].gather(half)) for half in (halves.first, halves.second)]
    assert clusters[0]
    assert clusters[1]
    assert not clusters[0] & clusters[1]
    shuffled = split_held_out(samples, PROXY_SPLITS.check(corpus.splits.sample(fraction=1.0, shuffle=True, seed=1)))
    assert all(np.array_equal(getattr(halves, name), getattr(shuffled, name)) for name in ("first", "second", "others"))


def test_a_window_that_trained_text_holds_too_is_no_judge(corpus: Corpus) -> None:
    """Neither is one that both halves hold: it would judge itself."""
    samples = corpus.drawn.samples
    halves = split_held_out(samples, corpus.splits)
    places = (halves.first[0], halves.second[0], halves.others[0])
    mine, twin, trained = (samples["cluster_id"][int(at)] for at in places)
    for other in (trained, twin):
        window = samples.row(int(halves.first[0]), named=True)
        copied = {**window, "sample_id": samples.height, "doc_id": 10**6, "cluster_id": other}
        both = SAMPLES.check(pl.concat([samples, pl.DataFrame([copied], schema=samples.schema)]))
        changed = split_held_out(both, corpus.splits)
        assert halves.first[0] in changed.others
        assert halves.first[0] not in changed.both()
    assert mine != twin


def test_without_held_out_text_there_is_no_spillover(corpus: Corpus, trained: Trained) -> None:
    """One half alone judges all but itself, none judges nobody; absorption is there all the same."""
    everything = np.sort(np.concatenate([trained.halves.others, trained.halves.both()]))
    nobody = np.empty(0, np.int64)
    alone = HeldOutHalves(trained.halves.first, nobody, np.setdiff1d(everything, trained.halves.first))
    probe = probe_with_gradients(trained.model, trained.optimizer, trained.windows, alone, corpus.config)
    assert np.isnan(probe.spillover).tolist() == np.isin(probe.indices, trained.halves.first).tolist()
    probe = probe_with_gradients(
        trained.model, trained.optimizer, trained.windows, HeldOutHalves(nobody, nobody, everything), corpus.config
    )
    assert np.isnan(probe.spillover).all()
    assert (probe.absorption > 0).all()
