"""What a transformers configuration says about a model's arithmetic, for the two families that are spoken here.

Both spellings of rotary settings are read: `rope_parameters` of newer configurations, and the loose keys of older ones. Nothing here
needs torch, so that a base can be refused before anything is computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

ACTIVATIONS = ("silu", "swish", "relu", "gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh")
ROPE_BASE = 10_000.0
NEOX_ROTARY_SHARE = 0.25
EPSILON = {"gpt_neox": 1e-5, "llama": 1e-6}
FAMILIES = ("gpt_neox", "llama")


@dataclass(frozen=True)
class Shape:
    """Hold everything that determines a model's parameters and what they do; widths and lengths in units, not bytes."""

    architecture: Literal["gpt_neox", "llama"]
    num_layers: int
    width: int
    num_heads: int
    mlp_width: int
    context: int
    vocab_size: int
    num_kv_heads: int
    head_dim: int
    rotary_dim: int  # first coordinates of a head that are turned
    rope_base: float
    activation: str
    epsilon: float
    is_parallel: bool  # GPT-NeoX: attention and MLP read the same input
    has_attention_bias: bool
    has_mlp_bias: bool

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> Shape:
        """Read the shape from a transformers configuration's values.

        Raises: KeyError, ValueError when they are not there or make no model; `faults_of` says in words what is wrong.
        """
        if faults := faults_of(config):
            raise ValueError("; ".join(faults))
        kind, is_neox = config["model_type"], config["model_type"] == "gpt_neox"
        heads = config["num_attention_heads"]
        head_dim = config.get("head_dim") or config["hidden_size"] // heads
        share = _rotary(config, "partial_rotary_factor", "rotary_pct", NEOX_ROTARY_SHARE) if is_neox else 1.0
        return cls(
            kind,
            config["num_hidden_layers"],
            config["hidden_size"],
            heads,
            config["intermediate_size"],
            config["max_position_embeddings"],
            config["vocab_size"],
            heads if is_neox else config.get("num_key_value_heads") or heads,
            head_dim,
            int(share * head_dim),
            float(_rotary(config, "rope_theta", "rotary_emb_base" if is_neox else "rope_theta", ROPE_BASE)),
            _activation(config),
            float(config.get("layer_norm_eps" if is_neox else "rms_norm_eps", EPSILON[kind])),
            bool(config.get("use_parallel_residual", True)),
            bool(config.get("attention_bias", is_neox)),
            is_neox or bool(config.get("mlp_bias", False)),
        )


def faults_of(config: Mapping[str, Any]) -> list[str]:
    """Say what in a configuration is not spoken here; an empty list where all is."""
    kind = config.get("model_type")
    if kind not in FAMILIES:
        return [f"model_type is {kind}, wanted {' or '.join(FAMILIES)}"]
    faults = []
    if _activation(config) not in ACTIVATIONS:
        faults.append(f"hidden_act is {_activation(config)}, wanted one of {', '.join(ACTIVATIONS)}")
    scaling = config.get("rope_scaling") or config.get("rope_parameters") or {}
    if (kind_of_rope := scaling.get("rope_type", scaling.get("type", "default"))) != "default":
        faults.append(f"positions are scaled ({kind_of_rope}), wanted plain rotary positions")
    if config.get("auto_map"):
        faults.append("the model brings code of its own (auto_map), which is never run")
    if config.get("quantization_config"):
        faults.append("the weights are quantized, wanted float32, float16 or bfloat16")
    return faults


def _activation(config: Mapping[str, Any]) -> str:
    return str(config.get("hidden_act", "gelu" if config["model_type"] == "gpt_neox" else "silu"))


def _rotary(config: Mapping[str, Any], name: str, older: str, default: float) -> float:
    return float((config.get("rope_parameters") or {}).get(name, config.get(older, default)))
