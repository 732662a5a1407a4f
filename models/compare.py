"""Trains all six residual kinds by one recipe and three seeds, and prints what came of it.

    python compare.py

A run that is finished is a file results/<kind>-<seed>.json, and is not repeated; one that was
stopped goes on where it was. At equal seeds all kinds see the same tokens in the same order. The
table says how many seeds a row is of, and which runs are missing.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import shutil
import statistics
from collections import defaultdict
from typing import Iterable, Optional

import corpus
import torch
import train
from ddl import VARIANTS

HERE = pathlib.Path(__file__).resolve().parent
RESULTS = HERE / "results"
SEEDS = (0, 1, 2)
QUESTIONS = 1000


def recipe(variant: str, seed: int) -> train.Recipe:
    """The demo models' recipe, smaller and shorter."""
    return train.Recipe(
        variant=variant, layers=3, hidden=128, heads=4, head_dim=32, embed_kernel=8, steps=600,
        batch=4, length=256, learning_rate=3e-3, weight_decay=0.1, warmup=100,
        levels=(150, 260, 370), answer_weight=50.0, precision="bf16", seed=seed)


def result_file(variant: str, seed: int) -> pathlib.Path:
    return RESULTS / f"{variant}-{seed}.json"


def run(variant: str, seed: int, scratch: pathlib.Path, device: str) -> None:
    """Trains one model to its end and keeps its metrics; a stopped run goes on from `scratch`."""
    chosen, folder = recipe(variant, seed), scratch / f"{variant}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = scratch / "tokenizer.json"  # the same for all
    if not tokenizer.exists():
        train.train_tokenizer().save(str(tokenizer))
    shutil.copyfile(tokenizer, folder / "tokenizer.json")
    for record in train.train(chosen, folder, device, report_every=25, evaluate_every=200,
                              questions=QUESTIONS):
        print(variant, seed, train.progress(record, chosen.steps), flush=True)
    RESULTS.mkdir(exist_ok=True)
    shutil.copyfile(folder / "metrics.json", result_file(variant, seed))


def load_results() -> dict[str, list[dict]]:
    """Results by kind, in the order of the seeds; kinds in their usual order."""
    return {variant: [json.loads(result_file(variant, seed).read_text(encoding="utf-8"))
                      for seed in SEEDS if result_file(variant, seed).exists()]
            for variant in VARIANTS}


def guessing() -> dict[str, dict[str, float]]:
    """Share of the table's questions that each guess is right on: in total, by overwrites."""
    right: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for index in range(QUESTIONS):
        asked = corpus.question("heldout", 1, index)
        for strategy, guess in corpus.guesses(asked).items():
            for group in ("all", str(asked.overwrites)):
                right[strategy][group].append(guess == asked.answer)
    return {strategy: {group: statistics.mean(hits) for group, hits in groups.items()}
            for strategy, groups in right.items()}


def _spread(values: Iterable[float], scale: float, digits: int) -> str:
    """Mean ± standard deviation; of a single value, the value."""
    scaled = [scale * value for value in values]
    mean = f"{statistics.mean(scaled):.{digits}f}"
    return f"{mean} ± {statistics.stdev(scaled):.{digits}f}" if len(scaled) > 1 else mean


def table(results: dict[str, list[dict]]) -> str:
    """Markdown: mean ± standard deviation over the seeds."""
    groups = ("1", "2", "3", "4")
    lines = ["| kind | seeds | parameters | held-out loss | exact match, % | "
             "1 overwrite | 2 overwrites | 3 overwrites | 4 overwrites |",
             "|---|---|---|---|---|" + "---|" * len(groups)]
    for variant, runs in results.items():
        if not runs:
            continue
        finals = [one["final"] for one in runs]
        cells = [f"`{variant}`", str(len(runs)), f"{finals[0]['parameters']:,}",
                 _spread((final["heldout_loss"] for final in finals), 1, 3),
                 _spread((final["accuracy"] for final in finals), 100, 1)]
        cells += [_spread((final["by_overwrites"][group] for final in finals), 100, 1)
                  for group in groups]
        lines.append("| " + " | ".join(cells) + " |")
    for strategy, shares in guessing().items():
        cells = [f"guess: {strategy} mentioned" if strategy != "most frequent" else
                 "guess: most frequent", "", "", "", f"{100 * shares['all']:.1f}"]
        cells += [f"{100 * shares[group]:.1f}" for group in groups]
        lines.append("| " + " | ".join(cells) + " |")
    missing = [result_file(variant, seed).stem for variant in VARIANTS for seed in SEEDS
               if not result_file(variant, seed).exists()]
    if missing:
        lines += ["", f"Not run yet: {', '.join(missing)}."]
    return "\n".join(lines)


def main(arguments: Optional[list[str]] = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=VARIANTS)
    parser.add_argument("--seeds", nargs="+", type=int, choices=SEEDS, default=SEEDS)
    parser.add_argument("--table", action="store_true", help="only print the table")
    parser.add_argument("--scratch", type=pathlib.Path, default=pathlib.Path("runs/compare"),
                        help="for unfinished runs")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    for seed in args.seeds:
        for variant in args.variants:
            if not args.table and not result_file(variant, seed).exists():
                run(variant, seed, args.scratch, args.device)
    print(table(load_results()))


if __name__ == "__main__":
    main()
