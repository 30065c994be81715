"""The bodies of the proxies: GPT-NeoX and Llama in plain torch, with the arithmetic and parameter names of transformers.

Written out, because importing transformers' own costs 130 MB and 4 seconds in every worker, more than some of these models need to
train. A test holds them to the originals: same weights, same numbers; so a checkpoint can be loaded there as well, and theirs here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.proxy.shape import Shape

TANH_GELU = partial(F.gelu, approximate="tanh")
ACTIVATIONS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "silu": F.silu,
    "swish": F.silu,
    "relu": F.relu,
    "gelu": F.gelu,
    "gelu_new": TANH_GELU,
    "gelu_fast": TANH_GELU,
    "gelu_pytorch_tanh": TANH_GELU,
}


class Rotary(nn.Module):
    """Turn heads by their position, where `turns` says so: the first `dim` coordinates of every turned block.

    x cos + (x R) sin with a fixed matrix R that swaps halves and signs: three operations instead of a dozen slices, whose backward
    passes cost more than they compute. Source: Su et al. 2021, "RoFormer", equation 34.
    """

    cos: Tensor
    sin: Tensor
    swap: Tensor

    def __init__(self, shape: Shape, turns: tuple[bool, ...]) -> None:
        super().__init__()
        dim, half = shape.rotary_dim, shape.rotary_dim // 2
        angles = torch.outer(torch.arange(shape.context).float(), 1.0 / shape.rope_base ** (torch.arange(0, dim, 2).float() / dim))
        cos, swap = torch.ones(shape.context, 1, len(turns), shape.head_dim), torch.zeros(shape.head_dim, shape.head_dim)
        sin = torch.zeros_like(cos)
        for block in (block for block, is_turned in enumerate(turns) if is_turned):
            cos[:, 0, block, :dim] = torch.cat([angles, angles], 1).cos()
            sin[:, 0, block, :dim] = torch.cat([angles, angles], 1).sin()
        at = torch.arange(half)
        swap[at + half, at], swap[at, at + half] = -1.0, 1.0
        for name, table in (("cos", cos), ("sin", sin), ("swap", swap)):
            self.register_buffer(name, table, persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        """Map (B, T, H, blocks, head dim) to the same shape."""
        length = values.shape[1]
        return torch.addcmul(values * self.cos[:length], values @ self.swap, self.sin[:length])


class NeoXAttention(nn.Module):
    """Attend causally; queries, keys and values come from one matrix, head by head."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.num_heads = shape.num_heads
        self.query_key_value = nn.Linear(shape.width, 3 * shape.width, bias=shape.has_attention_bias)
        self.dense = nn.Linear(shape.width, shape.width, bias=shape.has_attention_bias)
        self.rotary = Rotary(shape, (True, True, False))

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (B, T, D) to (B, T, D)."""
        size, length, width = hidden.shape
        mixed = self.rotary(self.query_key_value(hidden).view(size, length, self.num_heads, 3, -1))
        query, key, value = mixed.transpose(1, 2).unbind(3)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.dense(mixed.transpose(1, 2).reshape(size, length, width))


class NeoXMlp(nn.Module):
    """Widen, activate, narrow."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.dense_h_to_4h = nn.Linear(shape.width, shape.mlp_width)
        self.dense_4h_to_h = nn.Linear(shape.mlp_width, shape.width)
        self.activate = ACTIVATIONS[shape.activation]

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (B, T, D) to (B, T, D)."""
        return self.dense_4h_to_h(self.activate(self.dense_h_to_4h(hidden)))


class NeoXLayer(nn.Module):
    """Add attention and MLP of the same input, or one after the other. Source: Black et al. 2022, "GPT-NeoX-20B", section 2.1."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.is_parallel = shape.is_parallel
        self.input_layernorm = nn.LayerNorm(shape.width, eps=shape.epsilon)
        self.post_attention_layernorm = nn.LayerNorm(shape.width, eps=shape.epsilon)
        self.attention = NeoXAttention(shape)
        self.mlp = NeoXMlp(shape)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (B, T, D) to (B, T, D)."""
        if not self.is_parallel:
            hidden = hidden + self.attention(self.input_layernorm(hidden))
            return hidden + self.mlp(self.post_attention_layernorm(hidden))
        return hidden + self.attention(self.input_layernorm(hidden)) + self.mlp(self.post_attention_layernorm(hidden))


class NeoXBody(nn.Module):
    """Embed, pass through the layers, normalise."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embed_in = nn.Embedding(shape.vocab_size, shape.width)
        self.layers = nn.ModuleList(NeoXLayer(shape) for _ in range(shape.num_layers))
        self.final_layer_norm = nn.LayerNorm(shape.width, eps=shape.epsilon)

    @property
    def embedding(self) -> nn.Embedding:
        """Return the input embedding."""
        return self.embed_in

    def forward(self, embedded: Tensor) -> Tensor:
        """Map embedded tokens (B, T, D) to last hidden states (B, T, D)."""
        for layer in self.layers:
            embedded = layer(embedded)
        return self.final_layer_norm(embedded)


