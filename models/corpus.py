"""Tiny-world English: facts that are stated, overwritten, and asked about.

People move, things change hands, are repainted and recounted; a question wants the fact that holds
now. A document is one story, either with questions in it or free-running:

    It was a windy morning by the river. Anna is in the barn. Tom went to the mill. Anna walked to
    the tower. Where is Anna? Answer: tower.

Everything is a function of (split, seed, index): equal arguments give equal text on every machine.
Held-out stories use their own seeds, and pairs of a name and a place that training never shows.

    python corpus.py --split heldout --seed 1 --count 3
    python corpus.py --baselines
"""

from __future__ import annotations

import argparse
import dataclasses
import random
import re
from collections import Counter
from typing import Iterator, Optional

PEOPLE = ("Anna", "Ben", "Clara", "David", "Emma", "Felix", "Grace", "Henry", "Iris", "Jack",
          "Kate", "Leo", "Mia", "Noah", "Olga", "Paul", "Rosa", "Sam", "Tom", "Vera")
PLACES = ("kitchen", "garden", "market", "barn", "library", "school", "tower", "cellar", "forest",
          "mill", "chapel", "attic", "meadow", "bakery", "stable", "harbour")
THINGS = ("kite", "drum", "lamp", "key", "book", "rope", "bell", "map", "coin", "flute", "basket",
          "whistle", "ring", "candle")
