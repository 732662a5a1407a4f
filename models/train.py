"""Trains a demo model: first the tokenizer, then any of the six residual kinds on tiny-world text.

    python train.py --variant ddl_cc_ec --run runs/ddl_cc_ec

A run's folder holds tokenizer.json, config.json, state.pt (to resume from) and metrics.json.
Starting the same command again goes on where the run was stopped.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import pathlib
import time
from collections import defaultdict
from typing import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn

import corpus
from ddl import VARIANTS, Decoder, ModelConfig

END_OF_TEXT = "<|endoftext|>"


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Everything that decides a run's result."""

    variant: str
    layers: int
    hidden: int
    heads: int
    head_dim: int
    embed_kernel: int
    steps: int
    batch: int
    length: int
    learning_rate: float
    weight_decay: float
    warmup: int
    levels: tuple[int, ...]
    answer_weight: float
    precision: str
    seed: int


# --- tokenizer -----------------------------------------------------------------------------------

def train_tokenizer(vocab_size: int = 1000, seed: int = 0, documents: int = 4000) -> Tokenizer:
    """A byte-level BPE with GPT-2's split pattern, from the first documents of the training split."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size, special_tokens=[END_OF_TEXT], show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    texts = corpus.documents("train", seed)
    tokenizer.train_from_iterator((next(texts) for _ in range(documents)), trainer)
    return tokenizer


# --- batches -------------------------------------------------------------------------------------

class Batches:
    """Packed training rows. Batch n is a function of (recipe, n), so a resumed run sees the same."""

    def __init__(self, tokenizer: Tokenizer, recipe: Recipe) -> None:
        self._tokenizer = tokenizer
        self._recipe = recipe
        self._end = tokenizer.token_to_id(END_OF_TEXT)
        self._answer = tokenizer.encode(" Answer:").ids
        self._stop = tokenizer.token_to_id(".")

    def _level(self, step: int) -> int:
        return 1 + sum(step >= start for start in self._recipe.levels)

    def __call__(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """tokens [B, T + 1], segments [B, T + 1], loss weights of the predictions [B, T]."""
        rows, width = self._recipe.batch, self._recipe.length + 1
        texts = corpus.documents("train", self._recipe.seed, start=step * rows * width,
                                 level=self._level(step))
        tokens = np.empty((rows, width), np.int64)
        segments = np.empty((rows, width), np.int64)
        weights = np.ones((rows, width), np.float32)
        for row in range(rows):
            filled, segment = 0, 0
            while filled < width:
                ids = self._tokenizer.encode(next(texts)).ids + [self._end]
                ids = ids[:width - filled]
                span = slice(filled, filled + len(ids))
                tokens[row, span], segments[row, span] = ids, segment
                weights[row, span] = self._weights(ids)
                filled, segment = filled + len(ids), segment + 1
        return tuple(map(torch.from_numpy, (tokens, segments, weights[:, 1:])))

    def _weights(self, ids: list[int]) -> list[float]:
        weights, in_answer = [], False
        for position, token in enumerate(ids):
            in_answer = in_answer and token != self._stop
            weights.append(self._recipe.answer_weight if in_answer else 1.0)
            in_answer = in_answer or ids[max(0, position - 1):position + 1] == self._answer
        return weights


# --- model ---------------------------------------------------------------------------------------

_INITIAL_BETA = 0.3
_INITIAL_QK_GAIN = 1.4
_INITIAL_PAST_TAP = 0.6
_INITIAL_TAP_DECAY = 0.85  # per token of distance


def initialise(model: Decoder, seed: int) -> None:
    """Weights that make looking up and copying easy to learn.

    Queries and keys start from the same projection and the output projection is the transpose of
    the values', so that a token first attends to its like and copies it (Trockman and Kolter,
    "Mimetic initialization of self-attention layers", 2023; here with a positive copy). The
    embedding convolution starts as a window on the last tokens rather than the current one alone.
    A delta sublayer writes a step of length beta * v, about 2 beta here, whatever its weights: the
    gates start low enough for the first writes not to bury the token below them.
    """
    generator = torch.Generator().manual_seed(seed)

    def normal(like: Tensor, std: float) -> Tensor:
        return torch.empty(like.shape).normal_(0, std, generator=generator)

    def orthogonal(like: Tensor) -> Tensor:
        wide = like.shape[0] < like.shape[1]
        basis, _ = torch.linalg.qr(normal(like.t() if wide else like, 1.0))
        return basis.t() if wide else basis

    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            module.weight.data.copy_(normal(module.weight, 0.5 / math.sqrt(module.in_features)))
            if module.bias is not None:
                module.bias.data.zero_()
            if name.endswith((".beta", ".beta_out")):
                module.bias.data.fill_(math.log(_INITIAL_BETA / (2 - _INITIAL_BETA)))
    for block in model.transformer["h"]:
        attention = block.attn
        attention.c_k.weight.data.copy_(attention.c_q.weight.data)
        attention.c_proj.weight.data.copy_(orthogonal(attention.c_proj.weight))
        attention.c_v.weight.data.copy_(attention.c_proj.weight.data.t())
        attention.q_rms.weight.data.fill_(_INITIAL_QK_GAIN)
        attention.k_rms.weight.data.fill_(_INITIAL_QK_GAIN)
    if model.config.expands_embedding:
        taps = model.input_embed.conv.weight.data
        distance = torch.arange(taps.shape[-1] - 1, 0, -1)
        taps[..., :-1] = _INITIAL_PAST_TAP * _INITIAL_TAP_DECAY ** distance
        taps[..., :-1] += normal(taps[..., :-1], 0.1)
    wte = model.transformer["wte"].weight
    wte.data.copy_(normal(wte, 0.1))


def optimiser(model: Decoder, recipe: Recipe) -> torch.optim.AdamW:
    matrices = [m.weight for m in model.modules() if isinstance(m, nn.Linear)]
    chosen = set(map(id, matrices))
    rest = [p for p in model.parameters() if id(p) not in chosen]
    return torch.optim.AdamW(
        [{"params": matrices, "weight_decay": recipe.weight_decay},
         {"params": rest, "weight_decay": 0.0}],
        lr=recipe.learning_rate, betas=(0.9, 0.98))


_DECAY_SHARE = 0.3


def decay_start(recipe: Recipe) -> int:
    """The step at which the learning rate begins to fall. Up to it, a run does not depend on
    `steps`, and can still be made longer or shorter."""
    return recipe.steps - int(_DECAY_SHARE * recipe.steps)


def learning_rate(step: int, recipe: Recipe) -> float:
    """Linear warm-up, a plateau, and a linear fall to a fiftieth."""
    if step < recipe.warmup:
        return recipe.learning_rate * (step + 1) / recipe.warmup
    left = (recipe.steps - step) / max(1, recipe.steps - decay_start(recipe))
    return recipe.learning_rate * min(1.0, 0.02 + 0.98 * left)


def weighted_loss(logits: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
    losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
    return (losses * weights.flatten()).sum() / weights.sum()


# --- evaluation ----------------------------------------------------------------------------------

@torch.no_grad()
def exact_match(model: Decoder, tokenizer: Tokenizer, questions: list[corpus.Question],
                batch: int = 16) -> list[bool]:
    """Whether greedy decoding of each prompt gives exactly the answer and a full stop.

    One pass over prompt and answer decides it: greedy decoding follows the answer exactly when
    every token of it is the likeliest after those before it.
    """
    device = model.ln_f.weight.device
    order = sorted(range(len(questions)), key=lambda i: len(questions[i].prompt))
    right = [False] * len(questions)
    for first in range(0, len(order), batch):
        chosen = order[first:first + batch]
        prompts = [tokenizer.encode(questions[i].prompt).ids for i in chosen]
        answers = [tokenizer.encode(f" {questions[i].answer}.").ids for i in chosen]
        longest = max(len(p) + len(a) for p, a in zip(prompts, answers))
        tokens = torch.zeros(len(chosen), longest, dtype=torch.long)
        for row, (prompt, answer) in enumerate(zip(prompts, answers)):
            tokens[row, :len(prompt) + len(answer)] = torch.tensor(prompt + answer)
        guesses = model(tokens.to(device)).argmax(-1).cpu()
        for row, (i, prompt, answer) in enumerate(zip(chosen, prompts, answers)):
            span = slice(len(prompt) - 1, len(prompt) + len(answer) - 1)
            right[i] = guesses[row, span].tolist() == answer
    return right


@torch.no_grad()
def heldout_loss(model: Decoder, tokenizer: Tokenizer, documents: int = 200, seed: int = 1) -> float:
    """Mean negative log-likelihood per token, in nats, of unseen documents."""
    device = model.ln_f.weight.device
    texts = corpus.documents("heldout", seed)
    total, count = 0.0, 0
    for _ in range(documents):
        ids = tokenizer.encode(next(texts)).ids + [tokenizer.token_to_id(END_OF_TEXT)]
        row = torch.tensor([ids], device=device)
        total += float(F.cross_entropy(model(row[:, :-1])[0], row[0, 1:], reduction="sum"))
        count += len(ids) - 1
    return total / count


def evaluate(model: Decoder, tokenizer: Tokenizer, count: int, seed: int = 1) -> dict:
    """Exact-match accuracy on held-out questions of the default difficulty, in total and by group."""
    model.eval()
    questions = [corpus.question("heldout", seed, index) for index in range(count)]
    right = exact_match(model, tokenizer, questions)
    model.train()
    groups: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for asked, ok in zip(questions, right):
        groups["by_overwrites"][str(asked.overwrites)].append(ok)
        groups["by_kind"][asked.kind].append(ok)
        if asked.kind == "place":
            groups["by_pair"]["withheld" if asked.withheld else "seen"].append(ok)
    report: dict = {"questions": count, "accuracy": sum(right) / count}
    for name, members in groups.items():
        report[name] = {key: round(sum(v) / len(v), 4) for key, v in sorted(members.items())}
    return report


# --- the run -------------------------------------------------------------------------------------

def model_config(recipe: Recipe, vocab_size: int) -> ModelConfig:
    return ModelConfig(
        ddl_variant=recipe.variant, vocab_size=vocab_size, hidden_size=recipe.hidden,
        num_hidden_layers=recipe.layers, num_attention_heads=recipe.heads,
        head_dim=recipe.head_dim, block_size=1024,
        input_embed_shortconv_kernel_size=recipe.embed_kernel)


def prepare(recipe: Recipe, folder: pathlib.Path) -> tuple[Tokenizer, Decoder]:
    """Creates the run's folder, or checks that it was made by the same recipe."""
    folder.mkdir(parents=True, exist_ok=True)
    recipe_file, tokenizer_file = folder / "recipe.json", folder / "tokenizer.json"
    values = {**dataclasses.asdict(recipe), "levels": list(recipe.levels)}
    if recipe_file.exists():
        started = json.loads(recipe_file.read_text())
        if {**started, "steps": recipe.steps} != values:
            raise SystemExit(f"{folder} was started with another recipe, see {recipe_file}")
    recipe_file.write_text(json.dumps(values, indent=2) + "\n")
    if not tokenizer_file.exists():
        train_tokenizer().save(str(tokenizer_file))
    tokenizer = Tokenizer.from_file(str(tokenizer_file))
    config = model_config(recipe, tokenizer.get_vocab_size())
    (folder / "config.json").write_text(json.dumps(dataclasses.asdict(config), indent=2) + "\n")
    model = Decoder(config)
    initialise(model, recipe.seed)
    return tokenizer, model


