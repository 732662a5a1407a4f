"""The client for asyncio, the twin of client.py."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import grpc

from deltaserve import _connection, _operations
from deltaserve._collect import Collector
from deltaserve._connection import Tls
from deltaserve._operations import GenerateOptions, Operation, Prompt, TokenIds, UsageKey
from deltaserve.errors import CancelledError, DeltaserveError, error_of
from deltaserve.results import (
    Chunk,
    ContinuationScores,
    Generation,
    Model,
    RequestUsage,
    Sample,
    Score,
    Tokens,
    UsageTotal,
)
from deltaserve.retry import DEFAULT, Attempts, RetryPolicy
from deltaserve.v1 import inference_pb2

T = TypeVar("T")


class AsyncClient:
    """A connection to a server.

    Made at once: the first call connects, and one after a lost connection does so again. It belongs
    to the event loop in which it is made. Every call takes a `timeout` in seconds, within which it
    has ended, retries included (None: the client's); the server knows it, and stops. Errors are
    DeltaserveErrors. A task that is cancelled ends its call.
    """

    def __init__(self, address: str, *, api_key: str | None = None, tls: Tls | None = None,
                 timeout: float | None = None, retry: RetryPolicy | None = DEFAULT,
                 channel_options: Sequence[tuple[str, Any]] = ()) -> None:
        """`address` is host:port, or any other name that gRPC resolves.

        Without TLS whoever is on the way can read the `api_key`. `retry` None: nothing is tried
        again. `channel_options` are gRPC's.
        """
        options = _connection.channel_options(tls, channel_options)
        self._channel = (
            grpc.aio.insecure_channel(address, options) if tls is None
            else grpc.aio.secure_channel(address, _connection.credentials(tls), options))
        self._metadata = _connection.metadata(api_key)
        self._timeout = timeout
        self._retry = retry

    async def close(self) -> None:
        """Ends the calls that are under way with CancelledError."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, exc_type: type[BaseException] | None, exc: BaseException | None,
                        traceback: TracebackType | None) -> None:
        await self.close()

    async def generate(self, prompt: Prompt, *, model: str = "", timeout: float | None = None,
                       **options: Unpack[GenerateOptions]) -> Generation:
        """Continues a prompt. `model` may be left out where the server has one."""
        return await self._call(_operations.generate(prompt, model, options), timeout)

    def generate_stream(self, prompt: Prompt, *, model: str = "", timeout: float | None = None,
                        **options: Unpack[GenerateOptions]) -> AsyncGenerationStream:
        """The same, as it comes."""
        return AsyncGenerationStream(self._channel, self._metadata,
                                     _operations.generate_stream(prompt, model, options),
                                     self._attempts(timeout))

    async def score(self, sequence: Prompt, *, model: str = "", top_k: int | None = None,
                    trace: bool = False, timeout: float | None = None) -> Score:
        """The log-probability of every token but the first, with `top_k` alternatives each.

        `trace` adds the rewrite trace of a DDL model.
        """
        return await self._call(_operations.score(sequence, model, top_k, trace), timeout)

    async def score_continuations(self, context: Prompt, continuations: Iterable[Prompt], *,
                                  model: str = "", top_k: int | None = None,
                                  timeout: float | None = None) -> ContinuationScores:
        """Those of several continuations of one context, which is computed once.

        Each is encoded on its own and appended.
        """
        return await self._call(
            _operations.score_continuations(context, continuations, model, top_k), timeout)

    async def tokenize(self, text: str, *, model: str = "", timeout: float | None = None) -> Tokens:
        return await self._call(_operations.tokenize(text, model), timeout)

    async def detokenize(self, token_ids: TokenIds, *, model: str = "",
                         timeout: float | None = None) -> str:
        """Bytes that are not UTF-8 become U+FFFD."""
        return await self._call(_operations.detokenize(token_ids, model), timeout)

    async def models(self, *, timeout: float | None = None) -> tuple[Model, ...]:
        """Those that the caller may use."""
        return await self._call(_operations.list_models(), timeout)

    async def model(self, name: str = "", *, timeout: float | None = None) -> Model:
        return await self._call(_operations.get_model(name), timeout)

    async def usage_totals(self, *, by: Collection[UsageKey] = (), tenant: str | None = None,
                           model: str | None = None, first_day: str | None = None,
                           last_day: str | None = None,
                           timeout: float | None = None) -> tuple[UsageTotal, ...]:
        """What requests that have ended have used, of what `tenant`, `model` and days choose.

        Days are as 2026-11-23, of UTC. For a client of the server's admin address.
        """
        return await self._call(
            _operations.usage_totals(by, tenant=tenant, model=model, first_day=first_day,
                                     last_day=last_day), timeout)

    async def request_usage(self, request_id: str, *, tenant: str | None = None,
                            timeout: float | None = None) -> RequestUsage:
        """What one request has used. For a client of the server's admin address."""
        return await self._call(_operations.request_usage(request_id, tenant), timeout)

    def _attempts(self, timeout: float | None) -> Attempts:
        return Attempts(self._retry, self._timeout if timeout is None else timeout)

    async def _call(self, operation: Operation[T], timeout: float | None) -> T:
        method = self._channel.unary_unary(
            operation.path, request_serializer=type(operation.request).SerializeToString,
            response_deserializer=operation.response.FromString)
        attempts = self._attempts(timeout)
        while True:
            error: DeltaserveError
            try:
                return operation.decode(await method(
                    operation.request, timeout=attempts.timeout(), metadata=self._metadata))
            except grpc.aio.AioRpcError as failure:
                error = error_of(failure)
            except asyncio.CancelledError:
                error = _cancelled()
            await asyncio.sleep(attempts.delay_after(error))


