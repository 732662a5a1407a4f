"""The model configuration: the keys of a checkpoint's config.json."""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
from typing import Any, Optional

VARIANTS = ("additive", "ddl_scalar", "ddl_tc", "ddl_tc_ec", "ddl_cc", "ddl_cc_ec")
ACTIVATIONS = (None, "identity", "silu", "relu", "elu+1")

# Keys of the authors' configuration that only matter to training, or identify the file.
_IGNORED_KEYS = frozenset({
    "architectures", "bias", "bos_token_id", "ddl_beta_init", "ddl_state_dv_shortconv_causal",
    "ddl_state_read_init", "dropout", "embedding_init_std", "eos_token_id",
    "hidden_init_std_factor", "scale_attn_by_inverse_layer_idx",
})


@dataclasses.dataclass
class ModelConfig:
    """One decoder's shape and options. Field names are the keys of config.json."""

    ddl_variant: str
    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    head_dim: int
    block_size: int = 1024

    use_qk_rmsnorm: bool = True
    using_groupnorm: bool = False
    use_output_gate: bool = False
    use_k_shift: bool = False
    use_v_shift: bool = False
    q_activation: Optional[str] = None
    k_activation: Optional[str] = None
    v_activation: Optional[str] = None
    rope_ratio: float = 1.0
    rope_base: float = 10000.0
    rms_norm_eps: float = 1e-5
    mlp_hidden_mult: float = 8 / 3
    intermediate_size: Optional[int] = None
    mup: bool = False
    hidden_size_base: int = 1024

    ddl_value_channels: int = 4
    ddl_state_shortconv_kernel_size: Optional[int] = None
    input_embed_shortconv_kernel_size: int = 4
    ddl_k_eps: float = 1e-5
    ddl_beta_single_linear: bool = True
    ddl_beta_hidden_size: int = 128
    ddl_v_sigmoid: bool = True
    ddl_v_sigmoid_scale: float = 4.0
    ddl_v_constant: bool = False
    ddl_v_constant_value: float = 2.0
    ddl_v_dim1_constant: bool = False
    ddl_v_dim1_constant_value: float = 2.0

    def __post_init__(self) -> None:
        if self.ddl_variant not in VARIANTS:
            raise ValueError(f"ddl_variant {self.ddl_variant!r} is not one of {', '.join(VARIANTS)}")
        for key in ("q_activation", "k_activation", "v_activation"):
            if getattr(self, key) not in ACTIVATIONS:
                raise ValueError(f"{key} {getattr(self, key)!r} is not one of {ACTIVATIONS}")
        for key in ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads",
                    "head_dim", "ddl_value_channels", "input_embed_shortconv_kernel_size"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} is {getattr(self, key)}; it must be at least 1")
        if self.ddl_state_shortconv_kernel_size is None:
            self.ddl_state_shortconv_kernel_size = (
                self.ddl_value_channels if self.is_channel_compressed else 4)
        if self.is_channel_compressed and (
                self.ddl_state_shortconv_kernel_size != self.ddl_value_channels):
            raise ValueError(
                "channel compression needs ddl_state_shortconv_kernel_size = ddl_value_channels, "
                f"not {self.ddl_state_shortconv_kernel_size} and {self.ddl_value_channels}")

    @property
    def is_additive(self) -> bool:
        return self.ddl_variant == "additive"

    @property
    def is_token_compressed(self) -> bool:
        return self.ddl_variant.startswith("ddl_tc")

    @property
    def is_channel_compressed(self) -> bool:
        return self.ddl_variant.startswith("ddl_cc")

    @property
    def expands_embedding(self) -> bool:
        """Whether a short convolution over tokens makes the initial state (EC)."""
        return self.ddl_variant.endswith("_ec")

    @property
    def d_v(self) -> int:
        """Value channels of the residual state."""
        expanded = self.is_token_compressed or self.is_channel_compressed
        return self.ddl_value_channels if expanded else 1

    @property
    def mlp_width(self) -> int:
        if not self.is_additive:
            return math.floor(8 / 3 * self.hidden_size)
        if self.intermediate_size is not None:
            return self.intermediate_size
        return math.floor(self.mlp_hidden_mult * self.hidden_size)

    @property
    def block_norm_eps(self) -> float:
        """Epsilon of ln_1, ln_2 and ln_f, which the DDL variants fix (FORMAT.md 3.1)."""
        return self.rms_norm_eps if self.is_additive else 1e-5

    @property
    def constant_v(self) -> Optional[float]:
        """The constant target v, or None when v is projected from the state."""
        if self.ddl_variant == "ddl_scalar":
            return self.ddl_v_dim1_constant_value if self.ddl_v_dim1_constant else None
        return self.ddl_v_constant_value if self.ddl_v_constant else None

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "ModelConfig":
        """Builds a configuration; an unknown key is an error that names it."""
        values = dict(values)
        model_type = values.pop("model_type", "nanogpt-pro")
        if model_type != "nanogpt-pro":
            raise ValueError(f"model_type {model_type!r} is not 'nanogpt-pro'")
        fields = {field.name for field in dataclasses.fields(cls)}
        unknown = sorted(values.keys() - fields - _IGNORED_KEYS)
        if unknown:
            raise ValueError(f"unknown configuration keys: {', '.join(unknown)}")
        return cls(**{key: value for key, value in values.items() if key in fields})

    @classmethod
    def from_file(cls, path: pathlib.Path) -> "ModelConfig":
        return cls.from_dict(json.loads(path.read_text(encoding="utf-8")))
