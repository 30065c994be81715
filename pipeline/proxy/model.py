"""Proxy language models: a GPT-NeoX or Llama body behind one dial, and their arithmetic.

Dial d means d layers of width 24 d, rounded to what this arithmetic likes: dials 2, 3, 4 have about 0.06, 0.15, 0.45 million
non-embedding parameters. Widths are multiples of 16, because others cost more time a parameter on CPUs (body of three layers: width 64
35,000 tokens/s, 72 28,900, 80 24,900, measured). SiLU, because erf is slow. Embeddings are untied, so that every parameter's gradient
has one origin.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Literal

import torch
from safetensors import safe_open
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from pipeline.config import ProxyConfig
from pipeline.errors import IntegrityError
from pipeline.proxy.transformer import LlamaBody, NeoXBody

WIDTH_PER_DIAL, WIDTH_MULTIPLE, MAX_HEAD_DIM = 24, 16, 32
INIT_SD = 0.02


@dataclass(frozen=True)
class Shape:
    """Hold everything that determines a model's parameters."""

    architecture: Literal["gpt_neox", "llama"]
    num_layers: int
    width: int
    num_heads: int
    mlp_width: int
    context: int
    vocab_size: int


class ProxyModel(nn.Module):
    """Hold a transformer body and an output matrix of its own; logits are left to `losses`, which needs them only once."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        body = NeoXBody if shape.architecture == "gpt_neox" else LlamaBody
        self.body = body(shape.vocab_size, shape.width, shape.num_layers, shape.num_heads, shape.mlp_width, shape.context)
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


def plan_shape(config: ProxyConfig, dial: int, vocab_size: int) -> Shape:
    """Turn the dial into layers, width and heads of 8 to 32 dimensions, a multiple of 8 so that a quarter of them turn in pairs."""
    width = max(1, round(WIDTH_PER_DIAL * dial / WIDTH_MULTIPLE - 0.01)) * WIDTH_MULTIPLE
    num_heads = -(-width // MAX_HEAD_DIM)
    while width % num_heads or width // num_heads % 8:
        num_heads += 1
    mlp_width = 4 * width if config.architecture == "gpt_neox" else -(-8 * width // 3 // 16) * 16
    return Shape(config.architecture, dial, width, num_heads, mlp_width, config.context, vocab_size)


def build_model(config: ProxyConfig, dial: int, vocab_size: int, generator: torch.Generator) -> ProxyModel:
    """Build an untrained proxy; its weights are a function of the generator alone.

    Matrices are drawn from N(0, 0.02), those that write to the residual stream from N(0, 0.02 / sqrt(2 layers)).
    Source: Radford et al. 2019, section 2.3.
    """
    model = ProxyModel(plan_shape(config, dial, vocab_size))
    residual_sd = INIT_SD / (2 * dial) ** 0.5
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

    2 for every weight of a matrix, 4 x width x length a layer for attention (all positions, as kernels count them), 2 x width x
    vocabulary for the logits. Training costs three times as much.
    Source: Kaplan et al. 2020, section 2.1, table 1, with logits and full attention counted.
    """
    shape = model.shape
    weights = sum(p.numel() for n, p in model.body.named_parameters() if p.ndim == 2) - model.embedding.weight.numel()
    return 2.0 * weights + 4.0 * shape.num_layers * shape.width * length + 2.0 * shape.width * shape.vocab_size


def save_checkpoint(model: ProxyModel) -> bytes:
    """Return a model as the bytes of a safetensors file; the same weights give the same bytes."""
    tensors = {name: tensor.clone() for name, tensor in sorted(model.state_dict().items())}
    # one metadata key only: the library writes several in an order that changes from run to run
    return save_tensors(tensors, metadata={"shape": json.dumps(asdict(model.shape), sort_keys=True)})


def load_checkpoint(path: str) -> ProxyModel:
    """Rebuild a model from a local safetensors file.

    Raises: IntegrityError when the file isn't a proxy's.
    """
    with open(path, "rb") as file:
        data = file.read()
    with safe_open(path, framework="pt") as opened:
        metadata = opened.metadata() or {}
    if "shape" not in metadata:
        raise IntegrityError("not a proxy's checkpoint", where=path, wanted="metadata 'shape'", do="run the audit again")
    model = ProxyModel(Shape(**json.loads(metadata["shape"])))
    model.load_state_dict(load_tensors(data))
    return model.eval()
