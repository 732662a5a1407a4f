"""A real server under load, scraped by a real Prometheus: every panel and every rule has data.

What only an NVIDIA device gives comes from a kept scrape, as a second server.
"""

import contextlib
import math
import pathlib
import re
import subprocess
import tempfile
import threading
import unittest

import dashboards
import stack

_MODELS = stack.ROOT / "models" / "demo"
_GPU_METRICS = {name: (kind, labels) for name, (kind, labels, remark)
                in stack.documented_metrics().items() if "NVIDIA" in remark}
_TENANTS = {"acme": "5/month", "globex": None}
# At most, together with what it takes to start; it takes a fraction of that.
_SECONDS = 120


def _put_load_on(server, stop):
    """Calls of each kind, by each tenant, to each model, one by one, until `stop` is set."""
    story = "The kite belongs to Clara. Clara gave the kite to Leo. Who has the kite now? Answer:"
    while not stop.is_set():
        for model in ("ddl", "additive"):
            for tenant in _TENANTS:
                server.call(tenant, "generate", "--model", model, "--max-tokens", "48", story)
                server.call(tenant, "score", "--model", model, "--continuation", " Leo.", story)
            server.call("acme", "generate", "--model", model, "-n", "2", "--max-tokens", "4", story)


class LiveTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with contextlib.ExitStack() as started:
            folder = pathlib.Path(started.enter_context(tempfile.TemporaryDirectory()))
            models = {"ddl": _MODELS / "ddl_cc_ec", "additive": _MODELS / "additive"}
            cls.server = started.enter_context(
                stack.serving(folder, models, _TENANTS, ["--usd-per-device-hour", "2.49"]))
            scrape = pathlib.Path(__file__).with_name("nvidia_scrape.txt")
            cls.gpu = started.enter_context(stack.kept_scrape(scrape))
            cls.prometheus = started.enter_context(
                stack.prometheus(folder, [cls.server.metrics, cls.gpu]))
            stop = threading.Event()
            load = threading.Thread(target=_put_load_on, args=(cls.server, stop))
            load.start()
            started.callback(load.join)
            started.callback(stop.set)
            cls.addClassCleanup(started.pop_all().close)

    def until_each_has_data(self, expressions):
        """Every expression has a sample that is a number; `expressions` is by name."""
        missing = dict(expressions)

        def none_missing():
            for name, expression in expressions.items():
                if name in missing and any(math.isfinite(value) for _, value in
                                           self.prometheus.query(expression)):
                    del missing[name]
            return not missing
        stack.until(none_missing, lambda: f"data of {missing}", _SECONDS)

    def values_of(self, dashboard, instance):
        """What variables stand for, of one instance: as Grafana does, where all is chosen."""
        values = {"__rate_interval": "10s", "__range": "1m", "instance": instance}
        for variable in dashboards.variables(dashboard)[1:]:
            if variable["name"] != "instance":
                values[variable["name"]] = ".*" if variable.get("multi") else None
        return values

    def test_every_panel_has_data(self):
        for path in dashboards.FILES:
            dashboard = dashboards.load(path)
            values = self.values_of(dashboard, ".*")
            values.update({"ddl": "ddl", "twin": "additive"})
            expressions = {}
            for panel in dashboards.panels(dashboard):
                for target in panel["targets"]:
                    expressions[path.stem, panel["title"], panel["id"], target["refId"]] = (
                        dashboards.substitute(target["expr"], values))
            self.until_each_has_data(expressions)

    def test_only_gpu_panels_need_a_gpu(self):
        instance = self.server.metrics
        for path in dashboards.FILES:
            dashboard = dashboards.load(path)
            values = self.values_of(dashboard, instance)
            values.update({"ddl": "ddl", "twin": "additive"})
            expressions = {}
            for panel in dashboards.panels(dashboard):
                for target in panel["targets"]:
                    expression = dashboards.substitute(target["expr"], values)
                    if any(metric in expression for metric in _GPU_METRICS):
                        self.assertEqual(self.prometheus.query(expression), [], panel["title"])
                    else:
                        expressions[path.stem, panel["title"], target["refId"]] = expression
            self.until_each_has_data(expressions)

    def test_every_variable_has_choices(self):
        for path in dashboards.FILES:
            dashboard = dashboards.load(path)
            values = self.values_of(dashboard, ".*")
            for variable in dashboards.variables(dashboard)[1:]:
                query = dashboards.substitute(variable["query"], values)
                self.assertRegex(query, r"^label_values\(.*, \w+\)$")
                selector, label = query[len("label_values("):-1].rsplit(", ", 1)
                stack.until(lambda: self.prometheus.labels(label, selector), query, _SECONDS)

    def test_every_recording_rule_has_data(self):
        rules = self.prometheus.rules("recording")
        self.assertTrue(rules)
        self.until_each_has_data({rule["name"]: rule["name"] for rule in rules})
        for rule in self.prometheus.rules("recording"):
            self.assertEqual(rule["health"], "ok", rule.get("lastError"))

    def test_alerts_are_silent(self):
        rules = self.prometheus.rules("alerting")
        self.assertTrue(rules)
        for rule in rules:
            if rule["labels"]["severity"] != "info":
                stack.until(lambda: not self.prometheus.query(rule["query"]), rule["name"])
            self.assertIn(rule["health"], ("ok", "unknown"), rule.get("lastError"))

    def test_what_is_shown_adds_up(self):
        """The device's cost by phase and by state is its price: the panels show all there is."""
        price = ('3600 * (sum(rate(deltaserve_cost_usd_total[10s]))'
                 ' + sum(rate(deltaserve_idle_cost_usd_total[10s])))')

        def is_the_price():
            return [value for _, value in self.prometheus.query(price) if 2.3 < value < 2.7]
        stack.until(is_the_price, lambda: self.prometheus.query(price), _SECONDS)

    def test_the_kept_scrape_is_as_documented(self):
        text = stack.http_get(f"http://{self.gpu}/metrics")
        types = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
        for name, (kind, labels) in _GPU_METRICS.items():
            self.assertEqual(types.get(name), kind, name)
            for sample in re.findall(rf"^{name}(?:{{(.*)}})? ", text, re.MULTILINE):
                self.assertEqual(set(re.findall(r"(\w+)=", sample)), labels, name)

    def test_promtool_has_nothing_against_the_scrape(self):
        for scrape in (self.server.scrape(), stack.http_get(f"http://{self.gpu}/metrics")):
            done = subprocess.run(["promtool", "check", "metrics"], input=scrape.encode(),
                                  stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            self.assertEqual((done.returncode, done.stdout.decode()), (0, ""))


if __name__ == "__main__":
    unittest.main()
