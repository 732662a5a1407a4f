"""What is tried again, what is not, and what an error says; against a server made to fail."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from both_clients import Caller
from fake_server import FakeServer, Turn, failure

import deltaserve
from deltaserve.v1 import inference_pb2, types_pb2

_AT_ONCE = deltaserve.RetryPolicy(max_attempts=3, first_delay=0.001)

_USAGE = types_pb2.Usage(prompt_tokens=3, completion_tokens=2, device_seconds=0.5)
_WHOLE = Turn([inference_pb2.GenerateResponse(
    request_id="r-1", samples=[inference_pb2.Sample(text="barn")], usage=_USAGE)])
_FIRST = inference_pb2.GenerateChunk(
    request_id="r-2", model="m", seed=5, samples=[inference_pb2.Sample(text="ba", token_ids=[1])])
_LAST = inference_pb2.GenerateChunk(
    samples=[inference_pb2.Sample(text="rn", token_ids=[2], finish_reason=types_pb2.LENGTH)],
    usage=_USAGE)

_DRAINING = failure(grpc.StatusCode.UNAVAILABLE, "draining")


def _generate(client: Any, **options: Any) -> str:
    return str(client.call("generate", "Anna", **options).text)


def _stream(client: Any, **options: Any) -> str:
    return str(client.stream("Anna", into=[], **options).text)


_calls = pytest.mark.parametrize(
    ("call", "success"), [(_generate, _WHOLE), (_stream, Turn([_FIRST, _LAST]))],
    ids=["generate", "stream"])


@_calls
def test_what_has_not_started_is_tried_again(caller: Caller, call: Any, success: Turn) -> None:
    full = failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "queue full", retry_after=0.001)
    with FakeServer(_DRAINING, full, success) as server, \
            caller(server.address, retry=_AT_ONCE) as client:
        assert call(client) == "barn"
        assert len(server.received) == 3


@_calls
def test_attempts_have_an_end(caller: Caller, call: Any, success: Turn) -> None:
    with FakeServer(_DRAINING) as server, caller(server.address, retry=_AT_ONCE) as client:
        with pytest.raises(deltaserve.UnavailableError, match="draining"):
            call(client)
        assert len(server.received) == 3


@_calls
@pytest.mark.parametrize("turn", [
    failure(grpc.StatusCode.INVALID_ARGUMENT),
    failure(grpc.StatusCode.INTERNAL),
    failure(grpc.StatusCode.UNKNOWN),
    failure(grpc.StatusCode.CANCELLED),
    failure(grpc.StatusCode.DEADLINE_EXCEEDED),
    failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "budget"),  # waiting does not help
    failure(grpc.StatusCode.RESOURCE_EXHAUSTED, retry_after=3600),
    failure(grpc.StatusCode.UNAVAILABLE, "device lost", usage=_USAGE),  # it had been accepted
], ids=["invalid", "internal", "unknown", "cancelled", "deadline", "budget", "hour", "accepted"])
def test_nothing_else_is(caller: Caller, call: Any, success: Turn, turn: Turn) -> None:
    with FakeServer(turn, success) as server, caller(server.address, retry=_AT_ONCE) as client:
        with pytest.raises(deltaserve.DeltaserveError) as caught:
            call(client)
        assert caught.value.status is turn.status
        assert len(server.received) == 1


@_calls
def test_retries_can_be_off(caller: Caller, call: Any, success: Turn) -> None:
    with FakeServer(_DRAINING, success) as server, caller(server.address, retry=None) as client:
        with pytest.raises(deltaserve.UnavailableError):
            call(client)
        assert len(server.received) == 1


def test_a_stream_that_has_begun_is_never_repeated(caller: Caller) -> None:
    broken = failure(grpc.StatusCode.UNAVAILABLE, "gone", after=[_FIRST])
    with FakeServer(broken, Turn([_FIRST, _LAST])) as server, \
            caller(server.address, retry=_AT_ONCE) as client:
        chunks: list[deltaserve.Chunk] = []
        with pytest.raises(deltaserve.UnavailableError) as caught:
            client.stream("Anna", into=chunks)
        assert [chunk.text for chunk in chunks] == ["ba"]
        assert caught.value.request_id == "r-2"  # of the first chunk
        assert len(server.received) == 1


def test_what_had_come_before_an_error_is_kept() -> None:
    broken = failure(grpc.StatusCode.INTERNAL, after=[_FIRST])
    with FakeServer(broken) as server, deltaserve.Client(server.address) as client:
        stream = client.generate_stream("Anna")
        with pytest.raises(deltaserve.InternalError):
            stream.result()
        (sample,) = stream.samples
        assert (sample.text, sample.token_ids, sample.finish_reason) == ("ba", (1,), None)
        assert stream.request_id == "r-2"


def test_a_stream_without_its_last_message_has_no_result(caller: Caller) -> None:
    with FakeServer(Turn([_FIRST])) as server, caller(server.address) as client, \
            pytest.raises(deltaserve.InternalError, match="usage"):
        client.stream("Anna", into=[])


@_calls
def test_an_error_says_what_the_server_said(caller: Caller, call: Any, success: Turn) -> None:
    turn = failure(grpc.StatusCode.RESOURCE_EXHAUSTED, "budget of alice", retry_after=61.5,
                   usage=_USAGE, request_id="r-9")
    with FakeServer(turn) as server, caller(server.address) as client, \
            pytest.raises(deltaserve.ResourceExhaustedError) as caught:
        call(client)
    error = caught.value
    assert str(error) == "RESOURCE_EXHAUSTED: budget of alice"
    assert (error.message, error.request_id, error.retry_delay) == ("budget of alice", "r-9", 61.5)
    assert error.usage is not None
    assert (error.usage.prompt_tokens, error.usage.device_seconds) == (3, 0.5)


def test_metadata_of_a_stranger_does_no_harm(caller: Caller) -> None:
    turn = Turn(status=grpc.StatusCode.INTERNAL, details="proxy", trailing=(
        ("grpc-status-details-bin", b"\xff\xff"), ("deltaserve-usage-bin", b"\xff\xff")))
    with FakeServer(turn) as server, caller(server.address) as client, \
            pytest.raises(deltaserve.InternalError) as caught:
        client.call("generate", "Anna")
    assert caught.value.usage is None and caught.value.retry_delay is None


@_calls
def test_the_server_knows_key_and_deadline(caller: Caller, call: Any, success: Turn) -> None:
    with FakeServer(success) as server, \
            caller(server.address, api_key="id.secret", timeout=1000.0) as client:
        call(client)
        call(client, timeout=100.0)
        assert [call.metadata["authorization"] for call in server.received] == \
            ["Bearer id.secret"] * 2
        first, second = (call.seconds_left or 0.0 for call in server.received)
        assert 500 < first <= 1050  # the wire rounds up
        assert 0 < second <= 105


@_calls
def test_a_timeout_ends_a_call_that_hangs(caller: Caller, call: Any, success: Turn) -> None:
    with FakeServer(Turn(hangs=True)) as server, caller(server.address) as client:
        with pytest.raises(deltaserve.DeadlineExceededError):
            call(client, timeout=0.2)
        assert not server.received or server.is_over.wait(10)  # it may not have come that far


def test_calls_go_round_the_replicas(caller: Caller) -> None:
    config = '{"loadBalancingConfig": [{"round_robin": {}}]}'
    with FakeServer(_WHOLE) as one, FakeServer(_WHOLE) as other, \
            caller(f"ipv4:{one.address},{other.address}",
                   channel_options=[("grpc.service_config", config)]) as client:
        for _ in range(1000):
            client.call("generate", "Anna")
            if one.received and other.received:
                break
        assert one.received and other.received


def test_where_nobody_listens_the_server_is_unavailable(caller: Caller) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        with caller(address, retry=_AT_ONCE) as client, \
                pytest.raises(deltaserve.UnavailableError):
            client.call("models")


def _once_called(server: FakeServer, act: Callable[[], None]) -> None:
    """On a thread of its own."""
    def wait_and_act() -> None:
        assert server.is_called.wait(10)
        act()

    threading.Thread(target=wait_and_act).start()


def test_a_stream_is_cancelled_from_another_thread() -> None:
    with FakeServer(Turn([_FIRST], hangs=True)) as server, \
            deltaserve.Client(server.address) as client:
        stream = client.generate_stream("Anna")
        next(stream)
        threading.Thread(target=stream.cancel).start()
        with pytest.raises(deltaserve.CancelledError):
            next(stream)
        assert server.is_over.wait(10)


def test_a_stream_is_cancelled_while_it_waits_to_try_again() -> None:
    patient = deltaserve.RetryPolicy(first_delay=3600.0, max_delay=3600.0)
    with FakeServer(_DRAINING) as server, \
            deltaserve.Client(server.address, retry=patient) as client:
        stream = client.generate_stream("Anna")
        _once_called(server, stream.cancel)
        with pytest.raises(deltaserve.CancelledError):
            next(stream)


def test_to_leave_a_stream_early_cancels_it() -> None:
    with FakeServer(Turn([_FIRST], hangs=True)) as server, \
            deltaserve.Client(server.address) as client:
        with client.generate_stream("Anna") as stream:
            next(stream)
        assert server.is_over.wait(10)


def test_closing_the_client_ends_its_calls() -> None:
    with FakeServer(Turn(hangs=True)) as server:
        client = deltaserve.Client(server.address)
        _once_called(server, client.close)
        with pytest.raises(deltaserve.CancelledError):
            client.generate("Anna")
        assert server.is_over.wait(10)


async def _wait_for(event: threading.Event) -> None:
    assert await asyncio.to_thread(event.wait, 10)


def test_a_cancelled_task_ends_its_call() -> None:
    async def main(address: str, server: FakeServer, streams: bool) -> None:
        async with deltaserve.AsyncClient(address) as client:
            task = asyncio.ensure_future(
                client.generate_stream("Anna").result() if streams else client.generate("Anna"))
            await _wait_for(server.is_called)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await _wait_for(server.is_over)

    for streams in (False, True):
        with FakeServer(Turn(hangs=True)) as server:
            asyncio.run(main(server.address, server, streams))


def test_closing_the_asyncio_client_ends_its_calls() -> None:
    async def main(server: FakeServer) -> None:
        client = deltaserve.AsyncClient(server.address)
        call = asyncio.ensure_future(client.generate("Anna"))
        await _wait_for(server.is_called)
        await client.close()
        with pytest.raises(deltaserve.CancelledError):
            await call

    with FakeServer(Turn(hangs=True)) as server:
        asyncio.run(main(server))


def test_a_finish_reason_of_a_newer_server_is_not_an_error(caller: Caller) -> None:
    newer = inference_pb2.Sample()
    newer.ParseFromString(b"\x20\x63")  # field 4, 99
    with FakeServer(Turn([inference_pb2.GenerateResponse(samples=[newer])])) as server, \
            caller(server.address) as client:
        generation = client.call("generate", "Anna")
    assert generation.finish_reason is deltaserve.FinishReason.OTHER
