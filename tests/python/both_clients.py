"""The blocking client and the one for asyncio behind one face, so that tests are of both."""

from __future__ import annotations

import asyncio
from typing import Any, Self

import deltaserve


class BlockingCaller:
    def __init__(self, address: str, **options: Any) -> None:
        self.client = deltaserve.Client(address, **options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()

    def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        return getattr(self.client, method)(*arguments, **options)

    def stream(self, prompt: Any, *, cancel_after: int | None = None, into: list[Any],
               **options: Any) -> deltaserve.Generation:
        """Appends the chunks to `into`; cancels after so many."""
        with self.client.generate_stream(prompt, **options) as stream:
            for chunk in stream:
                into.append(chunk)
                if len(into) == cancel_after:
                    stream.cancel()
            return stream.result()


class AsyncCaller:
    def __init__(self, address: str, **options: Any) -> None:
        self._runner = asyncio.Runner()

        async def connect() -> deltaserve.AsyncClient:
            return deltaserve.AsyncClient(address, **options)

        self.client = self._runner.run(connect())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self.client.close())
        self._runner.close()

    def call(self, method: str, *arguments: Any, **options: Any) -> Any:
        return self._runner.run(getattr(self.client, method)(*arguments, **options))

    def stream(self, prompt: Any, *, cancel_after: int | None = None, into: list[Any],
               **options: Any) -> deltaserve.Generation:
        async def read() -> deltaserve.Generation:
            async with self.client.generate_stream(prompt, **options) as stream:
                async for chunk in stream:
                    into.append(chunk)
                    if len(into) == cancel_after:
                        stream.cancel()
                return await stream.result()

        return self._runner.run(read())


Caller = type[BlockingCaller] | type[AsyncCaller]
