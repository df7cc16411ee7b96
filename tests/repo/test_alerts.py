"""The alert rules for Prometheus ask for metrics that exist."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from odp_logging import OdpClient

pytest.importorskip("prometheus_client")
pytest.importorskip("yaml")

import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from odp_logging.prometheus import OdpCollector

from ..conftest import KEY
from ..fleet.test_relay_metrics import NAMES

ALERTS = Path(__file__).parents[2] / "examples" / "prometheus" / "alerts.yml"
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]


def read_series() -> dict[str, set[str]]:
    """Return the names of all series of a client without events, and their labels."""
    client = OdpClient(KEY, api_host="http://127.0.0.1:9", handle_sigterm=False)
    registry = CollectorRegistry()
    registry.register(OdpCollector({"shop": client}))
    series: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            series.setdefault(sample.name, set()).update(sample.labels)
    return series


def test_each_rule_is_complete():
    """It has a name of its own, a severity and a summary."""
    assert len({rule["alert"] for rule in RULES}) == len(RULES) > 5
    for rule in RULES:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert rule["annotations"]["summary"]


def test_the_metrics_of_the_rules_exist():
    """All series exist before the first event, with the labels of the rules."""
    series = read_series()
    for rule in RULES:
        names = re.findall(r"\bodp_(?:logging|relay)_\w+", rule["expr"])
        assert names, rule["alert"]
        assert set(names) <= series.keys() | NAMES.keys()
        for name, label in re.findall(r"(odp_logging_\w+)\{(\w+)", rule["expr"]):
            assert label in series[name]


def test_promtool_accepts_the_rules():
    """Where Prometheus is installed, it checks the expressions."""
    promtool = shutil.which("promtool")
    if promtool is not None:
        subprocess.run([promtool, "check", "rules", ALERTS], check=True, timeout=60)
