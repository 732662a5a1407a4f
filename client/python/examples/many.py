"""Asks several questions at once with asyncio; the server batches them.

    python many.py 127.0.0.1:50051 "Where is Anna? Answer:" "Who has the kite? Answer:"
"""

import asyncio
import sys

import deltaserve


async def answer(client: deltaserve.AsyncClient, question: str) -> str:
    try:
        generation = await client.generate(question, temperature=0, max_tokens=8, stop=".")
    except deltaserve.DeltaserveError as error:
        return f"! {error}"
    return generation.text.strip()


async def main(address: str, questions: list[str]) -> None:
    async with deltaserve.AsyncClient(address, timeout=60.0) as client:
        answers = await asyncio.gather(*(answer(client, question) for question in questions))
    for question, given in zip(questions, answers, strict=True):
        print(f"{question} {given}")


asyncio.run(main(sys.argv[1], sys.argv[2:]))
