"""Which calls are made again, and when. The decision alone: neither waits nor calls."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from deltaserve.errors import DeltaserveError, ResourceExhaustedError, UnavailableError


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often a call that has not started may be made again.

    That is: the server could not be reached or was going away (UNAVAILABLE), or it refused the call
    and said how long to wait (RESOURCE_EXHAUSTED with a RetryInfo); no message of a stream has
    come; and the status tells of no usage, as it does of requests that the server had accepted.
    A server that dies without a word is another matter: what it had computed of a call is then
    computed, and perhaps billed, once more.
    """

    max_attempts: int = 5
    first_delay: float = 0.2  # seconds; doubled from one UNAVAILABLE to the next
    max_delay: float = 10.0  # seconds; a server that asks for more is not asked again


DEFAULT = RetryPolicy()


class Attempts:
    """The attempts of one call. Its timeout bounds all of them, and the waiting in between."""

    def __init__(self, policy: RetryPolicy | None, timeout: float | None, *,
                 clock: Callable[[], float] = time.monotonic,
                 jitter: Callable[[], float] = random.random) -> None:
        self._policy = policy or RetryPolicy(max_attempts=1)
        self._clock = clock
        self._jitter = jitter  # in [0, 1)
        self._made = 1
        self._deadline = math.inf if timeout is None else clock() + timeout

    def timeout(self) -> float | None:
        """What is left for the present attempt."""
        left = self._deadline - self._clock()
        return None if left == math.inf else max(left, 0.0)

    def delay_after(self, error: DeltaserveError) -> float:
        """Seconds to wait until the next attempt; raises `error` where there is none."""
        delay = self._delay(error)
        if (delay is None or delay > self._policy.max_delay or error.usage is not None
                or self._made >= self._policy.max_attempts
                or self._clock() + delay >= self._deadline):
            raise error
        self._made += 1
        return delay

    def _delay(self, error: DeltaserveError) -> float | None:
        # Different callers come back at different times.
        backoff = self._policy.first_delay * 2.0 ** (self._made - 1) * (0.5 + 0.5 * self._jitter())
        if isinstance(error, UnavailableError):
            return min(backoff, self._policy.max_delay)
        if isinstance(error, ResourceExhaustedError) and error.retry_delay is not None:
            return error.retry_delay + min(backoff, self._policy.first_delay)
        return None
