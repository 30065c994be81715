"""Models to start training from: random weights behind a dial, or a base checkpoint cut to a size of the ladder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from pipeline.config import ProxyConfig
from pipeline.errors import InputError
from pipeline.proxy.base import check_vocabulary, cut_config, is_buffer, kept_layers, read_base_config
from pipeline.proxy.model import HEAD, PREFIX, ProxyModel, build_model, plan_config
from pipeline.proxy.runs import MODEL_FILE

LAYER = re.compile(r"^layers\.(\d+)\.")


@dataclass(frozen=True)
class Base:
    """Hold a base checkpoint: its folder, its configuration, and its tensors in float32 under the names of `ProxyModel`."""

    folder: str
    config: Mapping[str, Any]
    tensors: Mapping[str, Tensor]


def load_base(config: ProxyConfig) -> Base | None:
    """Read the base that `config.init_from` names, or None without one. Nothing in it is ever executed.

    Where the base ties its output matrix to its embedding, the head gets a copy: the same function at the start, but from then on
    every parameter's gradient has one origin, as in proxies that start from random weights.

    Raises: InputError when the folder holds no such checkpoint.
    """
    if config.init_from is None:
        return None
    described = read_base_config(config.init_from)
    try:
        stored = load_file(Path(config.init_from, MODEL_FILE))
    except (SafetensorError, OSError) as error:
        raise _mismatch(config.init_from, f"{type(error).__name__}: {error}") from None
    kind = described["model_type"]
    tensors = {f"body.{name.removeprefix(PREFIX[kind])}": tensor.float() for name, tensor in stored.items() if not is_buffer(name)}
    head = tensors.pop(f"body.{HEAD[kind]}", None)
    embedding = tensors.get("body.embed_in.weight" if kind == "gpt_neox" else "body.embed_tokens.weight")
    if described.get("tie_word_embeddings") and embedding is not None:
        head = embedding.clone()
    return Base(config.init_from, described, tensors if head is None else {**tensors, "head.weight": head})


def ladder_configs(config: ProxyConfig, vocab_size: int) -> list[dict[str, Any]]:
    """Return the transformers configuration of every size of the ladder; a base brings its own vocabulary.

    Raises: InputError when the base cannot be read or is too shallow.
    """
    if config.init_from is None:
        return [plan_config(config, dial, vocab_size) for dial in config.ladder]
    base = read_base_config(config.init_from)
    return [cut_config(base, config, size) for size in range(len(config.ladder))]


def start_model(config: ProxyConfig, size: int, vocab_size: int, generator: torch.Generator, base: Base | None) -> ProxyModel:
    """Return the model that a proxy of a ladder size starts from: cut from the base, or else drawn from the generator.

    Raises: InputError when the base's tensors are not those that its configuration asks for, or the tokenizer is not its own.
    """
    if base is None:
        return build_model(config, config.ladder[size], vocab_size, generator)
    check_vocabulary(base.config, vocab_size, base.folder)
    model = ProxyModel(cut_config(base.config, config, size))
    kept = {old: new for new, old in enumerate(kept_layers(base.config["num_hidden_layers"], model.shape.num_layers))}
    tensors = {renamed: tensor.clone() for name, tensor in base.tensors.items() if (renamed := _renumbered(name, kept)) is not None}
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise _mismatch(base.folder, str(error)) from None
    return model


def _renumbered(name: str, kept: Mapping[int, int]) -> str | None:
    """Return a tensor's name in the cut model, None where its layer is gone."""
    found = LAYER.match(name.removeprefix("body."))
    if found is None:
        return name
    new = kept.get(int(found[1]))
    return None if new is None else f"body.layers.{new}." + name.removeprefix("body.")[found.end() :]


def _mismatch(folder: str, got: str) -> InputError:
    return InputError(
        "the base's weights cannot be loaded",
        where=f"{folder}/{MODEL_FILE}",
        wanted="the tensors that its config.json describes",
        got=" ".join(got.split())[:300],
        do="export model and configuration together with save_pretrained",
    )
