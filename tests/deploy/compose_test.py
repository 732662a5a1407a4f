"""deploy/compose, as docker-compose resolves it: that takes its schema, and no engine."""

import os
import subprocess

import yaml

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FOLDER = os.path.join(ROOT, "deploy/compose")


def test_it_resolves_and_what_it_mounts_is_there():
    printed = subprocess.run(
        ["docker-compose", "--file", os.path.join(FOLDER, "compose.yaml"), "config"],
        stdout=subprocess.PIPE, text=True, check=True).stdout
    services = yaml.safe_load(printed)["services"]
    assert set(services) == {"deltaserve", "prometheus", "grafana"}
    mounted = [mount.split(":")[0] for service in services.values()
               for mount in service["volumes"] if mount.startswith("/")]
    assert len(mounted) == 5
    assert all(os.path.exists(path) for path in mounted), mounted


def test_prometheus_finds_the_server():
    with open(os.path.join(FOLDER, "targets.yml"), encoding="utf-8") as file:
        (group,) = yaml.safe_load(file)
    assert group["targets"] == ["deltaserve:9464"]
