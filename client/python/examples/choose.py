"""Ranks answers to a question by their log-likelihood; the question is computed once.

    python choose.py 127.0.0.1:50051 "Anna is in the barn. Where is Anna? Answer:" barn mill
"""

import math
import sys

import deltaserve

address, question, *answers = sys.argv[1:]

with deltaserve.Client(address, timeout=60.0) as client:
    scores = client.score_continuations(question, [f" {answer}." for answer in answers])
    ranked = sorted(zip(answers, scores.continuations, strict=True),
                    key=lambda pair: -pair[1].loglik)
    for answer, scored in ranked:
        greedy = ", what the model would say" if scored.is_greedy else ""
        print(f"{answer:12} {math.exp(scored.loglik):8.4%}{greedy}")