def save(path: pathlib.Path, **state) -> None:
    partial = path.with_suffix(".partial")
    torch.save(state, partial)
    partial.replace(path)


def train(recipe: Recipe, folder: pathlib.Path, device: str, report_every: int,
          evaluate_every: int, questions: int = 2000) -> Iterator[dict]:
    """Runs the recipe to its end, yielding a record at every report, when the run is also saved.

    `questions` is the number of held-out questions that the final accuracy is measured on.
    """
    tokenizer, model = prepare(recipe, folder)
    model.to(device)
    optim = optimiser(model, recipe)
    batches = Batches(tokenizer, recipe)
    state_file, first = folder / "state.pt", 0
    seconds_before, history = 0.0, []
    if state_file.exists():
        state = torch.load(state_file, map_location=device)
        model.load_state_dict(state["model"])
        optim.load_state_dict(state["optimiser"])
        first, seconds_before, history = state["step"], state["seconds"], state["history"]
        started_as = dataclasses.replace(recipe, steps=state["steps"])
        if started_as != recipe and first > min(decay_start(recipe), decay_start(started_as)):
            raise SystemExit(f"{folder} has entered the decay of {started_as.steps} steps, and can "
                             "no longer be trained to another number of them")

    started, losses, answers = time.monotonic(), [], []
    torch.set_flush_denormal(True)
    for step in range(first, recipe.steps):
        for group in optim.param_groups:
            group["lr"] = learning_rate(step, recipe)
        tokens, segments, weights = (part.to(device) for part in batches(step))
        with torch.autocast(device, torch.bfloat16, enabled=recipe.precision == "bf16"):
            logits = model(tokens[:, :-1], segments[:, :-1])
        loss = weighted_loss(logits.float(), tokens[:, 1:], weights)
        optim.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optim.step()
        losses.append(loss.item())
        asked = weights > 1
        answers.append((logits[asked].argmax(-1) == tokens[:, 1:][asked]).float().mean().item())

        done = step + 1
        evaluating = done % evaluate_every == 0 or done == recipe.steps
        if done % report_every == 0 or evaluating:
            seconds = seconds_before + time.monotonic() - started
            record = {"step": done, "tokens": done * recipe.batch * recipe.length,
                      "loss": sum(losses) / len(losses), "answers": sum(answers) / len(answers),
                      "seconds": round(seconds, 1)}
            losses, answers = [], []
            if evaluating:
                record["accuracy"] = evaluate(model, tokenizer, 200, seed=2)["accuracy"]
            history.append(record)
            save(state_file, model=model.state_dict(), optimiser=optim.state_dict(), step=done,
                 steps=recipe.steps, seconds=seconds, history=history)
            yield record

    final = evaluate(model, tokenizer, questions)
    final["heldout_loss"] = heldout_loss(model, tokenizer)
    final["parameters"] = sum(p.numel() for p in model.parameters())
    metrics = {"recipe": dataclasses.asdict(recipe), "final": final, "history": history}
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n")


