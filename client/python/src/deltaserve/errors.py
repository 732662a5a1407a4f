"""How a call fails: one class for each status of docs/api.md."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from deltaserve import _decode
from deltaserve.results import Usage
from deltaserve.v1 import status_details_pb2, types_pb2


class DeltaserveError(Exception):
    """A call that did not end well, and what the server said about it."""

    status: grpc.StatusCode
    message: str
    request_id: str  # under which the server's log knows the call; empty where it did not say
    retry_delay: float | None  # seconds to wait before trying again, where that may help
    usage: Usage | None  # what the call had used, where the server had accepted it

    def __init__(self, status: grpc.StatusCode, message: str, *, request_id: str = "",
                 retry_delay: float | None = None, usage: Usage | None = None) -> None:
        super().__init__(f"{status.name}: {message}")
        self.status = status
        self.message = message
        self.request_id = request_id
        self.retry_delay = retry_delay
        self.usage = usage


class InvalidArgumentError(DeltaserveError):
    """The request is malformed, out of range, or too large; the message names the field."""


class NotFoundError(DeltaserveError):
    """No such model, or request; the message lists what is served."""


class ResourceExhaustedError(DeltaserveError):
    """The queue is full, or the tenant's rate or budget is used up; retry_delay may help."""


class UnauthenticatedError(DeltaserveError):
    """No API key, or one that is not valid."""


class PermissionDeniedError(DeltaserveError):
    """The key's tenant may not use the model, or see what it asks for."""


class DeadlineExceededError(DeltaserveError):
    """The timeout passed, while the call waited or while it ran."""


class CancelledError(DeltaserveError):
    """The call was cancelled."""


class UnavailableError(DeltaserveError):
    """No server answers, it is draining, or it went away during the call."""


class FailedPreconditionError(DeltaserveError):
    """The server lacks what the call needs, such as a ledger."""


class InternalError(DeltaserveError):
    """A bug of the server; its log has more under the request id."""


_CLASSES: dict[grpc.StatusCode, type[DeltaserveError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgumentError,
    grpc.StatusCode.NOT_FOUND: NotFoundError,
    grpc.StatusCode.RESOURCE_EXHAUSTED: ResourceExhaustedError,
    grpc.StatusCode.UNAUTHENTICATED: UnauthenticatedError,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDeniedError,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceededError,
    grpc.StatusCode.CANCELLED: CancelledError,
    grpc.StatusCode.UNAVAILABLE: UnavailableError,
    grpc.StatusCode.FAILED_PRECONDITION: FailedPreconditionError,
    grpc.StatusCode.INTERNAL: InternalError,
}


def error_of(call: Any) -> DeltaserveError:
    """The error of a failed call: a grpc.Call or a grpc.aio.AioRpcError."""
    trailing = dict(call.trailing_metadata() or ())
    return error(call.code(), call.details() or "", trailing)


def error(status: grpc.StatusCode, message: str,
          trailing: Mapping[str, str | bytes]) -> DeltaserveError:
    return _CLASSES.get(status, DeltaserveError)(
        status, message,
        request_id=str(trailing.get("deltaserve-request-id", "")),
        retry_delay=_retry_delay(_binary(trailing, "grpc-status-details-bin")),
        usage=_usage(_binary(trailing, "deltaserve-usage-bin")))


def _binary(trailing: Mapping[str, str | bytes], key: str) -> bytes | None:
    value = trailing.get(key)
    return value if isinstance(value, bytes) else None


# What cannot be read, somebody between the server and us has put there.


def _usage(serialized: bytes | None) -> Usage | None:
    try:
        return None if serialized is None else _decode.usage(types_pb2.Usage.FromString(serialized))
    except DecodeError:
        return None


def _retry_delay(status_details: bytes | None) -> float | None:
    try:
        for detail in status_details_pb2.StatusDetails.FromString(status_details or b"").details:
            if detail.type_url == "type.googleapis.com/google.rpc.RetryInfo":
                delay = status_details_pb2.RetryInfo.FromString(detail.value).retry_delay
                return delay.seconds + delay.nanos / 1e9
    except DecodeError:
        pass
    return None
