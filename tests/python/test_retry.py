"""When a call is made again, with a clock of the test's own."""

from __future__ import annotations

import grpc
import pytest

import deltaserve
from deltaserve.retry import Attempts, RetryPolicy


class _Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def _unavailable() -> deltaserve.DeltaserveError:
    return deltaserve.UnavailableError(grpc.StatusCode.UNAVAILABLE, "")


def _exhausted(seconds: float) -> deltaserve.DeltaserveError:
    return deltaserve.ResourceExhaustedError(grpc.StatusCode.RESOURCE_EXHAUSTED, "",
                                             retry_delay=seconds)


def test_delays_double_up_to_the_most() -> None:
    policy = RetryPolicy(max_attempts=6, first_delay=1.0, max_delay=5.0)
    attempts = Attempts(policy, None, jitter=lambda: 1.0)
    assert [attempts.delay_after(_unavailable()) for _ in range(5)] == [1.0, 2.0, 4.0, 5.0, 5.0]
    with pytest.raises(deltaserve.UnavailableError):
        attempts.delay_after(_unavailable())


def test_jitter_takes_up_to_half() -> None:
    attempts = Attempts(RetryPolicy(first_delay=1.0), None, jitter=lambda: 0.0)
    assert attempts.delay_after(_unavailable()) == 0.5


def test_the_server_is_never_asked_before_it_said() -> None:
    attempts = Attempts(RetryPolicy(first_delay=1.0, max_delay=10.0), None, jitter=lambda: 0.0)
    assert attempts.delay_after(_exhausted(7.0)) == 7.5
    with pytest.raises(deltaserve.ResourceExhaustedError):
        attempts.delay_after(_exhausted(10.5))


def test_the_timeout_bounds_attempts_and_waiting() -> None:
    clock = _Clock()
    attempts = Attempts(RetryPolicy(first_delay=1.0), 3.0, clock=clock, jitter=lambda: 1.0)
    assert attempts.timeout() == 3.0
    clock.now += 1.5
    assert attempts.delay_after(_unavailable()) == 1.0
    clock.now += 1.0
    assert attempts.timeout() == 0.5
    with pytest.raises(deltaserve.UnavailableError):  # it would be over before the next
        attempts.delay_after(_unavailable())
    clock.now += 5.0
    assert attempts.timeout() == 0.0


def test_without_a_timeout_there_is_none() -> None:
    assert Attempts(RetryPolicy(), None).timeout() is None
