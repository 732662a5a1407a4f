"""Draws results/*.png: loss and accuracy by residual kind, and a demo model's gates on a prompt.

    python plots.py

Needs matplotlib beside what requirements.txt lists.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import statistics

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import torch
from tokenizers import Tokenizer

import compare
from ddl import Trace, load

_COLOURS = {"additive": "0.35", "ddl_scalar": "tab:brown", "ddl_tc": "tab:blue",
            "ddl_tc_ec": "tab:cyan", "ddl_cc": "tab:orange", "ddl_cc_ec": "tab:red"}


def _curve(axes, results: dict[str, list[dict]], key: str) -> None:
    """Mean over the seeds, and the range they span."""
    for variant, runs in results.items():
        if not runs:
            continue
        records = [[record for record in one["history"] if key in record] for one in runs]
        tokens = [record["tokens"] / 1e6 for record in records[0]]
        values = [[record[key] for record in at] for at in zip(*records)]
        colour = _COLOURS[variant]
        axes.plot(tokens, [statistics.mean(at) for at in values], color=colour, label=variant)
        axes.fill_between(tokens, [min(at) for at in values], [max(at) for at in values],
                          color=colour, alpha=0.15, linewidth=0)
    axes.set_xlabel("training tokens, millions")


def _mark_levels(axes, recipe: dict) -> None:
    for step in recipe["levels"]:
        axes.axvline(step * recipe["batch"] * recipe["length"] / 1e6, color="0.8", linewidth=0.8,
                     zorder=0)


def plot_kinds(results: dict[str, list[dict]]) -> plt.Figure:
    """Loss and accuracy in training, and exact match on held-out questions by overwrites."""
    figure, (loss, answers, accuracy) = plt.subplots(1, 3, figsize=(15, 4.8), layout="constrained")
    recipe = next(runs for runs in results.values() if runs)[0]["recipe"]
    _curve(loss, results, "loss")
    loss.set(yscale="log", ylabel="training loss, nats per weighted token",
             title="Loss (grey lines: the stories get harder)")
    _curve(answers, results, "answers")
    answers.set(ylabel="answer tokens predicted", ylim=(0, 1), title="Answers in training")
    for axes in (loss, answers):
        _mark_levels(axes, recipe)

    groups = ("1", "2", "3", "4")
    shown = [variant for variant, runs in results.items() if runs]
    width = 0.8 / len(shown)
    for rank, variant in enumerate(shown):
        shares = [[one["final"]["by_overwrites"][group] for one in results[variant]]
                  for group in groups]
        accuracy.bar([place + rank * width for place in range(len(groups))],
                     [statistics.mean(at) for at in shares], width, color=_COLOURS[variant],
                     label=variant,
                     yerr=[statistics.stdev(at) if len(at) > 1 else 0 for at in shares],
                     error_kw={"linewidth": 0.8})
    best = {group: max(shares[group] for shares in compare.guessing().values()) for group in groups}
    for place, group in enumerate(groups):
        accuracy.hlines(best[group], place - width / 2, place + 0.8 - width / 2, color="black",
                        linestyle=":", label="best guess" if place == 0 else None)
    accuracy.set(xticks=[place + 0.4 - width / 2 for place in range(len(groups))],
                 xticklabels=groups, xlabel="overwrites of the fact", ylim=(0, 1),
                 ylabel="exact match, mean ± standard deviation", title="Held-out questions")
    handles, labels = accuracy.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels))
    return figure


def plot_gates(folder: pathlib.Path, prompt: str) -> plt.Figure:
    """beta of every sublayer at every token of a prompt."""
    tokenizer, model = Tokenizer.from_file(str(folder / "tokenizer.json")), load(folder)
    ids = tokenizer.encode(prompt).ids
    trace = Trace()
    with torch.no_grad():
        model(torch.tensor([ids]), trace=trace)
    beta = trace["beta"][:, 0]  # [2L, T]
    names = [f"layer {layer} {sublayer}" for layer in range(beta.shape[0] // 2)
             for sublayer in ("attention", "MLP")]

    figure, axes = plt.subplots(figsize=(0.19 * len(ids) + 2, 0.26 * len(names) + 1.6),
                                layout="constrained")
    image = axes.imshow(beta.numpy(), cmap="RdBu_r", vmin=0, vmax=2, aspect="auto")
    axes.set_xticks(range(len(ids)), [tokenizer.decode([token]).strip() for token in ids],
                    rotation=90, fontsize=7)
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_title(f"β of {folder.name}: 0 leaves the state as it is, 1 replaces what it holds "
                   "along k, 2 reflects it")
    figure.colorbar(image, ax=axes, pad=0.01)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--model", type=pathlib.Path, default=compare.HERE / "demo" / "ddl_cc_ec",
                        help="whose gates to draw")
    parser.add_argument("--to", type=pathlib.Path, default=compare.RESULTS)
    args = parser.parse_args()
    prompts = json.loads((compare.HERE / "demo" / "prompts.json").read_text(encoding="utf-8"))
    args.to.mkdir(exist_ok=True)
    figures = {"gates": plot_gates(args.model, f"{prompts['question']} {prompts['answer']}.")}
    results = compare.load_results()
    if any(results.values()):
        figures["kinds"] = plot_kinds(results)
    for name, figure in figures.items():
        figure.savefig(args.to / f"{name}.png", dpi=110)
        print(args.to / f"{name}.png")


if __name__ == "__main__":
    main()
