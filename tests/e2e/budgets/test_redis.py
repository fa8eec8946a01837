"""The gateway with its budgets in a real Redis, and without it: closed, or within what was set aside."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness.paced import BEST_COST, DAY_S, paced_site, tenant
from tests.e2e.harness.scripted_provider import ScriptedProvider
from tests.e2e.harness.site import Answer, Site, serving_gateway, settings_for
from tests.gateway.stores.redis.redis_server import RedisServer

ASK: dict[str, Any] = {"model": "small", "messages": [{"role": "user", "content": "How many?"}]}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    started = RedisServer(tmp_path / "redis")
    yield started
    started.stop()


@pytest.fixture
def site_on(
    tmp_path: Path, provider: ScriptedProvider, server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Any]:
    monkeypatch.setenv("LOUPE_REDIS_URL", server.url)

    @contextmanager
    def on(**store: Any) -> Iterator[Site]:
        raw = settings_for(tmp_path, provider.url)
        raw["store"].update(kind="redis", redis_limit_ms=10_000, **store)
        with serving_gateway(raw, tmp_path) as site:
            yield site

    return on


def until(ask: Callable[[], Answer], good: Callable[[Answer], bool]) -> Answer:
    deadline = time.monotonic() + 60
    while not good(answer := ask()):
        assert time.monotonic() < deadline, answer
        time.sleep(0.05)
    return answer


def test_budgets_are_kept_in_redis_to_the_nanodollar(site_on: Callable[..., Any]) -> None:
    with site_on() as site:
        answers = [site.chat(ASK) for _ in range(5)]
        cost = sum(round(float(answer.headers["x-route-cost"]) * 1e9) for answer in answers)
        usage = site.usage()
        assert (usage["spent"], usage["held"]) == (cost, 0)
        assert [answer.status for answer in answers] == [200] * 5
    with site_on() as again:
        assert again.usage() == usage


def test_while_redis_is_gone_requests_are_refused_and_nothing_is_sent(
    site_on: Callable[..., Any], server: RedisServer, provider: ScriptedProvider
) -> None:
    with site_on() as site:
        assert site.chat(ASK).status == 200
        server.kill()
        calls = len(provider.calls)
        for _ in range(20):
            refused = site.chat(ASK)
            assert (refused.status, refused.error["code"]) == (503, "store_unavailable")
        assert len(provider.calls) == calls
        assert site.call("GET", "/healthz", key=None).status == 200
        assert site.call("GET", "/readyz", key=None).status == 503
        assert site.call("GET", "/v1/usage").status == 503
        assert len(site.log) <= 4, "a line from each that asks, and not one a request"
        server.start()
        until(lambda: site.chat(ASK), lambda answer: answer.status == 200)
        assert site.call("GET", "/readyz", key=None).status == 200


@pytest.mark.slow
def test_with_a_lease_requests_go_on_without_redis_and_are_settled_afterwards(
    site_on: Callable[..., Any], server: RedisServer
) -> None:
    with site_on(when_gone="local", local_allowance_usd=0.01) as site:
        spent = round(float(site.chat(ASK).headers["x-route-cost"]) * 1e9)
        until(
            lambda: site.call("GET", "/metrics", key=None),
            lambda answer: b"loupe_local_leases_usd 0.01\n" in answer.body,
        )
        server.kill()
        for _ in range(5):
            answer = site.chat(ASK)
            assert (answer.status, answer.headers["x-budget-enforcement"]) == (200, "local")
            spent += round(float(answer.headers["x-route-cost"]) * 1e9)
        assert site.call("GET", "/readyz", key=None).status == 200
        server.start()
        answer = until(lambda: site.chat(ASK), lambda answer: "x-budget-enforcement" not in answer.headers)
        spent = sum(entry for entry in [spent, round(float(answer.headers["x-route-cost"]) * 1e9)])
        until(
            lambda: site.call("GET", "/v1/usage"),
            lambda answer: answer.status == 200 and round(answer.json["windows"][0]["spent_usd"] * 1e9) >= spent,
        )
        assert sum("locally" in line for line in site.log) == 1


@pytest.mark.slow
@pytest.mark.usefixtures("site_on")
def test_a_day_is_paced_and_explored_in_redis_too(tmp_path: Path, provider: ScriptedProvider) -> None:
    limit = round(0.4 * 720 * BEST_COST / 1e9, 9)
    exploration = {"rate": 0.2, "gamma": 0.0, "slack": 1.0, "budget_share": 0.25}
    terms = tenant({"usd": limit, "period": "day"}, exploration=exploration)
    store = {"path": str(tmp_path / "loupe.sqlite"), "kind": "redis", "redis_limit_ms": 10_000}
    with paced_site(tmp_path, provider, terms, store=store) as served:
        for _ in range(4):
            served.serve(DAY_S * 23 / 96, 120)
            usage = served.site.call("GET", "/v1/usage").json
            [day], [apart] = usage["windows"], usage["exploration"]["windows"]
            assert abs(day["spent_usd"] - day["pacing"]["plan_usd"]) < 0.1 * limit
            assert apart["spent_usd"] <= apart["limit_usd"] == pytest.approx(0.25 * limit)
        assert apart["spent_usd"] > 0
        reply = served.ask("question 7")
        spent = float(reply.headers["x-route-cost"])
        assert float(reply.headers["x-budget-remaining"]) == pytest.approx(limit - day["spent_usd"] - spent, abs=1e-8)
        explored = [answer for _, answer in served.answers if "explored" in answer.headers["x-route-reason"]]
        assert 40 < len(explored) < 250
        assert {answer.status for _, answer in served.answers} == {200}
