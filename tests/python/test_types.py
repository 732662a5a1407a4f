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
_LM_EVAL_TESTS = ROOT / "tests" / "python_lm_eval"


def _check(*command: str | pathlib.Path) -> None:
    done = subprocess.run([sys.executable, "-m", *command], cwd=_PACKAGE, capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_ruff_finds_nothing() -> None:
    _check("ruff", "check", "--no-cache", "--config", "pyproject.toml", ".", _TESTS,
           _LM_EVAL_TESTS)


@pytest.mark.parametrize("what", [
    ["-p", "deltaserve"],
    ["hatch_build.py", *sorted(_PACKAGE.glob("examples/**/*.py"))],
    [_TESTS],
    [_TESTS / "real_server.py", _LM_EVAL_TESTS],
], ids=["package", "examples", "tests", "lm_eval"])
def test_mypy_strict_finds_nothing(what: list[str | pathlib.Path],
                                   tmp_path_factory: pytest.TempPathFactory) -> None:
    cache = tmp_path_factory.getbasetemp() / "mypy"
    _check("mypy", "--config-file", "pyproject.toml", "--cache-dir", cache,
           "--python-executable", sys.executable, *what)


def test_the_package_says_that_it_is_typed() -> None:
    assert (pathlib.Path(deltaserve.__file__).parent / "py.typed").exists()


def test_all_names_are_there() -> None:
    assert all(hasattr(deltaserve, name) for name in deltaserve.__all__)
