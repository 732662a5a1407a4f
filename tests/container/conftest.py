"""The options of these tests, and what they share: the images, built once."""

import json
import os
import subprocess

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))


def pytest_addoption(parser):
    parser.addoption("--build", required=True, help="the build folder with the finished binaries")
    parser.addoption("--targets", default="cpu", help="the targets to build: cpu, or cpu,cuda")


@pytest.fixture(scope="session")
def build(request):
    return request.config.getoption("--build")


@pytest.fixture(scope="session")
def images(request, build):
    """By target what build_images.sh prints, and the image's configuration as `config`."""
    targets = request.config.getoption("--targets").split(",")
    printed = subprocess.run([os.path.join(HERE, "build_images.sh"), build, *targets],
                             stdout=subprocess.PIPE, text=True, check=True).stdout
    lines = dict(line.split("=", 1) for line in printed.splitlines())
    built = {}
    for target in targets:
        with open(lines[f"{target}.description"], encoding="utf-8") as file:
            config = json.load(file)["Docker"]["config"]
        built[target] = {"root": lines[f"{target}.root"], "config": config,
                         "base_bytes": int(lines["base_bytes"])}
    return built
