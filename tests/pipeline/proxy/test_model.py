"""Tests of `pipeline.proxy.model`."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Literal

import pytest
import torch
from safetensors.torch import save
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from pipeline.config import ProxyConfig
from pipeline.errors import IntegrityError
from pipeline.proxy.model import build_model, count_flops, load_checkpoint, plan_config, save_checkpoint
from pipeline.proxy.shape import Shape


def test_the_default_ladder_rises_about_threefold() -> None:
    """Dials 2, 3, 4 give about 0.06, 0.15, 0.45 million non-embedding parameters, with the same heads rule."""
    config = ProxyConfig()
    counts = [build_model(config, dial, 300, torch.Generator()).count_parameters() for dial in config.ladder]
    assert counts == [56_640, 150_080, 447_552]
    for dial in range(1, 12):
        shape = Shape.of(plan_config(config, dial, 300))
        assert shape.width % 16 == 0
        assert abs(shape.width - 24 * dial) <= 8
        assert shape.width % shape.num_heads == 0
        assert shape.width // shape.num_heads in (8, 16, 24, 32)


def test_a_dial_between_two_whole_ones_has_the_layers_of_the_lower() -> None:
    """Dial 2.5 is two layers of width 64; a whole dial is the same model in either form of the number."""
    config = ProxyConfig()
    between = Shape.of(plan_config(config, 2.5, 300))
    assert (between.num_layers, between.width) == (2, 64)
    assert build_model(config, 2.5, 300, torch.Generator()).count_parameters() == 100_096
    models = [save_checkpoint(build_model(config, dial, 50, torch.Generator().manual_seed(5))) for dial in (2, 2.0)]
    assert models[0] == models[1]


@pytest.mark.parametrize("architecture", ["gpt_neox", "llama"])
def test_flops_are_those_that_torch_counts(architecture: Literal["gpt_neox", "llama"], tiny_config: ProxyConfig) -> None:
    """Matrices, attention and logits of a forward pass agree with torch's own count."""
    model = build_model(tiny_config.model_copy(update={"architecture": architecture}), 2, 77, torch.Generator().manual_seed(0))
    tokens = torch.zeros(3, 24, dtype=torch.long)
    # torch has no count for the fused attention kernel of CPUs, so let it see the two products
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter, torch.no_grad():
        model.head(model(tokens))
    shape = model.shape
    # rotary positions are turned by a small product, a trick of this implementation that no count of the model's arithmetic includes
    turning = 2 * shape.num_layers * 3 * shape.width * (shape.width // shape.num_heads)
    assert counter.get_total_flops() == pytest.approx((count_flops(model, 24) + turning) * tokens.numel())


def test_weights_are_a_function_of_the_generator_alone(tiny_config: ProxyConfig) -> None:
    """The global seed plays no part."""
    torch.manual_seed(1)
    first = save_checkpoint(build_model(tiny_config, 2, 50, torch.Generator().manual_seed(5)))
    torch.manual_seed(2)
    assert save_checkpoint(build_model(tiny_config, 2, 50, torch.Generator().manual_seed(5))) == first
    assert save_checkpoint(build_model(tiny_config, 2, 50, torch.Generator().manual_seed(6))) != first


@pytest.mark.parametrize("architecture", ["gpt_neox", "llama"])
def test_a_checkpoint_comes_back_whole(architecture: Literal["gpt_neox", "llama"], tiny_config: ProxyConfig) -> None:
    """Configuration and weights survive, and saving again gives the same bytes."""
    model = build_model(tiny_config.model_copy(update={"architecture": architecture}), 1, 50, torch.Generator().manual_seed(5))
    loaded = load_checkpoint(*save_checkpoint(model))
    assert loaded.shape == model.shape
    assert save_checkpoint(loaded) == save_checkpoint(model)
    tokens = torch.arange(10)[None]
    assert torch.equal(loaded(tokens), model(tokens))


@pytest.mark.parametrize("architecture", ["gpt_neox", "llama"])
def test_transformers_loads_a_checkpoint(architecture: Literal["gpt_neox", "llama"], tmp_path: Path, tiny_config: ProxyConfig) -> None:
    """A proxy's folder is one that AutoModelForCausalLM reads, with the same logits."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers import AutoModelForCausalLM
    model = build_model(tiny_config.model_copy(update={"architecture": architecture}), 2, 50, torch.Generator().manual_seed(5))
    for name, data in zip(("model.safetensors", "config.json"), save_checkpoint(model), strict=True):
        (tmp_path / name).write_bytes(data)
    original = AutoModelForCausalLM.from_pretrained(tmp_path, local_files_only=True).eval()
    tokens = torch.randint(0, 50, (2, 20), generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        torch.testing.assert_close(model.head(model(tokens)), original(tokens).logits, atol=1e-4, rtol=1e-4)


def test_a_foreign_checkpoint_is_refused(tiny_config: ProxyConfig) -> None:
    """Neither a configuration without a shape nor foreign weights make a proxy."""
    weights, config = save_checkpoint(build_model(tiny_config, 1, 50, torch.Generator().manual_seed(5)))
    with pytest.raises(IntegrityError, match="not a proxy's checkpoint"):
        load_checkpoint(weights, b"{}")
    with pytest.raises(IntegrityError, match="not a proxy's checkpoint"):
        load_checkpoint(save({"x": torch.zeros(2)}), config)