PAINTED = ("door", "fence", "boat", "chair", "gate", "cart", "table", "shed", "bench", "bridge")
COLOURS = ("red", "green", "blue", "yellow", "white", "black", "brown", "orange", "purple", "grey")
COUNTED = ("apples", "pears", "eggs", "shells", "stones", "feathers", "acorns", "buttons")
NUMBERS = ("two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "twelve")


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of fact: which value holds for an entity, and the ways of saying so.

    Templates know {e} the entity, {v} its new value, {o} its old value, {p} a bystander.
    """

    name: str
    entities: tuple[str, ...]
    values: tuple[str, ...]
    first: tuple[str, ...]
    change: tuple[str, ...]
    question: tuple[str, ...]
    swap: Optional[str] = None  # of two entities at once: {e} {v} and {e2} {v2}


KINDS = (
    Kind("place", PEOPLE, PLACES,
         ("{e} is in the {v}.", "{e} was in the {v}.", "{e} is waiting in the {v}.",
          "At first {e} was in the {v}."),
         ("{e} walked to the {v}.", "{e} went to the {v}.", "{e} ran to the {v}.",
          "Then {e} moved to the {v}.", "After a while {e} left for the {v}.",
          "{e} left the {o} for the {v}.", "Now {e} is in the {v}.",
          "Later {p} saw {e} in the {v}."),
         ("Where is {e}?", "Where is {e} now?"),
         "{e} and {e2} swapped places: now {e} is in the {v} and {e2} is in the {v2}."),
    Kind("holder", THINGS, PEOPLE,
         ("The {e} belongs to {v}.", "The {e} was given to {v}.", "The {e} was found by {v}.",
          "At first the {e} was held by {v}."),
         ("{o} gave the {e} to {v}.", "The {e} was taken from {o} by {v}.",
          "{o} handed the {e} to {v}.", "Now the {e} belongs to {v}.",
          "Then the {e} was picked up by {v}.", "Later {o} sold the {e} to {v}.",
          "{p} brought the {e} to {v}."),
         ("Who has the {e}?", "Who has the {e} now?"),
         "There was a trade: now the {e} belongs to {v} and the {e2} belongs to {v2}."),
    Kind("colour", PAINTED, COLOURS,
         ("The {e} is {v}.", "The {e} was {v}.", "At first the {e} was {v}."),
         ("{p} painted the {e} {v}.", "Now the {e} is {v}.", "Then the {e} was painted {v}.",
          "Someone painted the {o} {e} {v}.", "After the rain {p} made the {e} {v}."),
         ("What colour is the {e}?", "What colour is the {e} now?")),
    Kind("count", COUNTED, NUMBERS,
         ("The number of {e} is {v}.", "The number of {e} was {v}.",
          "At first the number of {e} was {v}.", "{p} counted the {e} and found {v}."),
         ("Now the number of {e} is {v}.", "Then {p} counted the {e} and found {v}.",
          "Later the number of {e} went from {o} to {v}.", "{p} made the number of {e} {v}."),
         ("How many {e} are there?", "How many {e} are there now?")),
)
KIND_BY_NAME = {kind.name: kind for kind in KINDS}

LEVELS = 4  # of the training curriculum, see asking_story

_FILLERS = ("A bird sang in a tree.", "The wind was cold.", "A dog barked far away.",
            "The sun came out.", "Nobody said a word.", "It began to rain.", "The clock struck.",
            "Everyone laughed.", "The day was long.", "A cat slept by the fire.")


def is_withheld(person: str, place: str) -> bool:
    """Whether this person is never in this place in the training split (one pair in eight)."""
    return (3 * PEOPLE.index(person) + PLACES.index(place)) % 8 == 0


@dataclasses.dataclass(frozen=True)
class Difficulty:
    """How hard a question is. Ranges are inclusive."""

    overwrites: tuple[int, int] = (1, 4)  # of the fact that is asked about
    entities: tuple[int, int] = (3, 4)    # of the kind that is asked about, this one included
    min_distractors: int = 4              # statements about something else
    tail: tuple[int, int] = (0, 4)        # least number of them after the last overwrite


@dataclasses.dataclass(frozen=True)
class Question:
    """One question at the end of a story, and what is needed to judge an answer to it."""

    prompt: str  # ends with "Answer:"
    answer: str
    kind: str
    overwrites: int
    distractors: int
    candidates: tuple[str, ...]  # all values of the answer's kind in the story, as mentioned
    withheld: bool               # the answer is a name-place pair that training never shows


class _World:
    """The facts of one story so far, and the text that told them."""

    def __init__(self, rng: random.Random, heldout: bool) -> None:
        self.rng = rng
        self.heldout = heldout
        self.facts: dict[tuple[str, str], str] = {}
        self.changes: Counter[tuple[str, str]] = Counter()
        self.sentences: list[str] = []
        self._pools = {kind.name: tuple(rng.sample(kind.values, 6)) for kind in KINDS}

    def _new_value(self, kind: Kind, entity: str) -> str:
        """A value from the story's small pool, so that entities share values."""
        old = self.facts.get((kind.name, entity))
        pool = [value for value in self._pools[kind.name] if value != old]
        if kind.name != "place":
            return self.rng.choice(pool)
        withheld = [place for place in pool if is_withheld(entity, place)]
        usual = [place for place in pool if not is_withheld(entity, place)]
        if self.heldout and withheld and self.rng.random() < 0.5:
            return self.rng.choice(withheld)
        return self.rng.choice(usual)

    def state(self, kind: Kind, entity: str) -> None:
        """Tells the entity's first value, or a change of it."""
        key = (kind.name, entity)
        value, old = self._new_value(kind, entity), self.facts.get(key)
        templates = kind.first if old is None else kind.change
        bystander = self.rng.choice([p for p in PEOPLE if p not in (entity, value, old)])
        self.sentences.append(_sentence(
            self.rng.choice(templates).format(e=entity, v=value, o=old, p=bystander)))
        self.changes[key] += old is not None
        self.facts[key] = value

    def can_swap(self, kind: Kind, a: str, b: str) -> bool:
        """Whether both have a value, different ones, that the split lets them exchange."""
        va, vb = self.facts.get((kind.name, a)), self.facts.get((kind.name, b))
        if kind.swap is None or va is None or vb is None or va == vb:
            return False
        return (kind.name != "place" or self.heldout
                or not (is_withheld(a, vb) or is_withheld(b, va)))

    def swap(self, kind: Kind, a: str, b: str) -> None:
        ka, kb = (kind.name, a), (kind.name, b)
        self.facts[ka], self.facts[kb] = self.facts[kb], self.facts[ka]
        self.changes.update((ka, kb))
        self.sentences.append(kind.swap.format(
            e=a, v=self.facts[ka], e2=b, v2=self.facts[kb]))

    def question(self, kind: Kind, entity: str) -> tuple[str, str]:
        text = self.rng.choice(kind.question).format(e=entity)
        return f"{text} Answer:", self.facts[kind.name, entity]


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _opening(rng: random.Random) -> str:
    weather = rng.choice(("windy", "quiet", "cold", "warm", "bright", "rainy"))
    time = rng.choice(("morning", "evening", "day", "afternoon"))
    where = rng.choice(("in the village", "by the river", "on the hill", "at the farm"))
    return f"It was a {weather} {time} {where}."


def _rng(split: str, seed: int, index: int, what: str) -> random.Random:
    if split not in ("train", "heldout"):
        raise ValueError(f"split {split!r} is neither 'train' nor 'heldout'")
    return random.Random(f"{split}/{seed}/{index}/{what}")  # a string seed is hashed with SHA-512


def question(split: str, seed: int, index: int,
             difficulty: Difficulty = Difficulty(), kind: Optional[str] = None) -> Question:
    """A story without questions, and one question at its end."""
    rng = _rng(split, seed, index, "question")
    world = _World(rng, split == "heldout")
    asked_kind = KIND_BY_NAME[kind] if kind else rng.choice(KINDS)
    asked, *others = rng.sample(asked_kind.entities, rng.randint(*difficulty.entities))
    overwrites = rng.randint(*difficulty.overwrites)

    distractors = [(asked_kind, e) for e in others for _ in range(rng.randint(1, 3))]
    if rng.random() < 0.5:
        other_kind = rng.choice([k for k in KINDS if k is not asked_kind])
        distractors += [(other_kind, e) for e in rng.sample(other_kind.entities, 2)]
    while others and len(distractors) < difficulty.min_distractors:
        distractors.append((asked_kind, rng.choice(others)))
    rng.shuffle(distractors)

    tail_length = min(rng.randint(*difficulty.tail), len(distractors))
    tail = distractors[:tail_length]
    body = distractors[tail_length:] + [(asked_kind, asked)] * (overwrites + 1)
    rng.shuffle(body)
    for turn in body + tail:
        world.state(*turn)

    text, answer = world.question(asked_kind, asked)
    story = " ".join([_opening(rng), *world.sentences])
    return Question(
        prompt=f"{story} {text}", answer=answer, kind=asked_kind.name, overwrites=overwrites,
        distractors=len(distractors), candidates=_mentions(story, asked_kind),
        withheld=asked_kind.name == "place" and is_withheld(asked, answer))


def _mentions(story: str, kind: Kind) -> tuple[str, ...]:
    return tuple(re.findall(r"\b(?:%s)\b" % "|".join(kind.values), story))


def asking_story(rng: random.Random, heldout: bool, level: int = LEVELS) -> str:
    """A story with questions in between, or only at its end: the training form of the task.

    Level 1: two facts of one kind, never changed, asked about over and over. Level 2 changes them.
    Level 3 adds a third, and level 4 a fourth, other kinds of fact beside them, and stories that
    ask little before their end.
    """
    world = _World(rng, heldout)
    kinds = rng.sample(KINDS, 2 if level > 2 and rng.random() < 0.4 else 1)
    turns: list[tuple[Kind, str]] = []
    for rank, kind in enumerate(kinds):
        most = max(2, level) if rank == 0 else 2
        for entity in rng.sample(kind.entities, rng.randint(2, most)):
            turns += [(kind, entity)] * (1 + (rng.randint(0, most) if level > 1 else 0))
    rng.shuffle(turns)

    parts = [_opening(rng)]
    ask_rate = rng.choice((0.0, 0.3, 0.7)) if level > 2 else 1.0

    def ask(kind: Kind, entity: str) -> None:
        text, answer = world.question(kind, entity)
        parts.append(f"{text} {answer}.")

    for kind, entity in turns:
        told = [e for k, e in world.facts if k == kind.name and e != entity]
        partner = rng.choice(told) if told and level > 1 else None
        if partner and rng.random() < 0.1 and world.can_swap(kind, entity, partner):
            world.swap(kind, entity, partner)
        else:
            world.state(kind, entity)
        parts.append(world.sentences[-1])
        if rng.random() < 0.05:
            parts.append(rng.choice(_FILLERS))
        if rng.random() < ask_rate and len(world.facts) > 1:
            # Rather about something else than what was just told.
            name, known = rng.choice([key for key in world.facts if key != (kind.name, entity)]
                                     if rng.random() < 0.6 else list(world.facts))
            ask(KIND_BY_NAME[name], known)
    known = list(world.facts)
    rng.shuffle(known)
    for name, entity in known[:4]:
        ask(KIND_BY_NAME[name], entity)
    return " ".join(parts)


def free_story(rng: random.Random, heldout: bool = False) -> str:
    """A short story without questions."""
    a, b = rng.sample(PEOPLE, 2)

    def places(count: int) -> list[str]:
        usual = [p for p in PLACES if heldout or not (is_withheld(a, p) or is_withheld(b, p))]
        return rng.sample(usual, count)

    x, y, z = places(3)
    thing, other = rng.sample(THINGS, 2)
    colour = rng.choice(COLOURS)
    pick = rng.choice
    parts = [
        _opening(rng),
        pick((f"{a} was in the {x}.", f"{a} woke up early and went to the {x}.",
              f"{a} wanted to go to the {x}.")),
        pick((f"There {a} found a {colour} {thing}.", f"On the way {a} found a {colour} {thing}.",
              f"{a} was looking for a {colour} {thing}.")),
    ]
    if rng.random() < 0.5:
        parts.append(pick(_FILLERS))
    parts += [
        pick((f"Then {b} came in and asked about the {thing}.",
              f"{b} saw the {thing} and smiled.", f"{b} said that the {thing} was lost.")),
        pick((f"{a} gave the {thing} to {b}.", f"{a} handed {b} the {thing}.",
              f"{b} took the {thing} from {a}.")),
        pick((f"{b} walked to the {y} with the {thing}.", f"{b} ran to the {y}.",
              f"Together they went to the {y}.")),
    ]
    if rng.random() < 0.6:
        parts.append(pick((f"In the {y} there was a {other} on the table.",
                           f"{a} stayed behind and cleaned the {other}.",
                           f"{b} hid the {thing} behind the {pick(PAINTED)}.",
                           f"They painted the {pick(PAINTED)} {pick(COLOURS)}.")))
    if rng.random() < 0.4:
        parts.append(pick(_FILLERS))
    parts += [
        pick((f"At last {a} went to the {z}.", f"In the end they met in the {z}.",
              f"When it was dark, {b} went home from the {z}.")),
        pick((f"{a} was happy.", f"{b} was happy and {a} was tired.", "Everyone was happy.",
              f"{b} thanked {a} for the {thing}.", "It was a good day.")),
    ]
    return " ".join(parts)


def documents(split: str, seed: int, *, start: int = 0, level: int = LEVELS,
              free_share: float = 0.15) -> Iterator[str]:
    """Endless documents of a split, from number `start` on."""
    index = start
    while True:
        rng = _rng(split, seed, index, "document")
        heldout = split == "heldout"
        if rng.random() < free_share:
            yield free_story(rng, heldout)
        else:
            yield asking_story(rng, heldout, level)
        index += 1


def guesses(asked: Question) -> dict[str, str]:
    """What the strategies that read no story would answer."""
    return {
        "first": asked.candidates[0],
        "last": asked.candidates[-1],
        "most frequent": Counter(asked.candidates).most_common(1)[0][0],
    }


def baselines(split: str = "heldout", seed: int = 1, count: int = 2000,
              difficulty: Difficulty = Difficulty()) -> dict[str, float]:
    """Share of questions each guessing strategy answers rightly."""
    right: Counter[str] = Counter()
    for index in range(count):
        asked = question(split, seed, index, difficulty)
        for strategy, guess in guesses(asked).items():
            right[strategy] += guess == asked.answer
    return {strategy: right[strategy] / count for strategy in ("first", "last", "most frequent")}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--split", choices=("train", "heldout"), default="train")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=5, help="documents to print")
    parser.add_argument("--questions", action="store_true", help="print single questions instead")
    parser.add_argument("--baselines", action="store_true", help="score the guessing strategies")
    args = parser.parse_args()
    if args.baselines:
        for strategy, share in baselines(args.split, args.seed).items():
            print(f"{strategy:14s} {share:.3f}")
    elif args.questions:
        for index in range(args.count):
            asked = question(args.split, args.seed, index)
            print(f"{asked.prompt} {asked.answer}\n")
    else:
        stories = documents(args.split, args.seed)
        for _ in range(args.count):
            print(next(stories), "\n")


if __name__ == "__main__":
    main()
