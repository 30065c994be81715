"""Tests of `pipeline.proxy.transformer`: the bodies against the originals in transformers."""

from __future__ import annotations

import warnings
from typing import Literal

import pytest
import torch

from pipeline.config import ProxyConfig
from pipeline.proxy.model import ProxyModel, build_model

Architecture = Literal["gpt_neox", "llama"]


def load_original(model: ProxyModel) -> torch.nn.Module:
    """Return transformers' causal language model with the same weights."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, LlamaConfig, LlamaForCausalLM
    shape = model.shape
    is_neox = shape.architecture == "gpt_neox"
    config = (GPTNeoXConfig if is_neox else LlamaConfig)(
        vocab_size=shape.vocab_size,
        hidden_size=shape.width,
        num_hidden_layers=shape.num_layers,
        num_attention_heads=shape.num_heads,
        intermediate_size=shape.mlp_width,
        max_position_embeddings=shape.context,
        hidden_act="silu",
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
    )
    original = (GPTNeoXForCausalLM if is_neox else LlamaForCausalLM)(config).eval()
    weights = {f"{original.base_model_prefix}.{name}": tensor for name, tensor in model.body.state_dict().items()}
    head = next(name for name in original.state_dict() if name in ("lm_head.weight", "embed_out.weight"))
    original.load_state_dict({**weights, head: model.head.weight.detach()})
    return original


@pytest.mark.parametrize("architecture", ["gpt_neox", "llama"])
@pytest.mark.parametrize("dial", [1, 3])
def test_same_weights_give_the_numbers_of_the_original(architecture: Architecture, dial: int, tiny_config: ProxyConfig) -> None:
    """Every parameter has the original's name and shape, and the logits agree."""
    config = tiny_config.model_copy(update={"architecture": architecture})
    model = build_model(config, dial, 50, torch.Generator().manual_seed(1))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)), alpha=0.1)
        tokens = torch.randint(0, 50, (2, 20), generator=torch.Generator().manual_seed(3))
        torch.testing.assert_close(model.head(model(tokens)), load_original(model)(tokens).logits, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("architecture", ["gpt_neox", "llama"])
def test_padding_behind_a_text_changes_nothing(architecture: Architecture, tiny_config: ProxyConfig) -> None:
    """Under causal attention no mask is needed for padding at the right."""
    model = build_model(tiny_config.model_copy(update={"architecture": architecture}), 2, 50, torch.Generator().manual_seed(1))
    tokens = torch.randint(0, 50, (2, 20), generator=torch.Generator().manual_seed(3))
    padded = torch.cat([tokens, torch.zeros(2, 7, dtype=torch.long)], 1)
    torch.testing.assert_close(model(padded)[:, :20], model(tokens), atol=1e-6, rtol=1e-5)
