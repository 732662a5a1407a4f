"""Generates the messages of proto/deltaserve/v1 whenever the package is built.

In a checkout the protos lie in ../../proto, in a source archive in proto. What is generated goes
into the wheel alone; an editable install has it in src, where git ignores it.
"""

from __future__ import annotations

import pathlib
import tempfile
from typing import Any

import grpc_tools
from grpc_tools import protoc
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_PACKAGE = "deltaserve/v1"
_PROTOS = ("admin", "inference", "status_details", "types")


class GeneratedMessages(BuildHookInterface):  # type: ignore[type-arg]
    """hatchling calls it around the build of a wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        root = pathlib.Path(self.root)
        if version == "editable":
            _generate(_proto_folder(root), root / "src")
            return
        self._out = tempfile.TemporaryDirectory()
        out = pathlib.Path(self._out.name)
        _generate(_proto_folder(root), out)
        for path in out.glob(f"{_PACKAGE}/*"):
            build_data["force_include"][str(path)] = f"{_PACKAGE}/{path.name}"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        if version != "editable":
            self._out.cleanup()


def _proto_folder(root: pathlib.Path) -> pathlib.Path:
    for folder in (root / "proto", root.parent.parent / "proto"):
        if (folder / _PACKAGE).is_dir():
            return folder
    raise FileNotFoundError(f"the protos are neither in {root}/proto nor in ../../proto of it")


def _generate(protos: pathlib.Path, out: pathlib.Path) -> None:
    well_known = pathlib.Path(grpc_tools.__file__).parent / "_proto"
    status = protoc.main(
        ["protoc", f"-I{protos}", f"-I{well_known}", f"--python_out={out}", f"--pyi_out={out}"]
        + [f"{_PACKAGE}/{name}.proto" for name in _PROTOS])
    if status != 0:
        raise RuntimeError(f"protoc ended with {status}")
