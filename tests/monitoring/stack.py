"""What the tests start: the real server, the real Prometheus, and a server of a kept scrape. All
are on loopback, and end with their `with` block."""

import contextlib
import http.server
import itertools
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
SERVER = os.environ.get("DELTASERVE_BINARY", ROOT / "build/release/server/deltaserve")
DELTACTL = os.environ.get("DELTACTL_BINARY", ROOT / "build/release/client/cli/deltactl")

def documented_metrics():
    """(type, labels, remark) of each metric of docs/api.md by its name."""
    row = re.compile(r"^\| `(\w+)` \| (\w+) \|(.*?)\|(.*)\|$", re.MULTILINE)
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8").split("\n## Metrics\n")[1]
    return {f"deltaserve_{name}": (kind, set(re.findall(r"`(\w+)`", labels)), remark)
            for name, kind, labels, remark in row.findall(text)}


def undocumented_metrics(expression):
    """Names of the server's metrics in `expression` that docs/api.md does not know."""
    known = set()
    for name, (kind, _, _) in documented_metrics().items():
        suffixes = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
        known.update(name + suffix for suffix in suffixes)
    return set(re.findall(r"(?<![\w:])deltaserve_\w+(?![\w:])", expression)) - known


_DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def http_get(url):
    with _DIRECT.open(url, timeout=10) as answer:
        return answer.read().decode()


def until(condition, what, seconds=60):
    """The first true value of `condition()`, asked again and again; AssertionError when late."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {seconds} s: {what() if callable(what) else what}")
        time.sleep(0.1)


@contextlib.contextmanager
def running(command, log):
    """The process of `command`, whose output goes to the file `log`; ended with SIGTERM."""
    with open(log, "wb") as out:
        process = subprocess.Popen([str(word) for word in command], stdin=subprocess.DEVNULL,
                                   stdout=out, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class Server:
    """deltaserve with a key for each tenant."""

    def __init__(self, address, metrics, keys):
        self.address = address
        self.metrics = metrics  # HOST:PORT
        self._keys = keys

    def scrape(self):
        return http_get(f"http://{self.metrics}/metrics")

    def call(self, tenant, *arguments):
        """deltactl's exit code."""
        command = [DELTACTL, *arguments, "--address", self.address]
        environment = dict(os.environ, DELTASERVE_API_KEY=self._keys[tenant])
        return subprocess.run([str(word) for word in command], env=environment, timeout=60,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode


@contextlib.contextmanager
def serving(folder, models, tenants, flags=()):
    """A Server of `models`, a dict of folders by name. `tenants` has each one's budget, or None."""
    keys_file, log = folder / "keys.textproto", folder / "deltaserve.log"
    keys = {}
    for tenant, budget in tenants.items():
        command = [DELTACTL, "keys", "add", "--file", keys_file, "--tenant", tenant]
        command += ["--budget", budget] if budget else []
        keys[tenant] = subprocess.run([str(word) for word in command], check=True,
                                      stdout=subprocess.PIPE).stdout.decode().split()[-1]
    command = [SERVER, "--listen", "127.0.0.1:0", "--metrics", "127.0.0.1:0", "--threads", "1",
               "--keys", keys_file, "--ledger", folder / "usage.db", *flags]
    for name, model in models.items():
        command += ["--model", f"{name}={model}"]
    with running(command, log) as process:
        def addresses():
            assert process.poll() is None, log.read_text()
            return re.search(r"^metrics on http://(\S+)/metrics\nlistening on (\S+)\n",
                             log.read_text(), re.MULTILINE)
        metrics, address = until(addresses, log.read_text).groups()
        yield Server(address, metrics, keys)


class Prometheus:
    def __init__(self, url):
        self._url = url

    def ready(self):
        try:
            return http_get(f"{self._url}/-/ready")
        except (urllib.error.URLError, OSError):
            return None

    def get(self, path, **parameters):
        """`data` of the API's answer; ValueError where it is an error."""
        url = f"{self._url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            return json.loads(http_get(url))["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(json.loads(error.read())["error"]) from None

    def query(self, expression):
        """The samples of now: a list of (labels, value)."""
        result = self.get("query", query=expression)["result"]
        return [(sample["metric"], float(sample["value"][1])) for sample in result]

    def labels(self, label, selector):
        return self.get(f"label/{label}/values", **{"match[]": selector})

    def rules(self, kind):
        """Dicts of the rules of this kind, "recording" or "alerting"."""
        return [rule for group in self.get("rules")["groups"] for rule in group["rules"]
                if rule["type"] == kind]


@contextlib.contextmanager
def prometheus(folder, targets):
    """Prometheus as deploy/ configures it, but for the targets and a period of a second."""
    config = folder / "prometheus"
    shutil.copytree(DEPLOY / "prometheus", config)
    main = config / "prometheus.yml"
    text, periods = re.subn(r"(_interval:) 15s", r"\1 1s", main.read_text())
    assert periods == 2, text
    main.write_text(text)
    (config / "targets.yml").write_text(json.dumps([{"targets": targets}]))
    log = folder / "prometheus.log"
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = "%s:%d" % free.getsockname()
    command = ["prometheus", f"--config.file={main}", f"--web.listen-address={address}",
               f"--storage.tsdb.path={folder / 'tsdb'}", "--log.level=warn"]
    with running(command, log) as process:
        server = Prometheus(f"http://{address}")

        def ready():
            assert process.poll() is None, log.read_text()
            return server.ready()
        until(ready, log.read_text)
        yield server


@contextlib.contextmanager
def kept_scrape(path):
    """HOST:PORT where the file is /metrics; in the n-th scrape its counters are n times theirs."""
    text = path.read_text()
    scrapes = itertools.count(1)

    def counted():
        scrape = next(scrapes)
        return re.sub(r"^(\w+_total(?:{.*})?) (\S+)$",
                      lambda sample: f"{sample.group(1)} {scrape * float(sample.group(2))}",
                      text, flags=re.MULTILINE)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/plain; version=0.0.4")
            self.end_headers()
            with contextlib.suppress(BrokenPipeError):  # a scrape that took too long
                self.wfile.write(counted().encode())

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield "%s:%d" % server.server_address
        finally:
            server.shutdown()
            thread.join()
