"""The examples of client/python do what they say."""

from __future__ import annotations

import json
import subprocess
import sys

from real_server import ROOT, RealServer

_EXAMPLES = ROOT / "client" / "python" / "examples"
_DEMO = json.loads((ROOT / "models" / "demo" / "prompts.json").read_text(encoding="utf-8"))


def _run(server: RealServer, example: str, *arguments: str) -> str:
    done = subprocess.run([sys.executable, _EXAMPLES / example, server.address, *arguments],
                          capture_output=True, text=True, encoding="utf-8", timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_generate(server: RealServer) -> None:
    first, second, *streamed = _run(server, "generate.py", _DEMO["question"]).splitlines()
    assert first == f"{_DEMO['question']} {_DEMO['answer']}.  [STOP]"
    assert second.endswith(" ms of the device")
    assert "".join(streamed)


def test_choose(server: RealServer) -> None:
    ranked = _run(server, "choose.py", _DEMO["question"], *_DEMO["answers"]).splitlines()
    assert len(ranked) == len(_DEMO["answers"])
    assert ranked[0].startswith(_DEMO["answer"])
    assert ranked[0].endswith("what the model would say")


def test_rewrites(server: RealServer) -> None:
    _, *rows = _run(server, "rewrites.py", _DEMO["question"]).splitlines()
    assert len(rows) == 2 * 5
    assert all(0 < float(row.split()[2]) < 2 for row in rows)


def test_many(server: RealServer) -> None:
    asked = _run(server, "many.py", *[_DEMO["question"]] * 3, "").splitlines()
    assert asked[:3] == [f"{_DEMO['question']} {_DEMO['answer']}"] * 3
    assert "! INVALID_ARGUMENT" in asked[3]
