"""Grafana's dashboards as deploy/ has them."""

import json
import re

from stack import DEPLOY

FILES = sorted((DEPLOY / "grafana" / "dashboards").glob("*.json"))


def load(path):
    return json.loads(path.read_text(encoding="utf-8"))


def panels(dashboard):
    """All but rows."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def variables(dashboard):
    return dashboard["templating"]["list"]


def substitute(expression, values):
    """The expression as Grafana sends it: `values` of variables by name."""
    def value(match):
        return values[match.group(1) or match.group(2)]
    return re.sub(r"\$(?:(\w+)|\{(\w+)\})", value, expression)
