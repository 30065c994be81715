"""The bodies of the proxies: GPT-NeoX and Llama in plain torch, with the arithmetic and parameter names of transformers.

Written out, because importing transformers' own costs 130 MB and 4 seconds in every worker, more than some of these models need to
train. A test holds them to the originals: same weights, same numbers; so a checkpoint can be loaded there as well.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ROPE_BASE = 10_000.0
NEOX_ROTARY_SHARE = 0.25
LLAMA_EPSILON = 1e-6


class Rotary(nn.Module):
    """Turn heads by their position, where `turns` says so: the first `dim` coordinates of every turned block.

    x cos + (x R) sin with a fixed matrix R that swaps halves and signs: three operations instead of a dozen slices, whose backward
    passes cost more than they compute. Source: Su et al. 2021, "RoFormer", equation 34.
    """

    cos: Tensor
    sin: Tensor
    swap: Tensor

    def __init__(self, dim: int, head_dim: int, turns: tuple[bool, ...], context: int) -> None:
        super().__init__()
        half = dim // 2
        angles = torch.outer(torch.arange(context).float(), 1.0 / ROPE_BASE ** (torch.arange(0, dim, 2).float() / dim))
        cos, swap = torch.ones(context, 1, len(turns), head_dim), torch.zeros(head_dim, head_dim)
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

    def __init__(self, width: int, num_heads: int, context: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query_key_value = nn.Linear(width, 3 * width)
        self.dense = nn.Linear(width, width)
        head_dim = width // num_heads
        self.rotary = Rotary(int(NEOX_ROTARY_SHARE * head_dim), head_dim, (True, True, False), context)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (B, T, D) to (B, T, D)."""
        size, length, width = hidden.shape
        mixed = self.rotary(self.query_key_value(hidden).view(size, length, self.num_heads, 3, -1))
        query, key, value = mixed.transpose(1, 2).unbind(3)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.dense(mixed.transpose(1, 2).reshape(size, length, width))


class NeoXMlp(nn.Module):
    """Widen, gate by SiLU, narrow."""

    def __init__(self, width: int, mlp_width: int) -> None:
        super().__init__()
        self.dense_h_to_4h = nn.Linear(width, mlp_width)
        self.dense_4h_to_h = nn.Linear(mlp_width, width)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (B, T, D) to (B, T, D)."""
        return self.dense_4h_to_h(F.silu(self.dense_h_to_4h(hidden)))


class NeoXLayer(nn.Module):
    """Add attention and MLP of the same input. Source: Black et al. 2022, "GPT-NeoX-20B", section 2.1."""

    def __init__(self, width: int, num_heads: int, mlp_width: int, context: int) -> None:
        super().__init__()
        self.input_layernorm = nn.LayerNorm(width)
        self.post_attention_layernorm = nn.LayerNorm(width)
        self.attention = NeoXAttention(width, num_heads, context)
        self.mlp = NeoXMlp(width, mlp_width)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (B, T, D) to (B, T, D)."""
        return hidden + self.attention(self.input_layernorm(hidden)) + self.mlp(self.post_attention_layernorm(hidden))


class NeoXBody(nn.Module):
    """Embed, pass through the layers, normalise."""

    def __init__(self, vocab_size: int, width: int, num_layers: int, num_heads: int, mlp_width: int, context: int) -> None:
        super().__init__()
        self.embed_in = nn.Embedding(vocab_size, width)
        self.layers = nn.ModuleList(NeoXLayer(width, num_heads, mlp_width, context) for _ in range(num_layers))
        self.final_layer_norm = nn.LayerNorm(width)

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
    """Attend causally, without biases. Source: Touvron et al. 2023, "LLaMA", section 2.2."""

    def __init__(self, width: int, num_heads: int, context: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.rotary = Rotary(width // num_heads, width // num_heads, (True, True, False), context)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (B, T, D) to (B, T, D)."""
        size, length, width = hidden.shape
        mixed = torch.stack([self.q_proj(hidden), self.k_proj(hidden), self.v_proj(hidden)], 2)
        mixed = self.rotary(mixed.view(size, length, 3, self.num_heads, -1).transpose(2, 3))
        query, key, value = mixed.transpose(1, 2).unbind(3)
        mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.o_proj(mixed.transpose(1, 2).reshape(size, length, width))


class LlamaMlp(nn.Module):
    """Gate one widening by another. Source: Shazeer 2020, "GLU variants improve transformer", equation 6."""

    def __init__(self, width: int, mlp_width: int) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, mlp_width, bias=False)
        self.up_proj = nn.Linear(width, mlp_width, bias=False)
        self.down_proj = nn.Linear(mlp_width, width, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (B, T, D) to (B, T, D)."""
        return self.down_proj(F.silu(self.gate_proj(hidden)) * self.up_proj(hidden))


class LlamaLayer(nn.Module):
    """Add attention, then the MLP of the sum."""

    def __init__(self, width: int, num_heads: int, mlp_width: int, context: int) -> None:
        super().__init__()
        self.input_layernorm = nn.RMSNorm(width, eps=LLAMA_EPSILON)
        self.post_attention_layernorm = nn.RMSNorm(width, eps=LLAMA_EPSILON)
        self.self_attn = LlamaAttention(width, num_heads, context)
        self.mlp = LlamaMlp(width, mlp_width)

    def forward(self, hidden: Tensor) -> Tensor:
        """Map (B, T, D) to (B, T, D)."""
        hidden = hidden + self.self_attn(self.input_layernorm(hidden))
        return hidden + self.mlp(self.post_attention_layernorm(hidden))


class LlamaBody(nn.Module):
    """Embed, pass through the layers, normalise."""

    def __init__(self, vocab_size: int, width: int, num_layers: int, num_heads: int, mlp_width: int, context: int) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(vocab_size, width)
        self.layers = nn.ModuleList(LlamaLayer(width, num_heads, mlp_width, context) for _ in range(num_layers))
        self.norm = nn.RMSNorm(width, eps=LLAMA_EPSILON)

    @property
    def embedding(self) -> nn.Embedding:
        """Return the input embedding."""
        return self.embed_tokens

    def forward(self, embedded: Tensor) -> Tensor:
        """Map embedded tokens (B, T, D) to last hidden states (B, T, D)."""
        for layer in self.layers:
            embedded = layer(embedded)
        return self.norm(embedded)
