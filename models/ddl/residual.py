"""The residual connections: addition, and the delta update with its compressors (FORMAT.md 3.3-3.5).

The state is X[t, i, j], feature i, value channel j. Here it is held as [B, T, d_v, d], features
innermost, so that every product below runs over contiguous rows; `trace` and the checkpoints use
FORMAT.md's order.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import ModelConfig


class DeltaUpdate(nn.Module):
    """X <- X + beta k (v - k^T X)^T: erases what X holds along k and writes v there."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d = config.hidden_size
        self.config = config
        self.v_proj = nn.Linear(d, config.d_v)
        if config.ddl_beta_single_linear:
            self.beta = nn.Linear(d, 1)
        else:
            self.beta_in = nn.Linear(d, config.ddl_beta_hidden_size, bias=False)
            self.beta_out = nn.Linear(config.ddl_beta_hidden_size, 1)

    def gate(self, c: Tensor) -> Tensor:
        """beta in (0, 2), [B, T, 1], from the normalised input c."""
        if self.config.ddl_beta_single_linear:
            return 2 * self.beta(c).sigmoid()
        return 2 * self.beta_out(self.beta_in(c).tanh()).sigmoid()

    def target(self, x_in: Tensor) -> Tensor:
        """v, [B, T, d_v], from the input before normalisation."""
        constant = self.config.constant_v
        if constant is not None:
            return x_in.new_full((*x_in.shape[:-1], self.config.d_v), constant)
        v = self.v_proj(x_in)
        return self.config.ddl_v_sigmoid_scale * v.sigmoid() if self.config.ddl_v_sigmoid else v

    def direction(self, h: Tensor) -> Tensor:
        """k, the sublayer output h at unit length, [B, T, d]."""
        return h * torch.rsqrt(h.square().sum(-1, keepdim=True) + self.config.ddl_k_eps ** 2)

    @staticmethod
    def project(X: Tensor, k: Tensor) -> Tensor:
        """k^T X, [B, T, d_v]."""
        return (X * k.unsqueeze(-2)).sum(-1)

    @staticmethod
    def write(X: Tensor, k: Tensor, beta: Tensor, v: Tensor, proj: Tensor) -> Tensor:
        return torch.addcmul(X, (beta * (v - proj)).unsqueeze(-1), k.unsqueeze(-2))


class ChannelCompressor(nn.Module):
    """CC: a "same" convolution along the value axis, then the read vector, folded into one."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d, d_v = config.hidden_size, config.d_v
        self.weight = nn.Parameter(torch.zeros(d, d_v))
        self.read = nn.Parameter(torch.full((d_v,), 1 / d_v))
        with torch.no_grad():
            self.weight[:, (d_v - 1) // 2] = 1  # the identity

    def folded(self) -> Tensor:
        """w_eff[j, i] = sum_n read[n] w[i, j - n + p], [d_v, d]."""
        d_v = self.read.shape[0]
        p = (d_v - 1) // 2
        rows = []
        for j in range(d_v):
            taps = [n for n in range(d_v) if 0 <= j - n + p < d_v]
            rows.append(sum(self.read[n] * self.weight[:, j - n + p] for n in taps))
        return torch.stack(rows)

    def forward(self, X: Tensor) -> Tensor:
        return (X * self.folded()).sum(-2)


class TokenCompressor(nn.Module):
    """TC: a causal depthwise convolution along the tokens, then the read vector."""

    class _Taps(nn.Module):
        def __init__(self, channels: int, kernel: int) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(channels, kernel))
            with torch.no_grad():
                self.weight[:, -1] = 1  # the identity: the last tap is the current token

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.shortconv = self._Taps(
            config.hidden_size * config.d_v, config.ddl_state_shortconv_kernel_size)
        self.read = nn.Parameter(torch.full((config.d_v,), 1 / config.d_v))

    def forward(self, X: Tensor) -> Tensor:
        d_v, d = X.shape[-2:]
        kernel = self.shortconv.weight.shape[-1]
        taps = self.shortconv.weight.view(d, d_v, kernel) * self.read.view(1, d_v, 1)
        return causal_taps(X, taps.permute(2, 1, 0)).sum(-2)


class EmbeddingExpander(nn.Module):
    """EC: a causal depthwise convolution of the embeddings makes the d_v channels of the state."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        kernel = config.input_embed_shortconv_kernel_size
        self.conv = nn.Conv1d(config.hidden_size, config.hidden_size * config.d_v, kernel,
                              groups=config.hidden_size, bias=False)
        with torch.no_grad():
            self.conv.weight.zero_()
            self.conv.weight[..., -1] = 1  # plain repetition

    def forward(self, e: Tensor) -> Tensor:
        """e: [B, T, d] -> X: [B, T, d_v, d]."""
        d = e.shape[-1]
        taps = self.conv.weight.view(d, -1, self.conv.weight.shape[-1]).permute(2, 1, 0)
        return causal_taps(e.unsqueeze(-2), taps)


def causal_taps(x: Tensor, taps: Tensor) -> Tensor:
    """sum_s taps[s] * x[t - (K - 1) + s], zeros before the first token.

    x: [B, T, d_v or 1, d]; taps: [K, d_v, d]; the last tap meets the current token.
    """
    kernel, length = taps.shape[0], x.shape[1]
    padded = F.pad(x, (0, 0, 0, 0, kernel - 1, 0))
    return sum(taps[s] * padded[:, s:s + length] for s in range(kernel))
