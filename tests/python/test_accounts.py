"""Keys, and what has been used, with the real server."""

from __future__ import annotations

import datetime
import pathlib
import subprocess
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from both_clients import Caller
from real_server import DELTACTL, RealServer, real_server

import deltaserve


class Accounts(NamedTuple):
    server: RealServer
    alice: str  # keys
    operator: str


def _add_key(file: pathlib.Path, tenant: str, *flags: str) -> str:
    done = subprocess.run([DELTACTL, "keys", "add", "--file", file, "--tenant", tenant, *flags],
                          capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture(scope="module")
def accounts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Accounts]:
    folder = tmp_path_factory.mktemp("accounts")
    keys = folder / "keys"
    alice, operator = _add_key(keys, "alice"), _add_key(keys, "operator", "--admin")
    with real_server(folder / "log", "--keys", str(keys), "--ledger", str(folder / "ledger"),
                     "--admin", "127.0.0.1:0", "--usd-per-device-hour", "3.60") as server:
        yield Accounts(server, alice, operator)


def test_a_key_is_needed(accounts: Accounts, caller: Caller) -> None:
    with caller(accounts.server.address) as client, pytest.raises(deltaserve.UnauthenticatedError):
        client.call("generate", "Anna is in")
    with caller(accounts.server.address, api_key="no.key") as client, \
            pytest.raises(deltaserve.UnauthenticatedError):
        client.stream("Anna is in", into=[])


def test_what_a_request_used_is_in_the_ledger(accounts: Accounts, caller: Caller) -> None:
    with caller(accounts.server.address, api_key=accounts.alice) as client:
        generation = client.call("generate", "Anna is in", max_tokens=5)
    assert generation.usage.durable
    with caller(accounts.server.admin, api_key=accounts.operator) as admin:
        request = admin.call("request_usage", generation.request_id)
        (total,) = admin.call("usage_totals", by=["tenant", "day"], tenant="alice")
    assert (request.tenant, request.model, request.state) == ("alice", "demo", "closed")
    assert request.usage.completion_tokens == 5
    assert request.usage.cost_usd == generation.usage.cost_usd
    assert request.billed_usd == generation.usage.billed_usd
    assert request.opened.tzinfo is not None and request.closed >= request.opened
    assert total.tenant == "alice" and total.model is None
    assert isinstance(total.day, datetime.date)
    assert total.requests >= 1


def test_others_usage_is_not_shown(accounts: Accounts, caller: Caller) -> None:
    with caller(accounts.server.admin, api_key=accounts.alice) as admin, \
            pytest.raises(deltaserve.PermissionDeniedError):
        admin.call("usage_totals", tenant="operator")
