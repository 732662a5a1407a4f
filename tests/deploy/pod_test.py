"""The server as pods of deploy/kubernetes run it: the rendered configuration, arguments and probes.

What the cluster mounts lies under a folder, which stands before the paths; free ports stand for the
rendered ones.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
from dataclasses import dataclass

import pytest
import yaml

import kustomize

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FOLDER = os.path.join(ROOT, "deploy/kubernetes")
TLS = ["tls", "mutual_tls"]


@dataclass
class Pod:
    """A container's command line, and what else of it has to be tried here."""
    command: list
    probe: list  # empty: gRPC's own
    address: str
    secrets: str  # the folder of the secret with the certificate
    deltactl: str

    def serve(self):
        """The server's process, once it serves."""
        server = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  text=True)
        for line in server.stdout:
            if line.startswith("listening on"):
                return server
        raise AssertionError(server.communicate()[1])

    def call(self, *flags):
        return subprocess.run([self.deltactl, *flags, "--address", self.address, "--timeout", "20"],
                              capture_output=True, text=True, timeout=60, check=False)


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def make_certificate(folder):
    """What cert-manager makes of our Certificate: tls.crt, tls.key and ca.crt."""
    with open(os.path.join(FOLDER, "cert_manager/certificate.yaml"), encoding="utf-8") as file:
        wanted = yaml.safe_load(file)["spec"]
    names = [*(f"DNS:{name}" for name in wanted["dnsNames"]),
             *(f"IP:{address}" for address in wanted["ipAddresses"])]
    usages = ",".join({"server auth": "serverAuth", "client auth": "clientAuth"}[usage]
                      for usage in wanted["usages"] if usage.endswith("auth"))
    new_key = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
               "-nodes", "-days", "1"]

    def run(*command):
        subprocess.run(command, cwd=folder, check=True, capture_output=True)

    run(*new_key, "-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.crt")
    run(*new_key, "-subj", "/CN=deltaserve", "-keyout", "tls.key", "-out", "tls.crt",
        "-CA", "ca.crt", "-CAkey", "ca.key", "-addext", "subjectAltName=" + ",".join(names),
        "-addext", "basicConstraints=critical,CA:FALSE", "-addext", f"extendedKeyUsage={usages}")


@pytest.fixture
def pod(request, tmp_path):
    """Makes the Pod of base with a component, or with none; everything that it mounts is there."""
    build = request.config.getoption("--build")
    deltactl = os.path.join(build, "client/cli/deltactl")
    etc = tmp_path / "etc"
    for folder in ["keys", "tls"]:
        (etc / folder).mkdir(parents=True)
    subprocess.run([deltactl, "keys", "add", "--file", etc / "keys/keys.textproto", "--tenant", "t"],
                   check=True, capture_output=True)
    make_certificate(etc / "tls")

    def make(component):
        components = [f"../components/{component}"] if component else []
        built = {one["kind"]: one
                 for one in kustomize.build(os.path.join(FOLDER, "base"), components)}
        (container,) = built["Deployment"]["spec"]["template"]["spec"]["containers"]
        ports = {str(port["containerPort"]): free_port() for port in container["ports"]}

        def here(text):
            text = text.replace("/etc/deltaserve", str(etc))
            text = text.replace("/models/demo", os.path.join(ROOT, "models/demo/ddl_cc_ec"))
            return re.sub(r"\b(" + "|".join(ports) + r")\b", lambda port: ports[port[0]], text)

        (etc / "server.textproto").write_text(here(built["ConfigMap"]["data"]["server.textproto"]))
        with open(os.path.join(ROOT, "Dockerfile"), encoding="utf-8") as file:
            entry = json.loads(re.search(r"^ENTRYPOINT (.*)$", file.read(), re.MULTILINE)[1])
        entry[0] = os.path.join(build, "server/deltaserve")
        probe = container["readinessProbe"].get("exec", {}).get("command", [])
        address = f"127.0.0.1:{ports['50051']}"
        if probe:
            assert probe[0] == "deltactl"
            probe = [deltactl, *probe[1:], f"--address={address}"]  # else the port of the image
        return Pod([*map(here, [*entry, *container["args"]])], [*map(here, probe)], address,
                   str(etc / "tls"), deltactl)

    return make


@pytest.mark.parametrize("component", TLS)
def test_it_serves_with_tls_and_probes_succeed(pod, component):
    made = pod(component)
    server = made.serve()
    try:
        probed = subprocess.run(made.probe, capture_output=True, text=True, timeout=60, check=False)
        assert (probed.returncode, probed.stdout) == (0, "SERVING\n"), probed.stderr
        assert made.call("health").returncode == 1  # in the clear
        trusting = ["--tls-ca", f"{made.secrets}/ca.crt"]
        shown = ["--tls-cert", f"{made.secrets}/tls.crt", "--tls-key", f"{made.secrets}/tls.key"]
        assert made.call("health", *trusting, *shown).returncode == 0
        assert made.call("health", *trusting).returncode == (1 if component == "mutual_tls" else 0)
        keyless = made.call("generate", *trusting, *shown, "Anna")
        assert keyless.returncode == 1 and "UNAUTHENTICATED" in keyless.stderr
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)
    assert server.returncode == 0


def test_a_pod_whose_secret_has_no_certificate_names_the_file(pod):
    made = pod("tls")
    shutil.rmtree(made.secrets)
    ended = subprocess.run(made.command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "tls.crt" in ended.stderr


def test_it_serves_in_the_clear_where_that_was_chosen(pod):
    made = pod("plaintext")
    server = made.serve()
    try:
        assert made.probe == []
        assert made.call("health").returncode == 0
    finally:
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)
    assert server.returncode == 0


def test_with_neither_it_refuses_to_take_keys_in_the_clear(pod):
    ended = subprocess.run(pod(None).command, capture_output=True, text=True, timeout=60,
                           check=False)
    assert ended.returncode == 2
    assert "without TLS" in ended.stderr and "--tls-cert" in ended.stderr
