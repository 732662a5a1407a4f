"""A server that does what a test tells it to."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Self

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message

from deltaserve.v1 import admin_pb2, inference_pb2, status_details_pb2, types_pb2

_REQUESTS: dict[str, type[Message]] = {
    "Generate": inference_pb2.GenerateRequest,
    "GenerateStream": inference_pb2.GenerateRequest,
    "Score": inference_pb2.ScoreRequest,
    "Tokenize": inference_pb2.TokenizeRequest,
    "Detokenize": inference_pb2.DetokenizeRequest,
    "ListModels": inference_pb2.ListModelsRequest,
    "GetModel": inference_pb2.GetModelRequest,
    "GetUsage": admin_pb2.GetUsageRequest,
}


@dataclasses.dataclass(frozen=True)
class Turn:
    """How one call goes: messages, and then perhaps a status other than OK, or nothing at all."""

    messages: Sequence[Message] = ()
    status: grpc.StatusCode = grpc.StatusCode.OK
    details: str = ""
    trailing: tuple[tuple[str, str | bytes], ...] = ()
    hangs: bool = False  # after its messages, until the call is over


@dataclasses.dataclass(frozen=True)
class Received:
    method: str
    request: Any
    metadata: dict[str, str | bytes]
    seconds_left: float | None  # to its deadline


def failure(status: grpc.StatusCode, details: str = "", *, retry_after: float | None = None,
            usage: types_pb2.Usage | None = None, request_id: str = "",
            after: Sequence[Message] = ()) -> Turn:
    """A call that ends badly, with the trailing metadata that the server would send."""
    trailing: list[tuple[str, str | bytes]] = []
    if retry_after is not None:
        whole = int(retry_after)
        retry = status_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(
            seconds=whole, nanos=round((retry_after - whole) * 1e9)))
        trailing.append(("grpc-status-details-bin", status_details_pb2.StatusDetails(
            code=status.value[0], message=details,
            details=[any_pb2.Any(type_url="type.googleapis.com/google.rpc.RetryInfo",
                                 value=retry.SerializeToString())]).SerializeToString()))
    if usage is not None:
        trailing.append(("deltaserve-usage-bin", usage.SerializeToString()))
    if request_id:
        trailing.append(("deltaserve-request-id", request_id))
    return Turn(after, status, details, tuple(trailing))


class FakeServer(grpc.GenericRpcHandler):
    """Calls take the turns in their order; the last one again and again."""

    def __init__(self, *turns: Turn, credentials: grpc.ServerCredentials | None = None) -> None:
        self.received: list[Received] = []
        self.is_called = threading.Event()
        self.is_over = threading.Event()  # a call that hung is
        self._turns = list(turns)
        self._lock = threading.Lock()
        self._server = grpc.server(concurrent.futures.ThreadPoolExecutor(4), handlers=[self],
                                   options=(("grpc.so_reuseport", 0),))
        self.port = (self._server.add_insecure_port("127.0.0.1:0") if credentials is None
                     else self._server.add_secure_port("127.0.0.1:0", credentials))
        self.address = f"127.0.0.1:{self.port}"
        self._server.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._server.stop(grace=None).wait()

    def service(self, handler_call_details: Any) -> grpc.RpcMethodHandler[Any, Any]:
        method = handler_call_details.method.rpartition("/")[2]

        def take_turn(request: Any, context: grpc.ServicerContext) -> Turn:
            with self._lock:
                turn = self._turns[min(len(self.received), len(self._turns) - 1)]
                self.received.append(Received(
                    method, request, dict(context.invocation_metadata()),
                    context.time_remaining()))
            # Before anything is sent: a call that is over is not heard of again.
            if turn.hangs and not context.add_callback(self.is_over.set):
                self.is_over.set()
            self.is_called.set()
            return turn

        def end(turn: Turn, context: grpc.ServicerContext) -> None:
            if turn.hangs:
                self.is_over.wait()
            context.set_trailing_metadata(turn.trailing)
            if turn.status is not grpc.StatusCode.OK:
                context.abort(turn.status, turn.details)

        def unary(request: Any, context: grpc.ServicerContext) -> Message:
            turn = take_turn(request, context)
            end(turn, context)
            return turn.messages[0] if turn.messages else inference_pb2.GenerateResponse()

        def stream(request: Any, context: grpc.ServicerContext) -> Iterator[Message]:
            turn = take_turn(request, context)
            yield from turn.messages
            end(turn, context)

        def serialize(message: Message) -> bytes:
            return message.SerializeToString()

        parse = _REQUESTS[method].FromString
        if method == "GenerateStream":
            return grpc.unary_stream_rpc_method_handler(stream, parse, serialize)
        return grpc.unary_unary_rpc_method_handler(unary, parse, serialize)
