"""Asks a running server held-out questions and counts the exactly right answers.

    python judge_server.py --address 127.0.0.1:50051 --deltactl ../build/release/client/cli/deltactl
"""

from __future__ import annotations

import argparse
import collections
import subprocess
from typing import Optional

import corpus


def answer(deltactl: str, address: str, model: Optional[str], prompt: str) -> str:
    """The greedy continuation of `prompt`, up to its first full stop."""
    command = [deltactl, "generate", "--address", address, "--temperature", "0",
               "--max-tokens", "4", "--stop", ".", "--include-stop", prompt]
    if model is not None:
        command += ["--model", model]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(done.stderr.strip() or f"deltactl ended with {done.returncode}")
    return done.stdout.rstrip("\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0],
                                     formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--address", required=True, help="host:port of the server")
    parser.add_argument("--model", help="needed where the server has several")
    parser.add_argument("--deltactl", default="deltactl", help="the command-line client")
    parser.add_argument("--count", type=int, default=500, help="questions to ask")
    parser.add_argument("--seed", type=int, default=1, help="of the held-out questions")
    args = parser.parse_args()

    asked: collections.Counter[int] = collections.Counter()
    right: collections.Counter[int] = collections.Counter()
    for index in range(args.count):
        question = corpus.question("heldout", args.seed, index)
        asked[question.overwrites] += 1
        given = answer(args.deltactl, args.address, args.model, question.prompt)
        right[question.overwrites] += given == f" {question.answer}."
    for overwrites in sorted(asked):
        share = right[overwrites] / asked[overwrites]
        print(f"{overwrites} overwrites  {share:6.1%} of {asked[overwrites]}")
    print(f"all           {sum(right.values()) / args.count:6.1%} of {args.count}")


if __name__ == "__main__":
    main()
