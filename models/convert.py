"""Turns a checkpoint saved by the authors' training code into the folder the server loads.

    python convert.py CHECKPOINT OUT [--dtype bf16] [--tokenizer tokenizer.json]

CHECKPOINT is a folder with config.json and either model.safetensors or pytorch_model.bin. The
residual kind is recognised from the tensor names. Whatever is missing, unknown or of another shape
than the configuration says is refused by name; nothing is guessed.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import shutil
import sys
from typing import Any, Optional

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ddl import Decoder, ModelConfig

_DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
_HEAD, _EMBEDDING = "lm_head.weight", "transformer.wte.weight"

# What saving through Hugging Face transformers adds to config.json; it says nothing of the model.
_BOOKKEEPING = ("_name_or_path", "auto_map", "dtype", "torch_dtype", "transformers_version")


class ConversionError(Exception):
    """The checkpoint is not one that this converter understands; the message says what is wrong."""


def read_weights(folder: pathlib.Path) -> dict[str, Tensor]:
    """The tensors of the folder's one weight file. A pickle is only ever read as plain tensors."""
    safe, pickled = folder / "model.safetensors", folder / "pytorch_model.bin"
    if safe.exists():
        return load_file(str(safe))
    if not pickled.exists():
        raise ConversionError(f"{folder} has neither {safe.name} nor {pickled.name}")
    try:
        weights = torch.load(pickled, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever the unpickler met, it was not a table of tensors
        raise ConversionError(f"{pickled} holds more than tensors: {error}") from error
    if not isinstance(weights, dict):
        raise ConversionError(f"{pickled} holds a {type(weights).__name__}, not a table of tensors")
    for name, weight in weights.items():
        if not isinstance(weight, Tensor):
            raise ConversionError(f"{pickled}: {name!r} is a {type(weight).__name__}, not a tensor")
    return weights


def recognise(names: set[str]) -> str:
    """The residual kind that these tensor names belong to (FORMAT.md 1.1)."""
    if not any(".ddl_attn." in name for name in names):
        return "additive"
    if not any(name.startswith("readout.") for name in names):
        return "ddl_scalar"
    if "readout.shortconv.weight" in names:
        kind = "ddl_tc"
    elif "readout.weight" in names:
        kind = "ddl_cc"
    else:
        raise ConversionError("there is a readout, but neither readout.shortconv.weight nor "
                              "readout.weight, so the kind of compression is unknown")
    return kind + "_ec" if "input_embed.conv.weight" in names else kind


def _without_duplicate_head(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    if _HEAD not in weights:
        return weights
    if _EMBEDDING in weights and not torch.equal(weights[_HEAD], weights[_EMBEDDING]):
        raise ConversionError(f"{_HEAD} differs from {_EMBEDDING}; only a tied head is supported")
    return {name: weight for name, weight in weights.items() if name != _HEAD}


def _check_against(config: ModelConfig, weights: dict[str, Tensor]) -> None:
    expected = {name: tuple(weight.shape) for name, weight in Decoder(config).state_dict().items()}
    problems = [f"missing {name}" for name in sorted(expected.keys() - weights.keys())]
    problems += [f"unknown {name}" for name in sorted(weights.keys() - expected.keys())]
    problems += [
        f"{name} is {tuple(weights[name].shape)}, the configuration says {shape}"
        for name, shape in expected.items()
        if name in weights and tuple(weights[name].shape) != shape]
    problems += [f"{name} holds {weight.dtype}" for name, weight in weights.items()
                 if not weight.is_floating_point()]
    if problems:
        raise ConversionError("tensors do not fit config.json: " + "; ".join(problems))


def convert(source: pathlib.Path, target: pathlib.Path, dtype: torch.dtype = torch.bfloat16,
            tokenizer: Optional[pathlib.Path] = None) -> ModelConfig:
    """Writes config.json, model.safetensors and, if given, tokenizer.json into `target`."""
    config_file = source / "config.json"
    if not config_file.exists():
        raise ConversionError(f"{source} has no config.json")
    try:
        values: dict[str, Any] = json.loads(config_file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ConversionError(f"{config_file}: {error}") from error
    for key in _BOOKKEEPING:
        values.pop(key, None)

    weights = _without_duplicate_head(read_weights(source))
    kind = recognise(set(weights))
    if values.setdefault("ddl_variant", kind) != kind:
        raise ConversionError(
            f"config.json says ddl_variant {values['ddl_variant']!r}, the tensors are {kind!r}")
    try:
        config = ModelConfig.from_dict(values)
    except (TypeError, ValueError) as error:
        raise ConversionError(f"{config_file}: {error}") from error
    _check_against(config, weights)

    target.mkdir(parents=True, exist_ok=True)
    (target / "config.json").write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    file = target / "model.safetensors"
    save_file({name: weight.to(dtype).contiguous() for name, weight in weights.items()}, str(file))
    file.chmod(0o644)  # save_file makes it private
    if tokenizer is not None:
        shutil.copyfile(tokenizer, target / "tokenizer.json")
    return config


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("source", type=pathlib.Path, metavar="CHECKPOINT")
    parser.add_argument("target", type=pathlib.Path, metavar="OUT")
    parser.add_argument("--dtype", choices=_DTYPES, default="bf16")
    parser.add_argument("--tokenizer", type=pathlib.Path, help="tokenizer.json to copy along")
    args = parser.parse_args()
    try:
        config = convert(args.source, args.target, _DTYPES[args.dtype], args.tokenizer)
    except ConversionError as error:
        print(f"convert: {error}", file=sys.stderr)
        return 1
    print(f"{args.target}: {config.ddl_variant}, {config.num_hidden_layers} layers, "
          f"hidden size {config.hidden_size}, {args.dtype}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