class AsyncGenerationStream:
    """A generation as it comes, made by AsyncClient.generate_stream:

        async with client.generate_stream("Once upon") as stream:
            async for chunk in stream:
                print(chunk.text, end="", flush=True)

    To leave the `async with` before the end cancels the call, and so does a cancellation of the
    task that iterates. What had come before an error stays in `samples`.
    """

    def __init__(self, channel: grpc.aio.Channel, metadata: _connection.Metadata,
                 operation: Operation[inference_pb2.GenerateChunk], attempts: Attempts) -> None:
        self._method = channel.unary_stream(
            operation.path, request_serializer=type(operation.request).SerializeToString,
            response_deserializer=operation.response.FromString)
        self._metadata = metadata
        self._operation = operation
        self._attempts = attempts
        self._collector = Collector()
        self._has_begun = False
        self._is_cancelled = False
        self._start()

    def _start(self) -> None:
        self._call = self._method(self._operation.request, timeout=self._attempts.timeout(),
                                  metadata=self._metadata)
        if self._is_cancelled:  # while there was no call that cancel() could have ended
            self._call.cancel()

    @property
    def request_id(self) -> str:
        """Empty before the first chunk."""
        return self._collector.request_id

    @property
    def samples(self) -> tuple[Sample, ...]:
        """What there is by now."""
        return self._collector.samples()

    async def result(self) -> Generation:
        """Reads what is left, and gives what generate would have given."""
        async for _ in self:
            pass
        return self._collector.generation()

    def cancel(self) -> None:
        """The call ends with CancelledError, unless it has ended already."""
        self._is_cancelled = True
        self._call.cancel()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Chunk:
        while True:
            error: DeltaserveError
            try:
                message = await self._call.read()
            except grpc.aio.AioRpcError as failure:
                error = error_of(failure)
            except asyncio.CancelledError:
                error = _cancelled()
            else:
                if message is grpc.aio.EOF:
                    raise StopAsyncIteration
                self._has_begun = True
                return self._collector.add(self._operation.decode(message))
            error.request_id = error.request_id or self.request_id
            if self._has_begun:
                raise error
            await asyncio.sleep(self._attempts.delay_after(error))
            self._start()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, exc_type: type[BaseException] | None, exc: BaseException | None,
                        traceback: TracebackType | None) -> None:
        self.cancel()


def _cancelled() -> CancelledError:
    """The error of a call that ended with asyncio's, which is that of a cancelled task.

    gRPC raises it, too, where the call alone was cancelled, or its channel closed.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
    return CancelledError(grpc.StatusCode.CANCELLED, "cancelled here")
