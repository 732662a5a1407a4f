"""The rules are good, do what they say in promtool's simulation, and every alert is explained."""

import re
import subprocess
import tempfile
import unittest

from stack import DEPLOY, ROOT, undocumented_metrics

_RULES = sorted((DEPLOY / "prometheus" / "rules").glob("*.yml"))
_TESTS = sorted((DEPLOY / "prometheus" / "rule_tests").glob("*.yml"))


def _promtool(*arguments):
    done = subprocess.run(["promtool", *map(str, arguments)], stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    return done.returncode, done.stdout.decode()


class RulesTest(unittest.TestCase):
    def assert_promtool_agrees(self, *arguments):
        code, output = _promtool(*arguments)
        self.assertEqual(code, 0, output)

    def alerts(self):
        text = (DEPLOY / "prometheus" / "rules" / "alerts.yml").read_text()
        return re.findall(r"^ +- alert: (\w+)$", text, re.MULTILINE)

    def test_rules_are_good(self):
        self.assert_promtool_agrees("check", "rules", "--lint=all", "--lint-fatal", *_RULES)

    def test_metrics_are_documented(self):
        for path in _RULES:
            rules = re.sub(r"^.*(- name:|#).*$", "", path.read_text(), flags=re.MULTILINE)
            self.assertEqual(undocumented_metrics(rules), set(), path.name)

    def test_configuration_is_good(self):
        self.assert_promtool_agrees("check", "config", DEPLOY / "prometheus" / "prometheus.yml")

    def test_simulations(self):
        groups = [name for path in sorted(_RULES, reverse=True)  # what alerts read comes first
                  for name in re.findall(r"- name: (\w+)", path.read_text())]
        for path in _TESTS:
            order = re.search(r"group_eval_order:\s+\[(.*?)\]", path.read_text(), re.DOTALL)
            self.assertEqual(re.findall(r"\w+", order.group(1)), groups, path.name)
        self.assert_promtool_agrees("test", "rules", *_TESTS)

    def test_simulations_can_fail(self):
        health = DEPLOY / "prometheus" / "rule_tests" / "health.yml"
        text = health.read_text().replace("../rules/", f"{DEPLOY}/prometheus/rules/")
        with tempfile.NamedTemporaryFile("w", suffix=".yml") as changed:
            changed.write(text.replace("values: 1x20 0x20", "values: 1x40"))
            changed.flush()
            code, output = _promtool("test", "rules", changed.name)
        self.assertNotEqual(code, 0)
        self.assertIn("DeltaserveDown", output)

    def test_every_alert_is_seen_firing_and_silent(self):
        text = "".join(path.read_text() for path in _TESTS)
        silent = set(re.findall(r"alertname: (\w+), exp_alerts: \[\]", text))
        firing = set(re.findall(r"alertname: (\w+)\n +exp_alerts:\n +- ", text))
        self.assertEqual(set(self.alerts()), silent)
        self.assertEqual(set(self.alerts()), firing)

    def test_every_alert_is_in_the_runbook(self):
        rules = (DEPLOY / "prometheus" / "rules" / "alerts.yml").read_text()
        links = re.findall(r"runbook_url: (\S+)", rules)
        self.assertEqual(links, [f"docs/monitoring.md#{name.lower()}" for name in self.alerts()])
        headings = re.findall(r"^### (\w+)$", (ROOT / "docs" / "monitoring.md").read_text(),
                              re.MULTILINE)
        self.assertEqual(headings, self.alerts())


if __name__ == "__main__":
    unittest.main()
