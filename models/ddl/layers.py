"""The sublayers every variant shares: RMSNorm, rotary attention, gated MLP (FORMAT.md 3.1, 3.2).

Shapes: B batch, T tokens, d hidden size, H heads, D head dimension.
"""

from __future__ import annotations

from typing import Optional

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import ModelConfig


class RMSNorm(nn.Module):
    """w * x / sqrt(mean(x^2) + eps) over the last axis."""

    def __init__(self, width: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps))


def activate(x: Tensor, name: Optional[str]) -> Tensor:
    if name == "silu":
        return F.silu(x)
    if name == "relu":
        return F.relu(x)
    if name == "elu+1":
        return F.elu(x) + 1
    return x


class Rope(nn.Module):
    """Rotates the first `rotated` entries of each head, in halves, at absolute positions."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        rotated = int(config.head_dim * config.rope_ratio)
        self.rotated = rotated - rotated % 2
        # float32 also when the model runs in float64: the tables are part of the model.
        exponents = torch.arange(0, self.rotated, 2, dtype=torch.float32) / max(self.rotated, 1)
        self.inverse_frequencies = 1.0 / (config.rope_base ** exponents)

    def tables(self, length: int, like: Tensor) -> tuple[Tensor, Tensor]:
        """cos and sin, [T, rotated / 2]."""
        positions = torch.arange(length, dtype=torch.float32)
        angles = torch.outer(positions, self.inverse_frequencies)
        return angles.cos().to(like), angles.sin().to(like)

    def forward(self, x: Tensor, tables: tuple[Tensor, Tensor]) -> Tensor:
        """x: [B, H, T, D]."""
        if self.rotated == 0:
            return x
        cos, sin = tables
        a, b, rest = x.split([self.rotated // 2, self.rotated // 2, x.shape[-1] - self.rotated], -1)
        return torch.cat([a * cos - b * sin, a * sin + b * cos, rest], -1)


class ShiftedLinear(nn.Module):
    """A projection whose heads mix in the previous token: a_t u_{t-1} + (1 - a_t) u_t."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        heads, head_dim = config.num_attention_heads, config.head_dim
        self.linear = nn.Linear(config.hidden_size, heads * head_dim, bias=False)
        self.shift_proj = nn.Linear(config.hidden_size, heads, bias=False)

    def forward(self, c: Tensor) -> Tensor:
        u = self.linear(c)
        if c.shape[1] == 1:  # the reference leaves a pass over a single token unscaled
            return u
        heads = self.shift_proj.out_features
        u = u.unflatten(-1, (heads, -1))
        previous = F.pad(u, (0, 0, 0, 0, 1, 0))[:, :-1]
        mix = self.shift_proj(c).sigmoid().unsqueeze(-1)
        return (mix * previous + (1 - mix) * u).flatten(-2)


class Attention(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d, width = config.hidden_size, config.num_attention_heads * config.head_dim
        self.config = config
        self.rope = Rope(config)
        self.c_q = nn.Linear(d, width, bias=False)
        self.c_k = ShiftedLinear(config) if config.use_k_shift else nn.Linear(d, width, bias=False)
        self.c_v = ShiftedLinear(config) if config.use_v_shift else nn.Linear(d, width, bias=False)
        self.c_proj = nn.Linear(width, d, bias=False)
        if config.use_qk_rmsnorm:
            self.q_rms = RMSNorm(config.head_dim)
            self.k_rms = RMSNorm(config.head_dim)
        if config.using_groupnorm:
            self.subln = RMSNorm(config.head_dim)
        if config.use_output_gate:
            self.g_proj = nn.Linear(d, width, bias=False)
            if not config.using_groupnorm:
                self.o_norm = RMSNorm(config.head_dim, config.rms_norm_eps)

    def forward(self, c: Tensor, visible: Tensor) -> Tensor:
        """c: [B, T, d]; visible: [T, T] or [B, 1, T, T], whether a query may see a key."""
        config = self.config
        heads = (config.num_attention_heads, config.head_dim)
        q, k, v = (
            activate(projection(c), activation).unflatten(-1, heads).transpose(1, 2)
            for projection, activation in (
                (self.c_q, config.q_activation),
                (self.c_k, config.k_activation),
                (self.c_v, config.v_activation)))
        tables = self.rope.tables(c.shape[1], c)
        q, k = self.rope(q, tables), self.rope(k, tables)
        if config.use_qk_rmsnorm:  # after RoPE: the learnt weights multiply rotated entries
            q, k = self.q_rms(q), self.k_rms(k)

        scores = (q * config.head_dim ** -0.5) @ k.transpose(-1, -2)
        y = scores.masked_fill(~visible, float("-inf")).softmax(-1) @ v  # [B, H, T, D]

        if config.using_groupnorm:
            y = self.subln(y)
        elif config.use_output_gate:
            y = self.o_norm(y)
        y = y.transpose(1, 2).flatten(-2)
        if config.use_output_gate:
            y = y * F.silu(self.g_proj(c))
        return self.c_proj(y)


class MLP(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d, width = config.hidden_size, config.mlp_width
        self.c_fc1 = nn.Linear(d, width, bias=False)
        self.c_fc2 = nn.Linear(d, width, bias=False)
        self.c_proj = nn.Linear(width, d, bias=False)

    def forward(self, c: Tensor) -> Tensor:
        return self.c_proj(F.silu(self.c_fc1(c)) * self.c_fc2(c))
