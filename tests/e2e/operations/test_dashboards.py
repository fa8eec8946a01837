"""Every query of every dashboard and alert, put to a real Prometheus that scrapes a gateway under replay load."""

from __future__ import annotations

import math
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.common.prometheus_server import Prometheus
from benchmarks.observability.watched_gateway import Watched, watched
from tests.deploy.boards import BOARDS, GRAFANA, METRIC, panels, targets
from tests.deploy.test_alerts import RULES
from tests.e2e.harness.scripted_provider import wait_until

pytestmark = pytest.mark.slow

LOAD_S = 22.0
PER_SECOND = 15.0
MAY_BE_MISSING = {"loupe_local_leases_usd", "loupe_comparison_qnc"}
"""Only with Redis; QNC only where some point of the frontier reaches the best single candidate, which little traffic
need not show.
"""
VARIABLES = {"$__rate_interval": "10s", "$__range": "20s", "$tenant": ".*", "$compared": "all"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    with watched(tmp_path_factory.mktemp("watched")) as found:
        found.load(PER_SECOND, LOAD_S)
        yield found


@pytest.fixture(scope="module")
def end(site: Watched) -> float:
    """When all of the load was answered, in seconds since the epoch."""
    return time.time()


def filled(expr: str, **changes: str) -> str:
    """With the values that Grafana would put in for its variables."""
    for name, value in {**VARIABLES, **{f"$__{name}": value for name, value in changes.items()}}.items():
        expr = expr.replace(name, value)
    assert "$" not in expr
    return expr


def known(prometheus: Prometheus, expr: str, at: float) -> bool:
    """Whether all that it asks for is exposed in this tree, and here."""
    missing = {name for name in METRIC.findall(expr) if not prometheus.at(f'count({{__name__="{name}"}})', at)}
    assert missing <= MAY_BE_MISSING, f"{expr}: {missing} was not scraped"
    return not missing


@pytest.mark.parametrize("board", BOARDS)
def test_every_panel_shows_series_and_every_value_is_a_number(site: Watched, end: float, board: str) -> None:
    faults = []
    for panel in panels(board):
        for target in panel["targets"]:
            expr = filled(target["expr"])
            if not known(site.prometheus, expr, end):
                continue
            if target["instant"]:
                series = site.prometheus.at(expr, end)
            else:
                series = site.prometheus.over(expr, end - 10, end, 2)
            values = [value for each in series for _, value in each.points]
            if not values:
                faults.append(f"{panel['title']}: no series: {expr}")
            if not all(map(math.isfinite, values)):
                faults.append(f"{panel['title']}: not finite: {expr}")
            wanted = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            if any(not wanted <= set(each.labels) for each in series):
                faults.append(f"{panel['title']}: a legend without its labels: {target['legendFormat']}")
    assert not faults, "\n".join(faults)


def test_nothing_is_divided_by_zero_while_nothing_happens(site: Watched, end: float) -> None:
    idle_since = end + 1
    time.sleep(max(idle_since + 5 - time.time(), 0))
    for _, panel, target in targets():
        expr = filled(target["expr"], rate_interval="3s", range="3s")
        for each in site.prometheus.at(expr, idle_since + 5):
            assert math.isfinite(each.value), (panel["title"], expr)


def test_both_queries_of_a_scatter_name_the_same_points(site: Watched, end: float) -> None:
    for panel in panels("loupe-spend-accuracy"):
        if panel["type"] == "xychart":
            x, y = (site.prometheus.at(filled(target["expr"]), end) for target in panel["targets"])
            points = {each.labels["point"] for each in y}
            assert points <= {each.labels["point"] for each in x}
            assert len(points) >= 3
            assert all(0 <= each.value <= 1 for each in y), panel["title"]


def test_the_figures_are_drawn_of_the_same_queries(site: Watched, tmp_path: Path) -> None:
    words = ["--prometheus", site.prometheus.url, "--seconds", str(int(LOAD_S)), "--out", str(tmp_path)]
    subprocess.run([sys.executable, GRAFANA / "render.py", *words], check=True)
    for name in ("spend-vs-accuracy.png", "spend-vs-accuracy-over-time.png"):
        with Image.open(tmp_path / name) as figure:
            assert figure.size[0] >= 1_000
            assert len(figure.convert("RGB").getcolors(1 << 20) or ()) > 100, f"{name} is as good as empty"


def test_every_alert_can_be_asked_and_what_it_asks_for_is_there(site: Watched, end: float) -> None:
    for rule in RULES:
        known(site.prometheus, rule["expr"], end)
        site.prometheus.at(rule["expr"], end)


def test_what_prometheus_has_counted_is_what_was_sent(site: Watched) -> None:
    def total(expr: str) -> float:
        (series,) = site.prometheus.at(expr, time.time())
        return series.value

    expected = (site.replies.statuses[200], site.replies.labelled)
    counted: tuple[float, float] = (0.0, 0.0)

    def all_counted() -> bool:
        nonlocal counted
        served, labelled = 'sum(loupe_requests_total{outcome="ok"})', "sum(loupe_labelled_score_count)"
        counted = (total(served), total(labelled))
        return counted[0] >= expected[0] and counted[1] >= expected[1]

    wait_until(all_counted, f"{expected} served and labelled", 60.0)
    assert counted == expected
