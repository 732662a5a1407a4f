"""The types and the style of the package, its examples and these tests."""

from __future__ import annotations

import pathlib
import subprocess
import sys

import pytest
from real_server import ROOT

import deltaserve

_PACKAGE = ROOT / "client" / "python"
_TESTS = ROOT / "tests" / "python"


def _check(*command: str | pathlib.Path) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=_PACKAGE, capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_ruff_finds_nothing() -> None:
    _check("ruff", "check", "--no-cache", "--config", "pyproject.toml", ".", _TESTS)


@pytest.mark.parametrize("what", [["-p", "deltaserve"], ["hatch_build.py"], [_TESTS],
                                  *[[path] for path in sorted(_PACKAGE.glob("examples/*.py"))]],
                         ids=lambda what: pathlib.Path(what[-1]).stem)
def test_mypy_strict_finds_nothing(what: list[str | pathlib.Path],
                                   tmp_path_factory: pytest.TempPathFactory) -> None:
    cache = tmp_path_factory.getbasetemp() / "mypy"
    _check("mypy", "--cache-dir", cache, "--python-executable", sys.executable, *what)


def test_the_package_says_that_it_is_typed() -> None:
    assert (pathlib.Path(deltaserve.__file__).parent / "py.typed").exists()


def test_all_names_are_there() -> None:
    assert all(hasattr(deltaserve, name) for name in deltaserve.__all__)
