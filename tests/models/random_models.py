"""Seeded random configurations that the server knows, and weights to match."""

import math
import random

import torch
from ddl import VARIANTS, Decoder, ModelConfig
from torch import nn

# Mostly none, as in the paper.
_ACTIVATIONS = (None, None, "identity", "silu", "relu", "elu+1")


def random_config(seed: int) -> ModelConfig:
    """Six seeds in a row cover the six kinds; two hundred, every option in each of its forms."""
    rng = random.Random(seed)
    variant = VARIANTS[seed % len(VARIANTS)]
    hidden = rng.randint(8, 96)
    values = dict(
        ddl_variant=variant, vocab_size=rng.randint(50, 600), hidden_size=hidden,
        num_hidden_layers=rng.randint(1, 3), num_attention_heads=rng.randint(1, 4),
        head_dim=rng.randint(4, 48), block_size=rng.choice((64, 100, 256)),
        use_qk_rmsnorm=rng.random() < 0.7, using_groupnorm=rng.random() < 0.4,
        use_output_gate=rng.random() < 0.5, q_activation=rng.choice(_ACTIVATIONS),
        k_activation=rng.choice(_ACTIVATIONS), v_activation=rng.choice(_ACTIVATIONS),
        rope_ratio=rng.choice((1.0, 1.0, 0.75, 0.5, 0.3, 0.0)),
        rope_base=rng.choice((10000.0, 500.0, 1e6)), rms_norm_eps=rng.choice((1e-5, 1e-6, 1e-2)),
        mup=rng.random() < 0.3, hidden_size_base=rng.randint(hidden // 2, 2 * hidden))
    if variant == "additive":
        if rng.random() < 0.4:
            values["mlp_hidden_mult"] = rng.choice((1.0, 2.5, 4.0))
        if rng.random() < 0.3:
            values["intermediate_size"] = rng.randint(1, 200)
        return ModelConfig(**values)
    values.update(
        ddl_k_eps=rng.choice((1e-5, 1e-3, 0.3)), ddl_beta_single_linear=rng.random() < 0.5,
        ddl_beta_hidden_size=rng.randint(1, 40), ddl_v_sigmoid=rng.random() < 0.7,
        ddl_v_sigmoid_scale=rng.choice((4.0, 1.0, 2.5)))
    constant = dict(constant=rng.random() < 0.2, constant_value=rng.choice((2.0, 0.5, -1.0)))
    prefix = "ddl_v_dim1_" if variant == "ddl_scalar" else "ddl_v_"
    values.update({prefix + key: value for key, value in constant.items()})
    if variant != "ddl_scalar":
        values["ddl_value_channels"] = rng.randint(1, 8)
        if variant.startswith("ddl_tc"):
            values["ddl_state_shortconv_kernel_size"] = rng.randint(1, 6)
        if variant.endswith("_ec"):
            values["input_embed_shortconv_kernel_size"] = rng.randint(1, 6)
    return ModelConfig(**values)


def random_model(config: ModelConfig, seed: int) -> Decoder:
    """Activations of order one, gates all over (0, 2), logits with a deviation of about two."""
    generator = torch.Generator().manual_seed(seed)

    def normal(shape: torch.Size, mean: float = 0.0, std: float = 1.0) -> torch.Tensor:
        return mean + std * torch.randn(shape, generator=generator)

    model = Decoder(config).eval()
    norms = [name for name, _ in model.named_parameters()
             if name.split(".")[-2].startswith(("ln_", "q_rms", "k_rms", "subln", "o_norm"))]
    linear = [name + ".weight" for name, module in model.named_modules()
              if isinstance(module, nn.Linear)]
    for name, parameter in model.named_parameters():
        if name in norms:
            parameter.data = normal(parameter.shape, 1.0, 0.3)
        elif name in linear:
            parameter.data = normal(parameter.shape, 0.0, 1.5 / math.sqrt(parameter.shape[1]))
        elif name == "transformer.wte.weight":
            parameter.data = normal(parameter.shape, 0.0, 2 / math.sqrt(config.hidden_size))
        else:  # biases, convolution taps, read vectors
            parameter.data = normal(parameter.shape, 0.3, 0.5)
    return model
