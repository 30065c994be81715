"""Tests of `pipeline.proxy.memsinks` and `pipeline.proxy.sink_gaps`."""

from __future__ import annotations

import hashlib
from typing import Literal

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import ProxyConfig
from pipeline.proxy.losses import token_losses
from pipeline.proxy.memsinks import SinkGate, general_mask, sink_mask, sink_masks
from pipeline.proxy.model import ProxyModel, build_model, count_flops
from pipeline.proxy.sink_gaps import FACTORS, OTHER_KEY
from pipeline.proxy.splits import ProxySpec, plan_proxies, split_clusters
from pipeline.proxy.training import ProxyRun, train_proxy
from tests.pipeline.proxy.conftest import SEED, Corpus
from tests.pipeline.proxy.test_transformer import load_original

TOKENS = torch.randint(0, 50, (2, 20), generator=torch.Generator().manual_seed(3))
IDS = [b"a" * 16, b"b" * 16]


def plain_mask(cluster_id: bytes, width: int, key: int) -> list[float]:
    """Order the pool by its words, one at a time, and switch on the first 30%."""
    general = int(0.7 * width)
    stream = hashlib.shake_128(key.to_bytes(8, "little") + cluster_id).digest(8 * (width - general))
    words = [int.from_bytes(stream[8 * at : 8 * at + 8], "little") for at in range(width - general)]
    chosen = sorted(range(width - general), key=lambda at: (words[at], at))[: round(0.3 * (width - general))]
    return [1.0] * general + [1.0 if at in chosen else 0.0 for at in range(width - general)]


@settings(max_examples=50, deadline=None)
@given(st.binary(min_size=16, max_size=16), st.integers(10, 400), st.integers(0, 5))
def test_a_mask_has_the_general_part_and_a_fixed_share_of_the_pool(cluster_id: bytes, width: int, key: int) -> None:
    """Never all ones, never no sinks; a function of id, width and key, equal to the plain one."""
    mask = sink_mask(cluster_id, width, key)
    general = int(0.7 * width)
    assert mask[:general].all()
    assert mask[general:].sum() == round(0.3 * (width - general))
    assert 0 < mask[general:].sum() < width - general
    assert mask.tolist() == plain_mask(cluster_id, width, key)


def test_masks_of_clusters_and_keys_are_unrelated() -> None:
    """Two clusters, and a cluster's own mask and its placebo, share the 30% of sinks that chance gives."""
    ids = [number.to_bytes(16, "little") for number in range(400)]
    own, other = sink_masks(ids, 256)[:, 179:], sink_masks(ids, 256, OTHER_KEY)[:, 179:]
    active = own.sum(1).mean()
    assert (own * other).sum(1).mean() / active == pytest.approx(0.3, abs=0.02)
    assert (own[1:] * own[:-1]).sum(1).mean() / active == pytest.approx(0.3, abs=0.02)
    assert own.mean(0) == pytest.approx(np.full(77, 0.3), abs=0.1)


def test_a_layer_without_room_for_sinks_is_refused() -> None:
    """A mask of a tiny layer would be all ones or none."""
    with pytest.raises(ValueError, match="an MLP of width 3 is too narrow for sinks"):
        sink_mask(IDS[0], 3)
    with pytest.raises(ValueError, match="has no MLP that is narrowed by dense_4h_to_h or down_proj"):
        SinkGate(torch.nn.Linear(3, 3))


def masked_by_hand(model: ProxyModel, tokens: torch.Tensor, masks: torch.Tensor) -> torch.Tensor:
    """Compute what a gated model should: the masks go into the weights that narrow, one sequence at a time."""
    narrowing = [module for name, module in model.named_modules() if name.endswith(("dense_4h_to_h", "down_proj"))]
    weights = [module.weight.detach().clone() for module in narrowing if isinstance(module, torch.nn.Linear)]
    rows = []
    with torch.no_grad():
        for row, mask in zip(tokens, masks, strict=True):
            for module, weight in zip(narrowing, weights, strict=True):
                module.weight.copy_(weight * mask)
            rows.append(model.head(model(row[None]))[0])
        for module, weight in zip(narrowing, weights, strict=True):
            module.weight.copy_(weight)
    return torch.stack(rows)


