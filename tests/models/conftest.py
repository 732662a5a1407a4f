"""Puts models/ on the import path; finds the golden fixtures and the build."""

import os
import pathlib
import sys

import pytest
import torch

_ROOT = pathlib.Path(__file__).resolve().parents[2]
GOLDEN = pathlib.Path(os.environ.get("DELTASERVE_GOLDEN", _ROOT / "tests" / "golden"))

BUILD = pathlib.Path(os.environ.get("DELTASERVE_BUILD", _ROOT / "build" / "release"))

MODELS = _ROOT / "models"

sys.path.insert(0, str(MODELS))
torch.set_num_threads(1)


@pytest.fixture
def golden() -> pathlib.Path:
    """The folder of the golden fixtures."""
    return GOLDEN


@pytest.fixture
def build() -> pathlib.Path:
    """The folder in which the server is built."""
    return BUILD


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "fixture_folder" in metafunc.fixturenames:
        folders = sorted(path.parent for path in GOLDEN.glob("*/golden.json"))
        assert folders, f"no golden fixtures under {GOLDEN}"
        metafunc.parametrize("fixture_folder", folders, ids=lambda folder: folder.name)
