"""The options of these tests."""


def pytest_addoption(parser):
    parser.addoption("--build", required=True, help="the build folder with the finished binaries")
