"""The servers and clients of the tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from both_clients import AsyncCaller, BlockingCaller, Caller
from real_server import RealServer, real_server


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    """With a price, so that usage has a cost."""
    log = tmp_path_factory.mktemp("server") / "log"
    with real_server(log, "--usd-per-device-hour", "3.60") as running:
        yield running


@pytest.fixture(params=[BlockingCaller, AsyncCaller], ids=["blocking", "asyncio"])
def caller(request: pytest.FixtureRequest) -> Caller:
    caller: Caller = request.param
    return caller
