"""Proxy language models: a GPT-NeoX or Llama body behind one dial, and their arithmetic.

Dial d means floor(d) layers of width 24 d, rounded to what this arithmetic likes: dials 2, 2.5, 3, 4 have about 0.06, 0.10, 0.15, 0.45
million non-embedding parameters. Widths are multiples of 16, because others cost more time a parameter on CPUs (body of three layers:
width 64 35,000 tokens/s, 72 28,900, 80 24,900, measured). SiLU, because erf is slow. Embeddings are untied: every parameter's gradient
has one origin.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from pipeline.config import ProxyConfig
from pipeline.errors import IntegrityError
from pipeline.proxy.shape import Shape
from pipeline.proxy.transformer import LlamaBody, NeoXBody

WIDTH_PER_DIAL, WIDTH_MULTIPLE, MAX_HEAD_DIM = 24, 16, 32
INIT_SD = 0.02
PREFIX = {"gpt_neox": "gpt_neox.", "llama": "model."}
HEAD = {"gpt_neox": "embed_out.weight", "llama": "lm_head.weight"}


class ProxyModel(nn.Module):
    """Hold a transformer body and an output matrix of its own; logits are left to `losses`, which needs them only once."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        self.config = dict(config)
        shape = self.shape = Shape.of(config)
        self.body = NeoXBody(shape) if shape.architecture == "gpt_neox" else LlamaBody(shape)
        self.head = nn.Linear(shape.width, shape.vocab_size, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the last hidden states (B, T, D) of tokens (B, T), padded at the right if at all.

        No mask is needed: under causal attention a true token never sees the padding behind it.
        """
        return self.body(self.embedding(tokens))

    @property
    def embedding(self) -> nn.Embedding:
        """Return the input embedding."""
        return self.body.embedding

    def count_parameters(self) -> int:
        """Count the parameters other than the input embedding and the output matrix."""
        total = sum(parameter.numel() for parameter in self.parameters())
        return total - self.embedding.weight.numel() - self.head.weight.numel()


def plan_config(config: ProxyConfig, dial: float, vocab_size: int) -> dict[str, Any]:
    """Turn the dial, 1 or more, into the values of a transformers configuration (GPTNeoXConfig or LlamaConfig).

    Heads have 8 to 32 dimensions, a multiple of 8 so that a quarter of them can be turned in pairs.
    """
    width = max(1, round(WIDTH_PER_DIAL * dial / WIDTH_MULTIPLE - 0.01)) * WIDTH_MULTIPLE
    num_heads = -(-width // MAX_HEAD_DIM)
    while width % num_heads or width // num_heads % 8:
        num_heads += 1
    is_neox = config.architecture == "gpt_neox"
    planned = _config_class(config)(
        vocab_size=vocab_size,
        hidden_size=width,
        num_hidden_layers=int(dial),
        num_attention_heads=num_heads,
        intermediate_size=4 * width if is_neox else -(-8 * width // 3 // 16) * 16,
        max_position_embeddings=config.context,
        hidden_act="silu",
        tie_word_embeddings=False,
        bos_token_id=None,
        eos_token_id=None,
        architectures=["GPTNeoXForCausalLM" if is_neox else "LlamaForCausalLM"],
    )
    return dict(planned.to_dict())


def _config_class(config: ProxyConfig) -> Any:
    """Import one configuration by its module: together, or from transformers' top level, they bring torch._dynamo, 80 MB a worker."""
    if config.architecture == "gpt_neox":
        from transformers.models.gpt_neox.configuration_gpt_neox import GPTNeoXConfig

        return GPTNeoXConfig
    from transformers.models.llama.configuration_llama import LlamaConfig

    return LlamaConfig


def build_model(config: ProxyConfig, dial: float, vocab_size: int, generator: torch.Generator) -> ProxyModel:
    """Build an untrained proxy; its weights are a function of the generator alone.

    Matrices are drawn from N(0, 0.02), those that write to the residual stream from N(0, 0.02 / sqrt(2 layers)).
    Source: Radford et al. 2019, section 2.3.
    """
    model = ProxyModel(plan_config(config, dial, vocab_size))
    residual_sd = INIT_SD / (2 * model.shape.num_layers) ** 0.5
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1:
                parameter.fill_(0.0 if name.endswith("bias") else 1.0)
            else:
                writes = name.endswith(("dense.weight", "dense_4h_to_h.weight", "o_proj.weight", "down_proj.weight"))
                parameter.normal_(0.0, residual_sd if writes else INIT_SD, generator=generator)
    return model


def count_flops(model: ProxyModel, length: int) -> float:
    """Return the floating-point operations of a forward pass, per token of a window of `length` tokens.

    2 for every weight of a matrix, 4 x width of all heads x length a layer for attention (all positions, as kernels count them), 2 x
    width x vocabulary for the logits. Training costs three times as much.
    Source: Kaplan et al. 2020, section 2.1, table 1, with logits and full attention counted.
    """
    shape = model.shape
    weights = sum(p.numel() for n, p in model.body.named_parameters() if p.ndim == 2) - model.embedding.weight.numel()
    attention = shape.num_layers * shape.num_heads * shape.head_dim
    return 2.0 * weights + 4.0 * attention * length + 2.0 * shape.width * shape.vocab_size


def save_checkpoint(model: ProxyModel) -> tuple[bytes, bytes]:
    """Return a model as the bytes of `model.safetensors` and `config.json`; the same weights give the same bytes.

    Names are those of transformers, whose AutoModelForCausalLM loads a folder with the two.
    """
    kind = model.shape.architecture
    body = {PREFIX[kind] + name: tensor.cpu().clone() for name, tensor in model.body.state_dict().items()}
    tensors = dict(sorted({**body, HEAD[kind]: model.head.weight.detach().cpu().clone()}.items()))
    # one metadata key only: the library writes several in an order that changes from run to run
    return save_tensors(tensors, metadata={"format": "pt"}), json.dumps(model.config, indent=1, sort_keys=True).encode()


def load_checkpoint(weights: bytes, config: bytes) -> ProxyModel:
    """Rebuild a model from the bytes of `model.safetensors` and `config.json`. Nothing in either is ever executed.

    Raises: IntegrityError when the two don't make a proxy.
    """
    try:
        model = ProxyModel(json.loads(config))
        kind, tensors = model.shape.architecture, load_tensors(weights)
        head = tensors.pop(HEAD[kind])
        model.body.load_state_dict({name.removeprefix(PREFIX[kind]): tensor for name, tensor in tensors.items()})
        model.head.load_state_dict({"weight": head})
    except (KeyError, ValueError, RuntimeError, TypeError) as error:
        raise IntegrityError("not a proxy's checkpoint", got=f"{type(error).__name__}: {error}", do="run the audit again") from error
    return model.eval()
