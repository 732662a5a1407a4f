"""The `cuda` target, on a machine without a GPU: it says so, and serves on the CPU where that is asked."""

import os

import pytest

from container import Container

NO_DEVICE = 3


@pytest.fixture(scope="module")
def image(images):
    return images["cuda"]


@pytest.mark.parametrize("flags", [[], ["--device", "cuda:0"]])
def test_without_a_device_it_says_so_and_ends_with_3(image, flags):
    with Container(image["root"], image["config"], flags) as container:
        code, log = container.wait()
    assert code == NO_DEVICE
    # The library was found, and all that it needs: it was CUDA that looked for a device.
    assert "cuda:0: no device answers: cuda" in log


def test_all_libraries_are_found(image):
    with Container(image["root"], image["config"], ["--device", "cpu"]) as container:
        container.wait_for_line("listening on")
        library = container.inside("ldd", "/usr/local/lib/libdeltaserve_cuda.so")
    assert library.returncode == 0
    assert "not found" not in library.stdout
    assert "libcublasLt.so.13 => /usr/local/lib/libcublasLt.so.13" in library.stdout


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_it_serves_on_the_cpu(image, device):
    with Container(image["root"], image["config"], ["--device", device]) as container:
        container.wait_for_line("listening on")
        assert container.health() == 0
        answer = container.inside("deltactl", "generate", "--max-tokens", "4", "Anna is in")
        assert answer.returncode == 0 and answer.stdout
        assert container.stop()[0] == 0


def test_it_asks_for_the_driver_as_nvidia_s_engines_understand(image):
    assert {"NVIDIA_VISIBLE_DEVICES=all", "NVIDIA_DRIVER_CAPABILITIES=compute,utility"} <= set(
        image["config"]["Env"])


def test_it_has_no_more_of_cuda_than_it_needs(image):
    kept = sorted(os.listdir(os.path.join(image["root"], "usr/local/lib")))
    assert [name for name in kept if name.startswith("lib")] == [
        "libcublasLt.so.13", "libdeltaserve_cuda.so"]
