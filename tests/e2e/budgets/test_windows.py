"""Budgets of many windows over real sockets: keys, sessions, rates, soft limits, long streams."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.config.secrets import hash_key
from tests.e2e.harness.scripted_provider import ScriptedProvider, wait_until
from tests.e2e.harness.scripts import answer, wait_then
from tests.e2e.harness.site import KEY, OTHER_KEY, Site, serving_gateway, settings_for

ASK: dict[str, Any] = {"model": "small", "messages": [{"role": "user", "content": "How many?"}]}


@contextmanager
def site_with(folder: Path, provider: ScriptedProvider, *tenants: dict[str, Any], **store: Any) -> Iterator[Site]:
    raw = settings_for(folder, provider.url, tenants=list(tenants))
    raw["store"].update(store)
    with serving_gateway(raw, folder) as site:
        yield site


def tenant(*budgets: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": "acme", "keys": [{"sha256": hash_key(KEY)}], "budgets": list(budgets), **more}


def test_requests_a_minute_are_counted_and_refused_with_the_time_to_wait(
    tmp_path: Path, provider: ScriptedProvider
) -> None:
    with site_with(tmp_path, provider, tenant({"requests": 2, "period": "hour"})) as site:
        assert [site.chat(ASK).status for _ in range(3)] == [200, 200, 429]
        refused = site.chat(ASK)
        assert refused.error["code"] == "rate_limit_exceeded"
        assert 0 < refused.error["retry_after_s"] <= 3_600
        assert "0 of 2 requests" in refused.error["message"]
        assert len(provider.calls) == 2
        [window] = site.call("GET", "/v1/usage").json["windows"]
        assert (window["unit"], window["limit"], window["spent"], window["remaining"]) == ("requests", 2, 2, 0)


def test_tokens_are_counted_as_billed(tmp_path: Path, provider: ScriptedProvider) -> None:
    with site_with(tmp_path, provider, tenant({"tokens": 100_000, "period": "day", "rolling": True})) as site:
        reply = site.chat(ASK)
        billed = reply.json["usage"]["prompt_tokens"] + reply.json["usage"]["completion_tokens"]
        [window] = site.call("GET", "/v1/usage").json["windows"]
        assert (window["spent"], window["held"]) == (billed, 0)


def test_the_tightest_of_many_windows_decides(tmp_path: Path, provider: ScriptedProvider) -> None:
    budgets = ({"usd": 1.0}, {"usd": 0.5, "period": "month"}, {"usd": 0.0, "period": "day", "zone": "Asia/Tokyo"})
    with site_with(tmp_path, provider, tenant(*budgets)) as site:
        refused = site.chat(ASK)
        assert refused.status == 429
        assert refused.error["code"] == "insufficient_quota"
        assert "day@Asia/Tokyo" in refused.error["message"]
        assert all(w["held_usd"] == w["spent_usd"] == 0 for w in site.call("GET", "/v1/usage").json["windows"])


def test_a_soft_budget_says_so_and_refuses_nothing(tmp_path: Path, provider: ScriptedProvider) -> None:
    with site_with(tmp_path, provider, tenant({"usd": 0.0, "soft": True}, {"usd": 1.0, "period": "day"})) as site:
        served = site.chat(ASK)
        assert served.status == 200
        assert served.headers["x-budget-exceeded"] == "total"
        assert site.metric("loupe_soft_exceeded_total", tenant="acme") == 1


def test_a_key_has_a_budget_and_candidates_of_its_own(tmp_path: Path, provider: ScriptedProvider) -> None:
    keys = [
        {"sha256": hash_key(KEY), "name": "poor", "budgets": [{"usd": 0.0}]},
        {"sha256": hash_key(OTHER_KEY), "name": "narrow", "candidates": ["small"]},
    ]
    with site_with(tmp_path, provider, tenant({"usd": 1.0}, keys=keys)) as site:
        assert site.chat(ASK).status == 429
        assert site.chat(ASK, key=OTHER_KEY).status == 200
        assert site.chat({**ASK, "model": "large"}, key=OTHER_KEY).status == 404
        names = [window["name"] for window in site.call("GET", "/v1/usage").json["windows"]]
        assert names == ["total", "key/poor/total"]


def test_an_expired_key_is_refused(tmp_path: Path, provider: ScriptedProvider) -> None:
    keys = [{"sha256": hash_key(KEY), "expires": "2020-01-01T00:00:00Z"}]
    with site_with(tmp_path, provider, tenant(keys=keys)) as site:
        refused = site.chat(ASK)
        assert (refused.status, refused.error["code"]) == (401, "expired_api_key")


def test_a_session_has_a_cap_of_its_own(tmp_path: Path, provider: ScriptedProvider) -> None:
    with site_with(tmp_path, provider, tenant({"usd": 1.0})) as site:
        # what the first request cost is all that its session may spend: nothing is left for a second one
        cost = site.chat(ASK, X_Session_Id="one", X_Session_Budget="0.01").headers["x-route-cost"]
        refused = site.chat(ASK, X_Session_Id="one", X_Session_Budget=cost)
        assert (refused.status, refused.error["code"]) == (429, "insufficient_quota")
        assert "session/" in refused.error["message"]
        assert site.chat(ASK, X_Session_Id="two", X_Session_Budget="0.01").status == 200
        assert site.chat(ASK, X_Session_Id="one").status == 200
        odd = site.chat(ASK, X_Session_Budget="0.01")
        assert (odd.status, odd.error["param"]) == (400, "X-Session-Id")
        odd = site.chat(ASK, X_Session_Id="one", X_Session_Budget="cheap")
        assert (odd.status, odd.error["param"]) == (400, "X-Session-Budget")


@pytest.mark.slow
def test_a_stream_that_outlives_its_lease_keeps_its_hold(tmp_path: Path, provider: ScriptedProvider) -> None:
    go_on = threading.Event()
    provider.on("small", wait_then(go_on, answer()))
    with site_with(tmp_path, provider, tenant({"usd": 1.0}), reservation_ttl_s=3) as site:
        replies: list[Any] = []
        asking = threading.Thread(target=lambda: replies.append(site.chat(ASK)))
        asking.start()
        wait_until(lambda: bool(site.ledger.entries()), "the hold")
        first_end = site.ledger.entries()[0].expires_at
        wait_until(lambda: time.time() > first_end + 1, "the end of the lease that it was given at first")
        [window] = site.call("GET", "/v1/usage").json["windows"]
        assert window["held_usd"] > 0
        assert window["spent_usd"] == 0
        go_on.set()
        asking.join()
        assert replies[0].status == 200
        site.assert_charged(replies[0], round(float(replies[0].headers["x-route-cost"]) * 1e9))
