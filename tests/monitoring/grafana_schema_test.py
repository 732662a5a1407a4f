"""Grafana's own models of its JSON, those of its SDK for Grafana 10.1, know every key of the
dashboards. Needs requirements.txt."""

import json
import unittest

from grafana_foundation_sdk.cog import encoder, plugins
from grafana_foundation_sdk.models import dashboard as grafana

import dashboards

# Keys of Prometheus' annotations; the SDK models those of all sources alike.
_UNKNOWN = {"textFormat", "titleFormat"}


def _read_and_written(dashboard):
    model = grafana.Dashboard.from_json(json.loads(json.dumps(dashboard)))
    return json.loads(json.dumps(model, cls=encoder.JSONEncoder))


def _lost(before, after, path=""):
    """Where `after` has not what `before` has. What the models add are defaults."""
    if isinstance(before, dict) and isinstance(after, dict):
        for key, value in before.items():
            if key not in after:
                yield f"{path}.{key}"
            else:
                yield from _lost(value, after[key], f"{path}.{key}")
    elif isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        for index, (left, right) in enumerate(zip(before, after)):
            yield from _lost(left, right, f"{path}[{index}]")
    elif before != after:
        yield path


class GrafanaSchemaTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        plugins.register_default_plugins()

    def test_every_key_is_known(self):
        for path in dashboards.FILES:
            with self.subTest(dashboard=path.name):
                dashboard = dashboards.load(path)
                lost = [key for key in _lost(dashboard, _read_and_written(dashboard))
                        if key.rsplit(".", 1)[-1] not in _UNKNOWN]
                self.assertEqual(lost, [])

    def test_keys_that_are_not_known_are_seen(self):
        dashboard = dashboards.load(dashboards.FILES[0])
        panel = dashboards.panels(dashboard)[0]
        panel["options"]["misspelt"] = True
        panel["targets"][0]["misspelt"] = True
        lost = list(_lost(dashboard, _read_and_written(dashboard)))
        self.assertIn(".panels[0].options.misspelt", lost)
        self.assertIn(".panels[0].targets[0].misspelt", lost)


if __name__ == "__main__":
    unittest.main()
