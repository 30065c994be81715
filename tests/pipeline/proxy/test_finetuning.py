"""Tests of `pipeline.proxy.base` and `pipeline.proxy.finetuning`: checkpoints written by transformers, read by us."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from pipeline.config import ProxyConfig
from pipeline.errors import InputError
from pipeline.proxy.base import base_digest, check_base, cut_config, kept_layers, layer_counts, read_base_config
from pipeline.proxy.finetuning import load_base, start_model
from pipeline.proxy.model import ProxyModel, load_checkpoint, save_checkpoint
from pipeline.proxy.training import train_proxy
from tests.pipeline.proxy.conftest import Corpus

VOCABULARY = 304
TOKENS = torch.randint(0, 300, (2, 24), generator=torch.Generator().manual_seed(3))

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "neox": ("GPTNeoX", {"hidden_act": "gelu", "intermediate_size": 64}),
    "neox in sequence": (
        "GPTNeoX",
        {
            "use_parallel_residual": False,
            "intermediate_size": 48,
            "rope_parameters": {"rope_type": "default", "rope_theta": 500.0, "partial_rotary_factor": 0.5},
        },
    ),
    "llama": ("Llama", {"intermediate_size": 40, "rms_norm_eps": 1e-5}),
    "llama with shared keys, tied": (
        "Llama",
        {
            "intermediate_size": 40,
            "num_key_value_heads": 2,
            "head_dim": 12,
            "tie_word_embeddings": True,
            "attention_bias": True,
            "mlp_bias": True,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1000.0},
        },
    ),
}


@pytest.fixture(scope="module")
def write_base(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., tuple[Path, Any]]:
    """Return a function that writes a base of six layers with transformers and returns its folder and the original."""

    def write(kind: str, dtype: torch.dtype = torch.float32) -> tuple[Path, Any]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import transformers
        name, own = KINDS[kind]
        settings: dict[str, Any] = {
            "vocab_size": VOCABULARY,
            "hidden_size": 32,
            "num_hidden_layers": 6,
            "num_attention_heads": 4,
            "max_position_embeddings": 64,
            "bos_token_id": None,
            "eos_token_id": None,
            "tie_word_embeddings": False,
        }
        torch.manual_seed(1)
        model = getattr(transformers, f"{name}ForCausalLM")(getattr(transformers, f"{name}Config")(**{**settings, **own})).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
        folder = tmp_path_factory.mktemp("base")
        model.to(dtype).save_pretrained(folder)
        return folder, model.float()

    return write


def fine_tuning(folder: Path, **changes: Any) -> ProxyConfig:
    """Return the configuration of tiny proxies that start from a base."""
    small = {"vocab_size": 300, "context": 32, "prompt_tokens": 8, "suffix_tokens": 8, "token_budget": 4000, "epochs": 1.0}
    return ProxyConfig.model_validate({**small, "held_out_share": 0.1, "ladder": [1, 2, 3], "init_from": str(folder), **changes})


def started(config: ProxyConfig, size: int) -> ProxyModel:
    """Return the model that a size starts from."""
    return start_model(config, size, 300, torch.Generator(), load_base(config))


@pytest.mark.parametrize("kind", KINDS)
def test_the_largest_size_is_the_base_itself(kind: str, write_base: Callable[..., tuple[Path, Any]]) -> None:
    """Its logits are the original's, whatever the family's options, and a saved proxy still computes them."""
    folder, original = write_base(kind)
    model = started(fine_tuning(folder), 2)
    with torch.no_grad():
        expected = original(TOKENS).logits
        torch.testing.assert_close(model.head(model(TOKENS)), expected, atol=1e-4, rtol=1e-4)
        again = load_checkpoint(*save_checkpoint(model))
        torch.testing.assert_close(again.head(again(TOKENS)), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", ["neox", "llama with shared keys, tied"])
def test_smaller_sizes_are_the_base_without_its_deepest_layers_but_the_last(kind: str, write_base: Callable[..., tuple[Path, Any]]) -> None:
    """A third of six layers are the first and the last; the rest of the model is the base's, and its own to train."""
    folder, original = write_base(kind)
    config = fine_tuning(folder)
    model = started(config, 0)
    layers = original.base_model.layers
    original.base_model.layers = torch.nn.ModuleList([layers[0], layers[5]])
    original.config.num_hidden_layers = 2
    with torch.no_grad():
        torch.testing.assert_close(model.head(model(TOKENS)), original(TOKENS, use_cache=False).logits, atol=1e-4, rtol=1e-4)
    assert model.head.weight.data_ptr() != model.embedding.weight.data_ptr()
    assert [started(config, size).shape.num_layers for size in range(3)] == [2, 4, 6]


def test_the_ladder_keeps_proportions() -> None:
    """Dials are shares of the deepest; what stays is the beginning and the last layer."""
    assert layer_counts(12, (2, 3, 4)) == (6, 9, 12)
    assert layer_counts(24, (1, 2.5, 4)) == (6, 15, 24)
    assert kept_layers(12, 3) == (0, 1, 11)
    assert kept_layers(12, 12) == tuple(range(12))
    assert kept_layers(12, 1) == (11,)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_widened(dtype: torch.dtype, write_base: Callable[..., tuple[Path, Any]]) -> None:
    """Weights become float32, bit for bit the numbers that were stored."""
    folder, original = write_base("neox", dtype)
    config = fine_tuning(folder)
    check_base(config)
    model = started(config, 2)
    assert torch.equal(model.embedding.weight, original.get_input_embeddings().weight)
    assert model.embedding.weight.dtype == torch.float32