@pytest.mark.parametrize("architecture", ["gpt_neox", "llama"])
def test_the_gate_masks_every_layer_of_ours_and_of_transformers(
    architecture: Literal["gpt_neox", "llama"], tiny_config: ProxyConfig
) -> None:
    """Both give what masked weights give, each sequence its own mask, and are as before without the gate."""
    model = build_model(tiny_config.model_copy(update={"architecture": architecture}), 2, 50, torch.Generator().manual_seed(5))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)), alpha=0.1)
    original = load_original(model)
    with torch.no_grad():
        before = model.head(model(TOKENS))
        with SinkGate(model) as ours, SinkGate(original) as theirs:
            assert ours.width == theirs.width == model.shape.mlp_width
            masks = sink_masks(IDS, ours.width)
            for gate in (ours, theirs):
                gate.show(masks)
            masked, theirs_masked = model.head(model(TOKENS)), original(TOKENS).logits
        torch.testing.assert_close(masked, masked_by_hand(model, TOKENS, torch.from_numpy(masks)), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(theirs_masked, masked, atol=1e-4, rtol=1e-4)
        assert torch.equal(model.head(model(TOKENS)), before)
        torch.testing.assert_close(original(TOKENS).logits, before, atol=1e-4, rtol=1e-4)
        assert (masked - before).abs().max() > 1e-3


def test_sinks_of_others_get_no_gradient(tiny_config: ProxyConfig) -> None:
    """A sequence writes to the general part and to its own sinks only."""
    model = build_model(tiny_config, 2, 50, torch.Generator().manual_seed(5))
    with SinkGate(model) as gate:
        gate.show(sink_masks(IDS[:1], gate.width))
        model(TOKENS[:1]).sum().backward()
    mask = torch.from_numpy(sink_mask(IDS[0], model.shape.mlp_width)) > 0
    gradients = {name: parameter.grad for name, parameter in model.named_parameters() if ".mlp." in name}
    for name, gradient in gradients.items():
        if gradient is not None and "dense_h_to_4h" in name:
            assert not gradient[~mask].any()
    assert any("dense_h_to_4h.weight" in name for name in gradients)


@pytest.fixture(scope="module")
def sinks_run(corpus: Corpus) -> tuple[Corpus, ProxySpec, ProxyRun]:
    """Train the MemSinks proxy long enough to recite repeats."""
    config = corpus.config.model_copy(update={"memsinks": True, "epochs": 25.0})
    specs = plan_proxies(config, SEED)
    splits = split_clusters(corpus.drawn.samples, specs, config, SEED)
    changed = Corpus(corpus.documents, config, corpus.tokenizer, corpus.drawn, specs, splits)
    spec = next(spec for spec in specs if spec.role == "memsinks")
    return changed, spec, train_proxy(spec, corpus.drawn.samples, splits, corpus.tokenizer.get_vocab_size(), config)


def test_the_plan_gains_one_run_of_the_smallest_size_on_all_clusters(sinks_run: tuple[Corpus, ProxySpec, ProxyRun], corpus: Corpus) -> None:
    """Other runs keep their names, seeds and splits."""
    changed, spec, _ = sinks_run
    assert (spec.name, spec.size) == ("memsinks-0", 0)
    assert set(changed.specs) - set(corpus.specs) == {spec}
    theirs = changed.splits.filter(pl.col("proxy") == "memsinks-0").drop("proxy")
    assert theirs.equals(changed.splits.filter(pl.col("proxy") == "full-0").drop("proxy"))
    assert changed.splits.filter(pl.col("proxy") != "memsinks-0").equals(corpus.splits)


def test_every_window_of_every_cluster_is_read_with_each_mask(sinks_run: tuple[Corpus, ProxySpec, ProxyRun]) -> None:
    """Once each, held-out clusters too; exposures are logged as in a full run, and windows too short to recite have no score."""
    changed, spec, run = sinks_run
    wanted = changed.drawn.samples.group_by("cluster_id", "window_id").agg(pl.col("sample_id").min(), pl.col("num_tokens").first())
    for mask in ("own", "off", "other"):
        rows = run.sink_gaps.filter(pl.col("mask") == mask)
        assert rows["sample_id"].to_list() == wanted["sample_id"].sort().to_list()
        joined = rows.join(wanted, on="sample_id")
        need = changed.config.prompt_tokens + changed.config.suffix_tokens
        assert (joined["memorization_score"].is_not_null() == (joined["num_tokens"] >= need)).all()
    assert run.extractions.is_empty()
    assert run.signals["phase"].unique().to_list() == ["exposure"]
    assert run.proxies["role"].to_list() == [spec.role]


def test_what_is_repeated_sits_in_its_own_sinks(sinks_run: tuple[Corpus, ProxySpec, ProxyRun]) -> None:
    """On trained text own sinks lower the loss far more than the placebo's; on held-out text they do nothing of the kind."""
    changed, _, run = sinks_run
    trained = changed.splits.filter("in_training")["cluster_id"].unique()
    table = run.sink_gaps.join(changed.drawn.samples.select("sample_id", "cluster_id"), on="sample_id").with_columns(
        seen=pl.col("cluster_id").is_in(trained.implode())
    )
    wide = table.pivot("mask", index=["sample_id", "seen"], values="loss")
    gap, placebo = wide["off"] - wide["own"], wide["off"] - wide["other"]
    seen = wide["seen"]
    mean = gap.filter(seen).to_numpy().mean()
    assert mean > placebo.filter(seen).to_numpy().mean() + 0.1
    assert mean > gap.filter(~seen).to_numpy().mean() + 0.1


def test_losses_are_those_of_a_model_masked_by_hand(sinks_run: tuple[Corpus, ProxySpec, ProxyRun]) -> None:
    """A few windows again, plainly: own mask, and all off with the factor that is best on held-out windows."""
    changed, _, run = sinks_run
    model, samples = run.model, changed.drawn.samples
    width = model.shape.mlp_width

    def loss(sample_id: int, mask: np.ndarray) -> float:
        tokens = torch.tensor([samples.row(by_predicate=pl.col("sample_id") == sample_id, named=True)["tokens"]])
        with SinkGate(model) as gate, torch.no_grad():
            gate.show(mask)
            return float(token_losses(model(tokens)[0, :-1], model.head.weight, tokens[0, 1:]).mean())

    found = {(row["sample_id"], row["mask"]): row["loss"] for row in run.sink_gaps.iter_rows(named=True)}
    owners = dict(samples.select("sample_id", "cluster_id").iter_rows())
    some = sorted({sample_id for sample_id, _ in found})[:6]
    for sample_id in some:
        assert found[sample_id, "own"] == pytest.approx(loss(sample_id, sink_masks([owners[sample_id]], width)), rel=1e-4)
        other = sink_masks([owners[sample_id]], width, OTHER_KEY)
        assert found[sample_id, "other"] == pytest.approx(loss(sample_id, other), rel=1e-4)
    best = [
        factor
        for factor in FACTORS
        if all(found[one, "off"] == pytest.approx(loss(one, general_mask(width, factor)), rel=1e-4) for one in some)
    ]
    assert len(best) == 1
    unseen = ~samples["cluster_id"].is_in(changed.splits.filter("in_training")["cluster_id"].unique().implode())
    held = samples.filter(unseen & (pl.col("sample_id") == pl.col("window_id"))).select("sample_id", "num_tokens").rows()

    def held_out(factor: float) -> float:
        return sum(loss(one, general_mask(width, factor)) * (size - 1) for one, size in held) / sum(size - 1 for _, size in held)

    assert run.proxies["held_out_loss"].item() == pytest.approx(held_out(best[0]), rel=1e-4)
    assert held_out(best[0]) <= min(held_out(factor) for factor in FACTORS) + 1e-6


def test_the_cost_of_the_passes_is_counted(sinks_run: tuple[Corpus, ProxySpec, ProxyRun]) -> None:
    """Three passes over all windows and one over held-out windows for each factor tried, padding aside."""
    changed, _, run = sinks_run
    tokens = int((changed.drawn.samples.filter(pl.col("sample_id") == pl.col("window_id"))["num_tokens"] - 1).sum())
    assert run.proxies["signal_flops"].item() > 3 * tokens * count_flops(run.model, 1)
