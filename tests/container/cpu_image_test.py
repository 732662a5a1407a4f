"""Builds the `cpu` target for real, runs its server confined as in a cluster, and calls it."""

import os
import subprocess
import time

import pytest

from container import Container, json_of

MAX_ADDED_BYTES = 120e6
MAX_START_SECONDS = 2


@pytest.fixture(scope="module")
def image(images):
    return images["cpu"]


@pytest.fixture(scope="module")
def server(image):
    with Container(image["root"], image["config"]) as container:
        container.wait_for_line("listening on 0.0.0.0:50051")
        yield container


@pytest.fixture(scope="module")
def deltactl(build, server):
    return lambda *arguments: json_of(
        server.outside(os.path.join(build, "client/cli/deltactl"), arguments[0], "--json",
                       *arguments[1:]))


def test_the_image_is_small(image):
    size = int(subprocess.run(["du", "-s", "--block-size=1", image["root"]], text=True, check=True,
                              stdout=subprocess.PIPE).stdout.split()[0])
    added = size - image["base_bytes"]
    print(f"the image adds {added / 1e6:.1f} MB to its base")
    assert added <= MAX_ADDED_BYTES


def test_the_image_says_what_it_is(image):
    labels = image["config"]["Labels"]
    assert labels["org.opencontainers.image.title"] == "Deltaserve"
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert labels["org.opencontainers.image.revision"] == "tested"
    assert image["config"]["StopSignal"] == "SIGTERM"


def test_it_serves_soon(image):
    # The best of a few: what else the machine is doing is not the image's.
    seconds = []
    while len(seconds) < 5 and (not seconds or min(seconds) >= MAX_START_SECONDS):
        start = time.monotonic()
        with Container(image["root"], image["config"]) as container:
            container.wait_for_line("listening on")
            assert container.health() == 0
            seconds.append(time.monotonic() - start)
            assert container.stop()[0] == 0
    print(f"start to SERVING: {min(seconds):.2f} s")
    assert min(seconds) < MAX_START_SECONDS


def test_it_is_confined(server):
    status = server.status()
    assert status["Uid"].split() == ["65532"] * 4
    assert status["Gid"].split() == ["65532"] * 4
    assert status["NSpid"].split()[-1] == "1"
    assert status["NoNewPrivs"] == "1"
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    assert server.inside("touch", "/var/lib/deltaserve/file").returncode != 0  # read-only


def test_generate(deltactl):
    answer = deltactl("generate", "--temperature", "0", "--max-tokens", "8", "Anna is in")
    assert answer["text"]
    assert answer["usage"]["completion_tokens"] > 0


def test_score(deltactl):
    answer = deltactl("score", "--continuation", " the", "--continuation", " xyz", "Anna is in")
    assert len(answer["continuations"]) == 2
    assert all(each["loglik"] < 0 for each in answer["continuations"])


def test_health(server, image):
    assert server.health() == 0
    serving = server.inside("deltactl", "health", "--model", "demo")
    assert (serving.returncode, serving.stdout) == (0, "SERVING\n")
    unknown = server.inside("deltactl", "health", "--model", "other")
    assert unknown.returncode == 1 and "NOT_FOUND" in unknown.stderr


def test_metrics(server, deltactl):
    deltactl("generate", "--max-tokens", "1", "Anna")
    page = server.outside("curl", "--silent", "--fail", "http://127.0.0.1:9464/metrics")
    assert page.returncode == 0
    assert 'deltaserve_requests_total{method="Generate",model="demo",outcome="ok"}' in page.stdout


def test_flags_win_over_the_image_s_configuration(image):
    with Container(image["root"], image["config"],
                   ["--model", "mine=/models/demo", "--listen", "127.0.0.1:7000"]) as container:
        container.wait_for_line("listening on 127.0.0.1:7000")
        serving = container.inside("deltactl", "health", "--address", "127.0.0.1:7000",
                                   "--model", "mine")
        assert serving.stdout == "SERVING\n"


def test_sigterm_drains_and_ends_with_0(image):
    with Container(image["root"], image["config"]) as container:
        container.wait_for_line("listening on")
        code, log = container.stop()
    assert code == 0
    assert "SIGTERM: draining" in log and "stopped" in log


def test_a_mistake_ends_with_2_and_is_named(image):
    with Container(image["root"], image["config"], ["--dtype", "fp8"]) as container:
        code, log = container.wait()
    assert code == 2
    assert "--dtype" in log
