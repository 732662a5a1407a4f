"""Writes a trained run as the folder the server loads.

    python export.py --run runs/ddl_cc_ec --to demo/ddl_cc_ec --card demo/cards/ddl_cc_ec.md

config.json and model.safetensors (bf16) follow the checkpoint format of the authors' code, with
`ddl_variant` and `eos_token_id` added; tokenizer.json is copied.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import shutil
from typing import Any, Optional

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from ddl import Decoder, ModelConfig

_SHARED_KEYS = (
    "vocab_size", "num_hidden_layers", "num_attention_heads", "hidden_size", "head_dim",
    "block_size", "using_groupnorm", "use_output_gate", "use_qk_rmsnorm", "use_k_shift",
    "use_v_shift", "q_activation", "k_activation", "v_activation", "rope_ratio",
)
_DELTA_KEYS = (
    "ddl_k_eps", "ddl_beta_single_linear", "ddl_beta_hidden_size", "ddl_v_sigmoid",
    "ddl_v_sigmoid_scale",
)
_EXPANDED_KEYS = (
    "ddl_value_channels", "ddl_state_shortconv_kernel_size", "ddl_v_constant",
    "ddl_v_constant_value",
)
# Written only where they differ from what a reader assumes in their absence.
_OPTIONAL_KEYS = (
    "rope_base", "rms_norm_eps", "mlp_hidden_mult", "intermediate_size", "mup", "hidden_size_base",
)


def config_values(config: ModelConfig, eos_token_id: Optional[int]) -> dict[str, Any]:
    """The content of config.json: only keys that this variant's configuration has."""
    keys = list(_SHARED_KEYS)
    if not config.is_additive:
        keys += _DELTA_KEYS
        if config.ddl_variant == "ddl_scalar":
            keys += ("ddl_v_dim1_constant", "ddl_v_dim1_constant_value")
        else:
            keys += _EXPANDED_KEYS
        if config.expands_embedding:
            keys.append("input_embed_shortconv_kernel_size")
    values = {key: getattr(config, key) for key in keys}
    defaults = {name: field.default for name, field in config.__dataclass_fields__.items()}
    values.update({key: getattr(config, key) for key in _OPTIONAL_KEYS
                   if getattr(config, key) != defaults[key]})
    values.update(model_type="nanogpt-pro", architectures=["GPT"], ddl_variant=config.ddl_variant)
    if eos_token_id is not None:
        values["eos_token_id"] = eos_token_id
    return values


def write_model(model: Decoder, folder: pathlib.Path, *, dtype: torch.dtype = torch.bfloat16,
                eos_token_id: Optional[int] = None) -> None:
    """Writes config.json and model.safetensors."""
    folder.mkdir(parents=True, exist_ok=True)
    values = config_values(model.config, eos_token_id)
    (folder / "config.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    weights = {name: weight.detach().to("cpu", dtype).contiguous()
               for name, weight in model.state_dict().items()}
    save_file(weights, str(folder / "model.safetensors"))


def load_run(run: pathlib.Path) -> tuple[Decoder, dict[str, Any]]:
    """The model at a run's last save, and that save's other contents."""
    model = Decoder(ModelConfig.from_file(run / "config.json"))
    state = torch.load(run / "state.pt", map_location="cpu")
    model.load_state_dict(state.pop("model"))
    return model.eval(), state


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--run", type=pathlib.Path, required=True, help="folder of train.py")
    parser.add_argument("--to", type=pathlib.Path, required=True, help="folder to write")
    parser.add_argument("--card", type=pathlib.Path, help="model card to copy as README.md")
    args = parser.parse_args()
    model, state = load_run(args.run)
    tokenizer = Tokenizer.from_file(str(args.run / "tokenizer.json"))
    write_model(model, args.to, eos_token_id=tokenizer.token_to_id("<|endoftext|>"))
    shutil.copyfile(args.run / "tokenizer.json", args.to / "tokenizer.json")
    if args.card:
        shutil.copyfile(args.card, args.to / "README.md")
    size = sum(path.stat().st_size for path in args.to.iterdir())
    print(f"{args.to}: step {state['step']}, {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