def progress(record: dict, steps: int) -> str:
    """One line of the progress bar."""
    bar = ("#" * (30 * record["step"] // steps)).ljust(30, ".")
    accuracy = f"  accuracy {record['accuracy']:.3f}" if "accuracy" in record else ""
    return (f"[{bar}] step {record['step']:6d}  {record['tokens'] / 1e6:6.2f} M tokens  "
            f"loss {record['loss']:.4f}  answers {record['answers']:.3f}  "
            f"{record['seconds']:7.0f} s{accuracy}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--variant", choices=VARIANTS, required=True)
    parser.add_argument("--run", type=pathlib.Path, required=True, help="the run's folder")
    parser.add_argument("--layers", type=int, default=5)
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--head-dim", type=int, default=32)
    parser.add_argument("--embed-kernel", type=int, default=8,
                        help="tokens that the embedding convolution of the EC kinds spans")
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--batch", type=int, default=4, help="rows of a step")
    parser.add_argument("--length", type=int, default=256, help="tokens of a row")
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--weight-decay", type=float, default=0.1)
    parser.add_argument("--warmup", type=int, default=100, help="steps")
    parser.add_argument("--levels", type=int, nargs="*", default=(250, 450, 650),
                        help="steps at which the stories get harder (corpus.asking_story)")
    parser.add_argument("--answer-weight", type=float, default=50.0)
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16",
                        help="of the matrix products; weights and the residual stay in fp32")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--report-every", type=int, default=50, help="steps")
    parser.add_argument("--evaluate-every", type=int, default=500, help="steps")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    fields = [field.name for field in dataclasses.fields(Recipe)]
    args.levels = tuple(args.levels)
    recipe = Recipe(**{name: getattr(args, name) for name in fields})

    for record in train(recipe, args.run, args.device, args.report_every, args.evaluate_every):
        print(progress(record, recipe.steps), flush=True)


if __name__ == "__main__":
    main()
