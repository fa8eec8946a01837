"""The alerts, by Prometheus's own tool: each is told when it should be, and only then."""

from __future__ import annotations

import re
import shutil
import subprocess
from typing import Any

import pytest
import yaml

from tests.e2e.operations.test_metrics_page import on_the_page

from .boards import METRIC, ROOT
from .test_dashboards import SUFFIXES

FOLDER = ROOT / "deploy" / "prometheus"
RULES: list[dict[str, Any]] = [
    rule
    for group in yaml.safe_load((FOLDER / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]


def promtool(*words: str) -> str:
    program = shutil.which("promtool")
    assert program is not None, "promtool is not installed: `make test` installs prometheus where it may"
    done = subprocess.run([program, *words], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_configuration_and_the_rules_are_valid() -> None:
    assert f"{len(RULES)} rules found" in promtool("check", "config", "prometheus.yaml")


@pytest.mark.slow
def test_alerts_are_told_when_they_should_be() -> None:
    assert "SUCCESS" in promtool("test", "rules", "alerts_test.yaml")


def test_every_alert_is_tested() -> None:
    tested = set(re.findall(r'alertname="(\w+)"', (FOLDER / "alerts_test.yaml").read_text(encoding="utf-8")))
    assert tested == {rule["alert"] for rule in RULES}


def test_alerts_name_metrics_of_the_page_and_say_how_bad_it_is() -> None:
    page = on_the_page()
    for rule in RULES:
        for name in METRIC.findall(rule["expr"]):
            assert name == "up" or name in page or SUFFIXES.sub("", name) in page, (rule["alert"], name)
        assert rule["labels"]["severity"] in ("page", "warn", "info")
        assert rule["annotations"]["summary"]
