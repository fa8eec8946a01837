"""`docs/metrics.md` against a running gateway: what is exposed is on the page, and what is on the page is exposed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gateway.outcomes.comparison import EVERY_S, FEWEST_ROWS, MOST_TENANTS
from gateway.telemetry import gauges as budgets
from gateway.telemetry import metrics
from gateway.telemetry import multiprocess as shared
from tests.e2e.harness.scripted_provider import ScriptedProvider
from tests.e2e.harness.site import Site, serving_gateway, settings_for
from tests.gateway.stores.redis.redis_server import RedisServer

PAGE = (Path(__file__).parents[3] / "docs" / "metrics.md").read_text(encoding="utf-8")
Shape = tuple[str, frozenset[str]]


@pytest.fixture
def site(tmp_path: Path, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A gateway that has everything there is to measure."""
    server = RedisServer(tmp_path / "redis")
    monkeypatch.setenv("LOUPE_REDIS_URL", server.url)
    raw = settings_for(tmp_path, provider.url)
    raw["store"].update(kind="redis", redis_limit_ms=10_000, when_gone="local", local_allowance_usd=0.01)
    with serving_gateway(raw, tmp_path) as found:
        yield found
    server.stop()


def on_the_page() -> dict[str, Shape]:
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| ([\w, ]*?) ?\| .+ \|$", PAGE, re.M)
    assert len(rows) == PAGE.count("\n| `loupe_"), "a row that is not `name`, type, labels, text"
    assert len({name for name, _, _ in rows}) == len(rows)
    return {name: (kind, frozenset(labels.split(", ")) - {""}) for name, kind, labels in rows}


def test_the_page_lists_what_is_exposed_and_nothing_else(site: Site) -> None:
    assert site.chat({"model": "auto", "messages": [{"role": "user", "content": "How many?"}]}).status == 200
    exposed = set(re.findall(r"^# TYPE (\w+) (\w+)$", site.call("GET", "/metrics", key=None).body.decode(), re.M))
    assert site.metrics is not None
    shapes = {
        each.name + ("_total" if each.kind == "counter" else ""): (each.kind, frozenset(each.labels))
        for each in site.metrics.snapshot()
    }
    assert {(name, kind) for name, (kind, _) in shapes.items()} == exposed
    page = on_the_page()
    assert page == shapes


def test_samples_carry_the_labels_of_the_page(site: Site) -> None:
    assert site.chat({"model": "auto", "messages": [{"role": "user", "content": "How many?"}]}).status == 200
    page = on_the_page()
    seen = set()
    for family in text_string_to_metric_families(site.call("GET", "/metrics", key=None).body.decode()):
        for sample in family.samples:
            name = family.name + ("_total" if family.type == "counter" else "")
            assert set(sample.labels) - {"le"} == page[name][1], sample
            seen.add(name)
    assert {"loupe_requests_total", "loupe_stage_seconds", "loupe_lambda", "loupe_router_info"} <= seen


def test_the_numbers_of_the_page_are_those_of_the_code() -> None:
    said = " ".join(PAGE.split())
    assert f"{metrics.LARGEST_TENANTS} tenants are shown" in said
    assert f"of {budgets.LARGEST_KEYS} of their keys at most" in said
    assert f"no gauge has more than {metrics.LARGEST_GAUGES} samples" in said
    assert f"silent for {shared.STALE_S:.0f} s are left out" in said
    assert f"every {budgets.EVERY_S:.0f} s and every {EVERY_S:.0f} s" in said
    assert f"Fewer than {FEWEST_ROWS} labelled rows" in said
    assert MOST_TENANTS == 10 and "the ten tenants with the most labels" in said
    for stage in metrics.STAGES:
        assert f"`{stage}`" in PAGE