def test_buffers_of_older_exports_are_passed_over(write_base: Callable[..., tuple[Path, Any]]) -> None:
    """Causal masks of another type and rotary frequencies are no weights."""
    folder, _ = write_base("neox")
    stored = load_file(folder / "model.safetensors")
    stored["gpt_neox.layers.0.attention.bias"] = torch.ones(1, 1, 8, 8, dtype=torch.bool)
    stored["gpt_neox.layers.0.attention.masked_bias"] = torch.tensor(-1e9)
    stored["gpt_neox.layers.0.attention.rotary_emb.inv_freq"] = torch.ones(2)
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    config = fine_tuning(folder)
    check_base(config)
    assert started(config, 1).shape.num_layers == 4


def _rewrite(folder: Path, **changes: Any) -> None:
    described = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**described, **changes}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "mamba"}, r"model_type is mamba, wanted gpt_neox or llama"),
        ({"hidden_act": "xielu"}, r"hidden_act is xielu, wanted one of silu"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e4}}, r"positions are scaled \(yarn\)"),
        ({"rope_scaling": {"type": "linear", "factor": 2.0}}, r"positions are scaled \(linear\)"),
        ({"quantization_config": {"bits": 4}}, r"the weights are quantized"),
        ({"auto_map": {"AutoModel": "x.Y"}}, r"code of its own \(auto_map\), which is never run"),
        ({"num_hidden_layers": 2}, r"wanted 3 different depths in the proportions \[1, 2, 3\]; got 2 layers: \[1, 1, 2\]"),
        ({"max_position_embeddings": 16}, r"wanted windows of 32 tokens; got 16 at most"),
        ({"hidden_size": None}, r"got TypeError"),
    ],
)
def test_a_base_that_is_not_spoken_here_is_refused(
    changes: dict[str, Any], message: str, write_base: Callable[..., tuple[Path, Any]]
) -> None:
    """The message says which property, in which folder, before anything is computed."""
    folder, _ = write_base("neox")
    _rewrite(folder, **changes)
    with pytest.raises(InputError, match=message) as caught:
        check_base(fine_tuning(folder))
    assert str(folder) in str(caught.value)


def test_missing_and_foreign_files_are_refused(write_base: Callable[..., tuple[Path, Any]], tmp_path: Path) -> None:
    """No folder, no weights, pickled weights, truncated, integer or surplus weights: each is said."""
    with pytest.raises(InputError, match=r"config.json of a GPT-NeoX or Llama model.*got no such file"):
        check_base(fine_tuning(tmp_path / "none"))
    folder, _ = write_base("neox")
    config, weights = fine_tuning(folder), folder / "model.safetensors"
    whole = load_file(weights)
    save_file({name: tensor.to(torch.int8) for name, tensor in whole.items()}, weights)
    with pytest.raises(InputError, match=r"wanted weights in F32 or F16 or BF16; got I8"):
        check_base(config)
    save_file({**whole, "gpt_neox.extra": torch.zeros(2)}, weights)
    check_base(config)
    with pytest.raises(InputError, match=r"Unexpected key.*body.extra"):
        started(config, 0)
    weights.write_bytes(weights.read_bytes()[:2000])
    with pytest.raises(InputError, match=r"wanted a whole model.safetensors"):
        check_base(config)
    with pytest.raises(InputError, match=r"the base's weights cannot be loaded"):
        load_base(config)
    weights.rename(folder / "pytorch_model.bin")
    with pytest.raises(InputError, match=r"pickles such as pytorch_model.bin are never read"):
        check_base(config)


def test_another_models_tokenizer_is_refused(write_base: Callable[..., tuple[Path, Any]]) -> None:
    """More tokens than embeddings cannot be, far fewer are another model's; a little padding is usual."""
    folder, _ = write_base("neox")
    config = fine_tuning(folder)
    base = load_base(config)
    for vocab_size in (305, 200):
        with pytest.raises(InputError, match=rf"at most 304 tokens.*got {vocab_size} tokens"):
            start_model(config, 0, vocab_size, torch.Generator(), base)
    assert start_model(config, 0, 304, torch.Generator(), base).shape.vocab_size == 304


def test_the_digest_tells_bases_apart(write_base: Callable[..., tuple[Path, Any]]) -> None:
    """Other weights or another configuration under the same path are another base; without a base there is none."""
    folder, _ = write_base("neox")
    config = fine_tuning(folder)
    first = base_digest(config)
    assert base_digest(config) == first
    stored = load_file(folder / "model.safetensors")
    stored["gpt_neox.final_layer_norm.bias"] += 1.0
    save_file(stored, folder / "model.safetensors", metadata={"format": "pt"})
    second = base_digest(config)
    _rewrite(folder, layer_norm_eps=1e-6)
    assert len({first, second, base_digest(config)}) == 3
    assert base_digest(ProxyConfig()) == ""
    check_base(ProxyConfig())


@pytest.mark.parametrize("kind", ["neox", "llama with shared keys, tied"])
def test_training_goes_on_from_the_base(kind: str, write_base: Callable[..., tuple[Path, Any]], corpus: Corpus) -> None:
    """The first loss is the base's own, not that of guessing, and training lowers it; gradients reach every parameter."""
    folder, _ = write_base(kind)
    config = fine_tuning(folder, learning_rate=3e-3)
    spec = next(spec for spec in corpus.specs if spec.name == "full-0")
    vocab_size = corpus.tokenizer.get_vocab_size()
    run = train_proxy(spec, corpus.drawn.samples, corpus.splits, vocab_size, config, base=load_base(config))
    exposures = run.signals.filter(run.signals["phase"] == "exposure").sort("step")
    assert run.proxies["final_loss"].item() < exposures["loss"][0]
    before = started(config, 0)
    described = cut_config(read_base_config(str(folder)), config, 0)
    assert run.model.config == described
    assert all(not torch.equal(now, then) for now, then in zip(run.model.parameters(), before.parameters(), strict=True))
