"""The client that blocks; aio.py has its twin for asyncio."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Iterable, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import grpc

from deltaserve import _connection, _operations
from deltaserve._collect import Collector
from deltaserve._connection import Tls
from deltaserve._operations import GenerateOptions, Operation, Prompt, TokenIds, UsageKey
from deltaserve.errors import error_of
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


class Client:
    """A connection to a server.

    Made at once: the first call connects, and one after a lost connection does so again. Any number
    of threads may call. Every call takes a `timeout` in seconds, within which it has ended, retries
    included (None: the client's); the server knows it, and stops. Errors are DeltaserveErrors.
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
            grpc.insecure_channel(address, options) if tls is None
            else grpc.secure_channel(address, _connection.credentials(tls), options))
        self._metadata = _connection.metadata(api_key)
        self._timeout = timeout
        self._retry = retry

    def close(self) -> None:
        """Ends the calls that are under way, in whatever thread, with CancelledError."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exc_type: type[BaseException] | None, exc: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.close()

    def generate(self, prompt: Prompt, *, model: str = "", timeout: float | None = None,
                 **options: Unpack[GenerateOptions]) -> Generation:
        """Continues a prompt. `model` may be left out where the server has one."""
        return self._call(_operations.generate(prompt, model, options), timeout)

    def generate_stream(self, prompt: Prompt, *, model: str = "", timeout: float | None = None,
                        **options: Unpack[GenerateOptions]) -> GenerationStream:
        """The same, as it comes."""
        return GenerationStream(self._channel, self._metadata,
                                _operations.generate_stream(prompt, model, options),
                                self._attempts(timeout))

    def score(self, sequence: Prompt, *, model: str = "", top_k: int | None = None,
              trace: bool = False, timeout: float | None = None) -> Score:
        """The log-probability of every token but the first, with `top_k` alternatives each.

        `trace` adds the rewrite trace of a DDL model.
        """
        return self._call(_operations.score(sequence, model, top_k, trace), timeout)

    def score_continuations(self, context: Prompt, continuations: Iterable[Prompt], *,
                            model: str = "", top_k: int | None = None,
                            timeout: float | None = None) -> ContinuationScores:
        """Those of several continuations of one context, which is computed once.

        Each is encoded on its own and appended.
        """
        return self._call(
            _operations.score_continuations(context, continuations, model, top_k), timeout)

    def tokenize(self, text: str, *, model: str = "", timeout: float | None = None) -> Tokens:
        return self._call(_operations.tokenize(text, model), timeout)

    def detokenize(self, token_ids: TokenIds, *, model: str = "",
                   timeout: float | None = None) -> str:
        """Bytes that are not UTF-8 become U+FFFD."""
        return self._call(_operations.detokenize(token_ids, model), timeout)

    def models(self, *, timeout: float | None = None) -> tuple[Model, ...]:
        """Those that the caller may use."""
        return self._call(_operations.list_models(), timeout)

    def model(self, name: str = "", *, timeout: float | None = None) -> Model:
        return self._call(_operations.get_model(name), timeout)

    def usage_totals(self, *, by: Collection[UsageKey] = (), tenant: str | None = None,
                     model: str | None = None, first_day: str | None = None,
                     last_day: str | None = None,
                     timeout: float | None = None) -> tuple[UsageTotal, ...]:
        """What requests that have ended have used, of what `tenant`, `model` and days choose.

        Days are as 2026-11-23, of UTC. For a client of the server's admin address.
        """
        return self._call(
            _operations.usage_totals(by, tenant=tenant, model=model, first_day=first_day,
                                     last_day=last_day), timeout)

    def request_usage(self, request_id: str, *, tenant: str | None = None,
                      timeout: float | None = None) -> RequestUsage:
        """What one request has used. For a client of the server's admin address."""
        return self._call(_operations.request_usage(request_id, tenant), timeout)

    def _attempts(self, timeout: float | None) -> Attempts:
        return Attempts(self._retry, self._timeout if timeout is None else timeout)

    def _call(self, operation: Operation[T], timeout: float | None) -> T:
        method = self._channel.unary_unary(
            operation.path, request_serializer=type(operation.request).SerializeToString,
            response_deserializer=operation.response.FromString)
        attempts = self._attempts(timeout)
        while True:
            try:
                return operation.decode(method(
                    operation.request, timeout=attempts.timeout(), metadata=self._metadata))
            except grpc.RpcError as failure:
                error = error_of(failure)
            time.sleep(attempts.delay_after(error))


class GenerationStream:
    """A generation as it comes, made by Client.generate_stream:

        with client.generate_stream("Once upon") as stream:
            for chunk in stream:
                print(chunk.text, end="", flush=True)

    To leave the `with` before the end cancels the call. One thread iterates; cancel() may be called
    from any. What had come before an error stays in `samples`.
    """

    def __init__(self, channel: grpc.Channel, metadata: _connection.Metadata,
                 operation: Operation[inference_pb2.GenerateChunk], attempts: Attempts) -> None:
        self._method = channel.unary_stream(
            operation.path, request_serializer=type(operation.request).SerializeToString,
            response_deserializer=operation.response.FromString)
        self._metadata = metadata
        self._operation = operation
        self._attempts = attempts
        self._collector = Collector()
        self._has_begun = False
        self._cancelled = threading.Event()
        self._start()

    def _start(self) -> None:
        self._call = self._method(self._operation.request, timeout=self._attempts.timeout(),
                                  metadata=self._metadata)
        if self._cancelled.is_set():  # while there was no call that cancel() could have ended
            self._call.cancel()

    @property
    def request_id(self) -> str:
        """Empty before the first chunk."""
        return self._collector.request_id

    @property
    def samples(self) -> tuple[Sample, ...]:
        """What there is by now."""
        return self._collector.samples()

    def result(self) -> Generation:
        """Reads what is left, and gives what generate would have given."""
        for _ in self:
            pass
        return self._collector.generation()

    def cancel(self) -> None:
        """The call ends with CancelledError, unless it has ended already."""
        self._cancelled.set()
        self._call.cancel()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Chunk:
        while True:
            try:
                message = next(self._call)
            except grpc.RpcError as failure:
                error = error_of(failure)
            else:
                self._has_begun = True
                return self._collector.add(self._operation.decode(message))
            error.request_id = error.request_id or self.request_id
            if self._has_begun:
                raise error
            self._cancelled.wait(self._attempts.delay_after(error))
            self._start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, exc_type: type[BaseException] | None, exc: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.cancel()
