"""The decoder: embedding, blocks around a residual state, readout, tied head (FORMAT.md 3.3)."""

from __future__ import annotations

import pathlib
from collections import defaultdict
from typing import Optional

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from .config import ModelConfig
from .layers import MLP, Attention, RMSNorm
from .residual import ChannelCompressor, DeltaUpdate, EmbeddingExpander, TokenCompressor


def _compressor(config: ModelConfig) -> nn.Module:
    return TokenCompressor(config) if config.is_token_compressed else ChannelCompressor(config)


class Trace:
    """Collects the intermediate values of a forward pass under FORMAT.md's names and layout."""

    def __init__(self) -> None:
        self._values: dict[str, list[Tensor]] = defaultdict(list)

    def add(self, name: str, value: Tensor) -> None:
        if name == "state" and value.dim() == 4:
            value = value.transpose(-1, -2)
        self._values[name].append(value.detach())

    def __getitem__(self, name: str) -> Tensor:
        """All values of one name, stacked in the order they were made."""
        return torch.stack(self._values[name])


class Block(nn.Module):
    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.ln_1 = RMSNorm(config.hidden_size, config.block_norm_eps)
        self.ln_2 = RMSNorm(config.hidden_size, config.block_norm_eps)
        self.attn = Attention(config)
        self.mlp = MLP(config)
        if not config.is_additive:
            self.ddl_attn = DeltaUpdate(config)
            self.ddl_mlp = DeltaUpdate(config)
        if config.d_v > 1 or config.is_token_compressed or config.is_channel_compressed:
            self.compress = _compressor(config)


class Decoder(nn.Module):
    """All six residual kinds. Module names are the checkpoint's tensor names."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.transformer = nn.ModuleDict({
            "wte": nn.Embedding(config.vocab_size, config.hidden_size),
            "h": nn.ModuleList(Block(config) for _ in range(config.num_hidden_layers)),
        })
        self.ln_f = RMSNorm(config.hidden_size, config.block_norm_eps)
        if config.is_token_compressed or config.is_channel_compressed:
            self.readout = _compressor(config)
        if config.expands_embedding:
            self.input_embed = EmbeddingExpander(config)

    def forward(self, tokens: Tensor, segments: Optional[Tensor] = None,
                trace: Optional[Trace] = None) -> Tensor:
        """tokens: [B, T] -> logits [B, T, V].

        segments: [B, T]; tokens of different segments do not attend to each other, which lets
        one training row hold several documents.
        """
        config = self.config
        visible = torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool,
                             device=tokens.device).tril()
        if segments is not None:
            same = segments.unsqueeze(-1) == segments.unsqueeze(-2)
            visible = (visible & same).unsqueeze(1)

        e = self.transformer["wte"](tokens)
        if config.is_additive:
            r = self._run_additive(e, visible, trace)
        else:
            r = self._run_delta(e, visible, trace)
        final = self.ln_f(r)
        logits = F.linear(final, self.transformer["wte"].weight)
        if config.mup:
            logits = logits * (config.hidden_size_base / config.hidden_size)
        if trace is not None:
            trace.add("readout", r)
            trace.add("final_norm", final)
        return logits

    def _run_additive(self, x: Tensor, visible: Tensor, trace: Optional[Trace]) -> Tensor:
        for block in self.transformer["h"]:
            for norm, sublayer in ((block.ln_1, lambda c: block.attn(c, visible)),
                                   (block.ln_2, block.mlp)):
                h = sublayer(norm(x))
                if trace is not None:
                    for name, value in (("state", x), ("x_in", x), ("sub_out", h)):
                        trace.add(name, value)
                x = x + h
        if trace is not None:
            trace.add("state", x)
        return x

    def _run_delta(self, e: Tensor, visible: Tensor, trace: Optional[Trace]) -> Tensor:
        config = self.config
        scalar = config.ddl_variant == "ddl_scalar"
        if config.expands_embedding:
            X = self.input_embed(e)
        else:
            X = e.unsqueeze(-2).expand(-1, -1, config.d_v, -1)

        def read(compress: Optional[nn.Module]) -> Tensor:
            return X.squeeze(-2) if compress is None else compress(X)

        for block in self.transformer["h"]:
            compress = None if scalar else block.compress
            for norm, sublayer, delta in (
                    (block.ln_1, lambda c: block.attn(c, visible), block.ddl_attn),
                    (block.ln_2, block.mlp, block.ddl_mlp)):
                x_in = read(compress)
                c = norm(x_in)
                h = sublayer(c)
                beta, v = delta.gate(c), delta.target(x_in)
                k = delta.direction(h)
                proj = delta.project(X, k)
                if trace is not None:
                    for name, value in (
                            ("state", X.squeeze(-2) if scalar else X), ("x_in", x_in),
                            ("sub_out", h), ("k", k), ("beta", beta.squeeze(-1)), ("v", v),
                            ("proj", proj)):
                        trace.add(name, value)
                X = delta.write(X, k, beta, v, proj)
        if trace is not None:
            trace.add("state", X.squeeze(-2) if scalar else X)
        return read(None if scalar else self.readout)

    @torch.no_grad()
    def generate(self, tokens: list[int], max_new_tokens: int, *, temperature: float = 0.0,
                 stop_token: Optional[int] = None,
                 generator: Optional[torch.Generator] = None) -> list[int]:
        """Continues `tokens`, every step a full forward pass. Greedy at temperature 0."""
        device = self.ln_f.weight.device
        generated: list[int] = []
        while len(generated) < max_new_tokens:
            row = torch.tensor([tokens + generated], device=device)
            logits = self(row)[0, -1]
            if temperature == 0:
                token = int(logits.argmax())
            else:
                weights = (logits / temperature).softmax(-1)
                token = int(torch.multinomial(weights, 1, generator=generator))
            if token == stop_token:
                break
            generated.append(token)
        return generated


def load(folder: pathlib.Path, dtype: torch.dtype = torch.float32) -> Decoder:
    """Loads a folder with config.json and model.safetensors; names or shapes that differ raise."""
    folder = pathlib.Path(folder)
    model = Decoder(ModelConfig.from_file(folder / "config.json"))
    model.load_state_dict(load_file(str(folder / "model.safetensors")))
    return model.to(dtype).eval()
