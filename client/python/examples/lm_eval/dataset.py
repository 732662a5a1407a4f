"""Held-out questions and stories of the tiny world, for lm-evaluation-harness.

The tasks beside this file read questions.jsonl and stories.jsonl; this writes them anew, from
models/corpus.py, always the same:

    python dataset.py
"""

from __future__ import annotations

import json
import pathlib
import random
import sys
from collections.abc import Iterator
from typing import Any

_HERE = pathlib.Path(__file__).resolve().parent
_MODELS = _HERE.parents[3] / "models"

_SEED = 5
_QUESTIONS = 100
_STORIES = 20


def questions(**_: Any) -> dict[str, Any]:
    return _load("questions.jsonl")


def stories(**_: Any) -> dict[str, Any]:
    return _load("stories.jsonl")


def _load(name: str) -> dict[str, Any]:
    """What a task's custom_dataset is to give; the harness's metadata is of no use here."""
    import datasets

    lines = (_HERE / name).read_text(encoding="utf-8").splitlines()
    return {"test": datasets.Dataset.from_list([json.loads(line) for line in lines])}


def _make_questions() -> Iterator[dict[str, Any]]:
    import corpus

    for index in range(_QUESTIONS):
        asked = corpus.question("heldout", _SEED, index)
        values = sorted(set(asked.candidates))
        yield {"prompt": asked.prompt, "answer": asked.answer,
               "choices": [f"{value}." for value in values], "label": values.index(asked.answer)}


def _make_stories() -> Iterator[dict[str, Any]]:
    import corpus

    for index in range(_STORIES):
        yield {"story": corpus.free_story(random.Random(f"{_SEED}/{index}"), heldout=True)}


def write(folder: pathlib.Path) -> None:
    sys.path.insert(0, str(_MODELS))
    for name, rows in (("questions", _make_questions()), ("stories", _make_stories())):
        (folder / f"{name}.jsonl").write_text(
            "".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    write(_HERE)