class LlamaAttention(nn.Module):
    """Attend causally; several heads may share keys and values.

    Source: Touvron et al. 2023, "LLaMA", section 2.2; Ainslie et al. 2023, "GQA", section 2.2.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.num_heads, self.num_kv_heads = shape.num_heads, shape.num_kv_heads
        inner, shared = shape.num_heads * shape.head_dim, shape.num_kv_heads * shape.head_dim
        self.q_proj, self.k_proj, self.v_proj = (
            nn.Linear(shape.width, size, bias=shape.has_attention_bias) for size in (inner, shared, shared)
        )
        self.o_proj = nn.Linear(inner, shape.width, bias=shape.has_attention_bias)
        self.rotary = Rotary(shape, (True, True, False) if self.num_heads == self.num_kv_heads else (True,))

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (B, T, D) to (B, T, D)."""
        size, length, _ = hidden.shape
        projected = self.q_proj(hidden), self.k_proj(hidden), self.v_proj(hidden)
        query, key, value = self._turn(*projected) if self.num_heads == self.num_kv_heads else self._turn_shared(*projected)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.o_proj(mixed.transpose(1, 2).reshape(size, length, -1))

    def _turn(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        mixed = torch.stack([query, key, value], 2)
        mixed = self.rotary(mixed.view(*query.shape[:2], 3, self.num_heads, -1).transpose(2, 3))
        return mixed.transpose(1, 2).unbind(3)

    def _turn_shared(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, ...]:
        count, shared = self.num_heads, self.num_kv_heads
        turned = torch.cat([query, key], 2).view(*query.shape[:2], count + shared, 1, -1)
        query, key = self.rotary(turned)[:, :, :, 0].transpose(1, 2).split([count, shared], 1)
        value = value.view(*value.shape[:2], shared, -1).transpose(1, 2)
        return query, key.repeat_interleave(count // shared, 1), value.repeat_interleave(count // shared, 1)


class LlamaMlp(nn.Module):
    """Gate one widening by another. Source: Shazeer 2020, "GLU variants improve transformer", equation 6."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(shape.width, shape.mlp_width, bias=shape.has_mlp_bias)
        self.up_proj = nn.Linear(shape.width, shape.mlp_width, bias=shape.has_mlp_bias)
        self.down_proj = nn.Linear(shape.mlp_width, shape.width, bias=shape.has_mlp_bias)
        self.activate = ACTIVATIONS[shape.activation]

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (B, T, D) to (B, T, D)."""
        return self.down_proj(self.activate(self.gate_proj(hidden)) * self.up_proj(hidden))


class LlamaLayer(nn.Module):
    """Add attention, then the MLP of the sum."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(shape.width, eps=shape.epsilon)
        self.post_attention_layernorm = nn.RMSNorm(shape.width, eps=shape.epsilon)
        self.self_attn = LlamaAttention(shape)
        self.mlp = LlamaMlp(shape)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (B, T, D) to (B, T, D)."""
        hidden = hidden + self.self_attn(self.input_layernorm(hidden))
        return hidden + self.mlp(self.post_attention_layernorm(hidden))


class LlamaBody(nn.Module):
    """Embed, pass through the layers, normalise."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(shape.vocab_size, shape.width)
        self.layers = nn.ModuleList(LlamaLayer(shape) for _ in range(shape.num_layers))
        self.norm = nn.RMSNorm(shape.width, eps=shape.epsilon)

    @property
    def embedding(self) -> nn.Embedding:
        """Return the input embedding."""
        return self.embed_tokens

    def forward(self, embedded: Tensor) -> Tensor:
        """Map embedded tokens (B, T, D) to last hidden states (B, T, D)."""
        for layer in self.layers:
            embedded = layer(embedded)
        return self.norm(embedded)
