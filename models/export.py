"""Writes a trained run as the folder the server loads.

    python export.py --run runs/ddl_cc_ec --to demo/ddl_cc_ec

config.json and model.safetensors (bf16) follow the checkpoint format of the authors' code, with
`ddl_variant` and `eos_token_id` added; tokenizer.json is copied. README.md is a model card whose
figures are measured anew, on the weights as written.
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

import corpus
import train
from ddl import Decoder, ModelConfig, load

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
    file = folder / "model.safetensors"
    save_file(weights, str(file))
    file.chmod(0o644)  # save_file makes it private


def load_run(run: pathlib.Path) -> tuple[Decoder, dict[str, Any]]:
    """The model at a run's last save, and that save's other contents."""
    model = Decoder(ModelConfig.from_file(run / "config.json"))
    state = torch.load(run / "state.pt", map_location="cpu")
    model.load_state_dict(state.pop("model"))
    return model.eval(), state


_CARD = """\
# Demo model: {variant}

A decoder of {parameters:,} parameters that knows one tiny world: people move, things change hands,
are repainted and recounted. It tells short stories, and answers which fact holds now. It exists to
show the server at work and is of no other use.

| | |
|---|---|
| residual | `{variant}` |
| shape | {layers} layers, hidden size {hidden}, {heads} heads of {head_dim} |
| vocabulary | {vocab_size} entries, byte-level BPE with GPT-2's split pattern |
| weights | {megabytes:.2f} MB, bf16 |

## Prompts

- A story: give it an opening such as `It was a windy morning by the river.` and sample at a
  temperature of about 0.8 until `<|endoftext|>`.
- A question: a story, then `Where is Anna? Answer:` (or `Who has the kite?`, `What colour is the
  door?`, `How many eggs are there?`). Decode greedily; the answer is one word and a full stop.

`../prompts.json` holds one of each. Separate sentences by one space, without line breaks.

## Data

Text of `models/corpus.py`, split `train`, seed {seed}, as it is generated: {tokens:.2f} M tokens in
{steps} steps, none seen twice. Stories start with two facts and get harder by level (see
`--levels`); one name-place pair in eight is withheld. Licence: that of this repository; no text
from elsewhere.

## Recipe

AdamW at {learning_rate:g} after a warm-up, falling over the last 30 % of the steps; {batch} rows of
{length} tokens a step, answers weighted {answer_weight:g} times, seed {seed}. `train.py` says the
rest; this is the command. Another machine or PyTorch rounds otherwise and ends at slightly other
weights.

    {command}
{stopped}
## Measured quality

On these bf16 weights (computed in fp32), held-out text of seed 1:

- exact-match accuracy on {questions} questions of the default difficulty: **{accuracy:.1%}**
  (guessing the last mentioned candidate is right {last:.1%} of the time, the first {first:.1%}, the
  most frequent {frequent:.1%});
{served}- by number of overwrites: {by_overwrites};
- by kind of fact: {by_kind};
- name-place pairs seen and never seen in training: {by_pair};
- loss {heldout_loss:.4f} nats per token.

Most of that loss is the dice of the corpus: which person moves where next cannot be known.

## Limits

It knows only the words and sentences of its corpus. Rows of {length} tokens are all it has seen:
longer prompts are accepted and not to be trusted. Free stories keep their grammar, not their plot.
One training run, one seed: which kind of residual is better is for the table in
`models/README.md` to say.
"""


def training_command(recipe: dict[str, Any]) -> str:
    flags = []
    for name, value in recipe.items():
        text = " ".join(map(str, value)) if isinstance(value, list) else f"{value}"
        flags.append(f"--{name.replace('_', '-')} {text}")
    lines, line = [], "python train.py"
    for flag in flags + [f"--run runs/{recipe['variant']}"]:
        if len(line) + len(flag) > 86:
            lines.append(line)
            line = " "
        line += " " + flag
    return " \\\n    ".join([*lines, line])


def model_card(folder: pathlib.Path, recipe: dict[str, Any], steps: int, questions: int,
               served: Optional[str] = None) -> str:
    """The README of an exported folder, with its quality measured on the weights in it.

    `served`: what judge_server.py counted, such as "499 of 500".
    """
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    model = load(folder)
    report = train.evaluate(model, tokenizer, questions)
    guesses = corpus.baselines(count=questions)

    def listed(group: str) -> str:
        return ", ".join(f"{key} {share:.1%}" for key, share in report[group].items())

    return _CARD.format(
        **{**recipe, "steps": steps}, vocab_size=model.config.vocab_size, questions=questions,
        parameters=sum(p.numel() for p in model.parameters()),
        megabytes=(folder / "model.safetensors").stat().st_size / 1e6,
        tokens=steps * recipe["batch"] * recipe["length"] / 1e6,
        command=training_command(recipe), stopped="" if steps == recipe["steps"] else
        f"\nThe run was stopped at step {steps:,}.\n", accuracy=report["accuracy"],
        heldout_loss=train.heldout_loss(model, tokenizer), last=guesses["last"],
        first=guesses["first"], frequent=guesses["most frequent"],
        served="" if served is None else
        f"- through a running server's Generate, on its CPU in bf16: {served} questions right;\n",
        by_overwrites=listed("by_overwrites"), by_kind=listed("by_kind"), by_pair=listed("by_pair"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--run", type=pathlib.Path, required=True, help="folder of train.py")
    parser.add_argument("--to", type=pathlib.Path, required=True, help="folder to write")
    parser.add_argument("--questions", type=int, default=2000, help="to measure the card's figures")
    parser.add_argument("--served", help='for the card, what judge_server.py counted: "499 of 500"')
    args = parser.parse_args()
    model, state = load_run(args.run)
    tokenizer = Tokenizer.from_file(str(args.run / "tokenizer.json"))
    write_model(model, args.to, eos_token_id=tokenizer.token_to_id(train.END_OF_TEXT))
    shutil.copyfile(args.run / "tokenizer.json", args.to / "tokenizer.json")
    recipe = json.loads((args.run / "recipe.json").read_text(encoding="utf-8"))
    (args.to / "README.md").write_text(
        model_card(args.to, recipe, state["step"], args.questions, args.served), encoding="utf-8")
    size = sum(path.stat().st_size for path in args.to.iterdir())
    print(f"{args.to}: step {state['step']}, {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
