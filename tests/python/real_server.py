"""A server of the build, with the demo model, for as long as a test wants it."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import subprocess
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("DELTASERVE_BUILD", ROOT / "build" / "release"))
DELTACTL = BUILD / "client" / "cli" / "deltactl"

_DELTASERVE = BUILD / "server" / "deltaserve"
_MODEL = ROOT / "models" / "demo" / "ddl_cc_ec"


@dataclasses.dataclass(frozen=True)
class RealServer:
    address: str
    admin: str  # empty: it has none


@contextlib.contextmanager
def real_server(log: pathlib.Path, *flags: str) -> Iterator[RealServer]:
    """On free ports of loopback, from readiness on. `log` is where it writes."""
    command = [str(_DELTASERVE), "--model", f"demo={_MODEL}",
               "--listen", "127.0.0.1:0", "--metrics", "",
               "--device-gbytes-per-second", "1", "--device-tflops", "1", *flags]
    with log.open("w") as err, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=err,
                                                text=True) as process:
        try:
            addresses: dict[str, str] = {}
            assert process.stdout is not None
            for line in process.stdout:
                what, _, address = line.strip().partition(" on ")
                addresses[what] = address
                if what == "listening":
                    break
            assert "listening" in addresses, log.read_text()
            yield RealServer(addresses["listening"], addresses.get("administration", ""))
        finally:
            process.terminate()
            try:
                process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                process.kill()
