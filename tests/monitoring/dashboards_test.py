"""The dashboards' JSON has the shape that Grafana expects, and they keep some manners. Grafana
itself does not take part."""

import itertools
import re
import unittest

import dashboards
import stack

_WIDTH = 24
# Grafana's own.
_BUILT_IN = {"__rate_interval", "__range"}
_TYPES = {"timeseries", "stat", "bargauge", "barchart", "heatmap", "state-timeline", "table"}
_TRANSFORMATIONS = {"convertFieldType", "joinByField", "organize", "sortBy"}


def _names(text):
    return set(re.findall(r"\$\{?(\w+)", text))


def _of_each(check):
    """A test of one dashboard becomes one of all."""
    def test(self):
        for path in dashboards.FILES:
            with self.subTest(dashboard=path.name):
                check(self, dashboards.load(path))
    return test


class DashboardsTest(unittest.TestCase):
    def test_there_are_three(self):
        self.assertEqual([path.name for path in dashboards.FILES],
                         ["cost.json", "ddl.json", "serving.json"])

    def test_they_can_be_told_apart(self):
        loaded = [dashboards.load(path) for path in dashboards.FILES]
        self.assertEqual(len({dashboard["uid"] for dashboard in loaded}), len(loaded))
        self.assertEqual(len({dashboard["title"] for dashboard in loaded}), len(loaded))

    @_of_each
    def test_head(self, dashboard):
        self.assertRegex(dashboard["uid"], r"^deltaserve-[a-z]+$")
        self.assertTrue(dashboard["title"].startswith("Deltaserve: "))
        self.assertNotIn("id", dashboard)  # a database's, not a file's
        self.assertGreaterEqual(dashboard["schemaVersion"], 36)
        self.assertIn("deltaserve", dashboard["tags"])
        self.assertEqual([link["tags"] for link in dashboard["links"]], [["deltaserve"]])

    @_of_each
    def test_variables(self, dashboard):
        names = [variable["name"] for variable in dashboards.variables(dashboard)]
        self.assertEqual(len(set(names)), len(names))
        self.assertEqual(names[0], "datasource")
        self.assertLessEqual({"instance", "model"}, set(names))
        used = set().union(*(_names(target["expr"]) for panel in dashboards.panels(dashboard)
                             for target in panel["targets"]))
        self.assertLessEqual(used, set(names) | _BUILT_IN)
        self.assertLessEqual(set(names) - {"datasource"}, used)
        for variable in dashboards.variables(dashboard)[1:]:
            self.assertEqual(variable["datasource"]["uid"], "${datasource}")
            self.assertEqual(variable.get("allValue"), ".*" if variable.get("multi") else None)

    @_of_each
    def test_panels(self, dashboard):
        ids = [panel["id"] for panel in dashboard["panels"]]
        self.assertEqual(len(set(ids)), len(ids))
        for panel in dashboards.panels(dashboard):
            with self.subTest(panel=panel["title"]):
                self.assertIn(panel["type"], _TYPES)
                self.assertEqual(panel["datasource"],
                                 {"type": "prometheus", "uid": "${datasource}"})
                self.assertTrue(panel["fieldConfig"]["defaults"]["unit"])
                self.assertTrue(panel["targets"])
                self.assertIn("overrides", panel["fieldConfig"])
                steps = {step["id"] for step in panel.get("transformations", [])}
                self.assertLessEqual(steps, _TRANSFORMATIONS)

    @_of_each
    def test_targets(self, dashboard):
        for panel in dashboards.panels(dashboard):
            refs = [target["refId"] for target in panel["targets"]]
            self.assertEqual(refs, list("ABCDEFGH")[:len(refs)], panel["title"])
            for target in panel["targets"]:
                with self.subTest(panel=panel["title"], target=target["refId"]):
                    is_table = target.get("format") == "table"
                    self.assertEqual("legendFormat" not in target, is_table)
                    self.assertEqual(panel["type"] == "heatmap",
                                     target.get("format") == "heatmap")
                    # What a legend names is what the expression leaves.
                    for label in re.findall(r"{{(\w+)}}", target.get("legendFormat", "")):
                        self.assertRegex(target["expr"], rf"\b{label}\b")
                    # A window of fixed length shows nothing when Prometheus scrapes more seldom.
                    self.assertNotRegex(target["expr"], r"\[\d")

    @_of_each
    def test_metrics_are_documented(self, dashboard):
        for panel in dashboards.panels(dashboard):
            for target in panel["targets"]:
                self.assertEqual(stack.undocumented_metrics(target["expr"]), set(), panel["title"])
        for variable in dashboards.variables(dashboard):
            self.assertEqual(stack.undocumented_metrics(variable["query"]), set())

    @_of_each
    def test_the_grid_is_full_and_nothing_overlaps(self, dashboard):
        boxes = [panel["gridPos"] for panel in dashboard["panels"]]
        for box in boxes:
            self.assertTrue(0 <= box["x"] and box["x"] + box["w"] <= _WIDTH, box)
        for a, b in itertools.combinations(boxes, 2):
            apart = (a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"] or
                     a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"])
            self.assertTrue(apart, (a, b))
        height = max(box["y"] + box["h"] for box in boxes)
        self.assertEqual(sum(box["w"] * box["h"] for box in boxes), _WIDTH * height)


if __name__ == "__main__":
    unittest.main()
