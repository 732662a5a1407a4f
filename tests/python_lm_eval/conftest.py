"""The real server of tests/python, and an adapter that asks it."""

from __future__ import annotations

import os
import pathlib
import sys
from collections.abc import Iterator

import pytest

# The harness is to find everything here.
os.environ["HF_HUB_OFFLINE"] = os.environ["HF_DATASETS_OFFLINE"] = "1"

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "python"))

from real_server import RealServer, real_server

from deltaserve.lm_eval import DeltaserveLM


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealServer]:
    with real_server(tmp_path_factory.mktemp("server") / "log") as running:
        yield running


@pytest.fixture(scope="session")
def lm(server: RealServer) -> DeltaserveLM:
    return DeltaserveLM(server.address, num_concurrent=4)
