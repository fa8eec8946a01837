"""X-Budget and the tenant's budget: what does not fit is refused before it costs, what fits never costs more."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import openai
import pytest

from gateway.config.secrets import hash_key
from tests.e2e.harness.scripted_provider import Call, ScriptedProvider
from tests.e2e.harness.scripts import USAGE, answer, wait_then
from tests.e2e.harness.site import KEY, Site, charge, serving_gateway, settings_for, usd


def ask(**more: Any) -> dict[str, Any]:
    return {"model": "auto", "messages": [{"role": "user", "content": "How many?"}], **more}


def test_cap_too_small_for_anything_names_the_price_that_would_do(
    shared_site: Site, provider: ScriptedProvider
) -> None:
    refused = shared_site.chat(ask(), X_Budget="0.000000001")
    assert refused.status == 402
    assert refused.error["type"] == "budget_error"
    assert refused.error["code"] == "budget_infeasible"
    assert refused.error["param"] == "X-Budget"
    assert refused.headers["x-should-retry"] == "false"
    price = refused.headers["x-route-feasible-cost"]
    assert f"{price} USD (small)" in refused.error["message"]
    assert not provider.calls

    served = shared_site.chat(ask(), X_Budget=price)
    assert served.status == 200
    assert served.headers["x-route-candidate"] == "small"
    nanodollar_less = usd(round(float(price) * 1e9) - 1)
    assert shared_site.chat(ask(), X_Budget=nanodollar_less).status == 402


def test_official_client_sees_402_once(shared_site: Site) -> None:
    with (
        openai.OpenAI(base_url=f"{shared_site.url}/v1", api_key=KEY, max_retries=3) as client,
        pytest.raises(openai.APIStatusError) as caught,
    ):
        client.chat.completions.create(**ask(), extra_headers={"X-Budget": "0"})
    assert caught.value.status_code == 402
    assert caught.value.code == "budget_infeasible"


@pytest.mark.parametrize(
    "amount",
    [
        "",
        " ",
        "cheap",
        "-1",
        "-0.0001",
        "nan",
        "NaN",
        "inf",
        "-inf",
        "Infinity",
        "1e400",
        "99999999999",
        "0x10",
        "1,5",
        "$1",
        "1 USD",
        "1.2.3",
        "None",
        "1e",
        "--1",
        "1" * 5000,
        "1_000",
    ],
)
def test_cap_that_is_no_amount_is_400_with_the_value(shared_site: Site, amount: str) -> None:
    refused = shared_site.chat(ask(), X_Budget=amount)
    assert refused.status == 400
    assert refused.error["param"] == "X-Budget"
    assert refused.error["code"] == "invalid_budget"
    assert repr(amount.strip()[:40]) in refused.error["message"]


@pytest.mark.parametrize("amount", ["1", "1.0", " 0.5 ", "1e-2", "1E-2", "+0.5", "1000000"])
def test_cap_may_be_written_as_any_decimal(shared_site: Site, amount: str) -> None:
    assert shared_site.chat(ask(), X_Budget=amount).status == 200


@pytest.mark.parametrize("weight", ["", "much", "-0.1", "1.1", "nan", "inf"])
def test_quality_weight_out_of_range_is_400_with_the_value(shared_site: Site, weight: str) -> None:
    refused = shared_site.chat(ask(), X_Quality_Weight=weight)
    assert refused.status == 400
    assert repr(weight) in refused.error["message"]


def test_provider_is_told_a_limit_that_the_cap_can_pay(shared_site: Site, provider: ScriptedProvider) -> None:
    table = {row["candidate"]: row for row in shared_site.route(ask())["candidates"]}
    needed = round(table["large"]["needs_budget_usd"] * 1e9)
    for more in (0, 1, 14_999, 15_000, 3_000_000):
        provider.forget()
        served = shared_site.chat(ask(), X_Budget=usd(needed + more))
        limit = provider.calls[0].json["max_tokens"]
        assert limit == 60 + more // 15_000  # 60 is the forecast's 90% quantile; 15,000 nanodollars a token
        entry = shared_site.ledger.entries(served.headers["x-request-id"])[0]
        assert entry.amount <= needed + more


def test_longest_reply_under_a_cap_never_costs_more_than_it(shared_site: Site, provider: ScriptedProvider) -> None:
    async def say_all_that_is_allowed(call: Call) -> None:
        """Every byte of the prompt a token and the template's share on top, and the whole output limit."""
        request = call.json
        inputs = len(request["messages"][0]["content"]) + 1 + 16 + 64
        await answer(usage=(inputs, request["max_tokens"]))(call)

    for words in range(1, 30):
        body = {"model": "auto", "messages": [{"role": "user", "content": "How many? " * words}]}
        for row in shared_site.route(body)["candidates"]:
            name, cap = row["candidate"], round(row["needs_budget_usd"] * 1e9) + 7_919 * words
            provider.on(name, say_all_that_is_allowed)
            served = shared_site.chat(body, X_Budget=usd(cap), X_Candidates=name)
            assert served.headers["x-route-candidate"] == name
            cost = round(float(served.headers["x-route-cost"]) * 1e9)
            assert cap - charge(name, 0, 1) <= cost <= cap, "the cap is used up to the last token that fits"


def test_budget_that_is_spent_is_429_without_retries(provider: ScriptedProvider, tmp_path: Path) -> None:
    with _with_budget(provider, tmp_path, {"usd": 0.000000001, "period": "total"}) as site:
        refused = site.chat(ask())
        assert refused.status == 429
        assert refused.error["type"] == refused.error["code"] == "insufficient_quota"
        assert refused.headers["x-should-retry"] == "false"
        assert "retry-after" not in refused.headers, "a total never resets"
        with (
            openai.OpenAI(base_url=f"{site.url}/v1", api_key=KEY, max_retries=3) as client,
            pytest.raises(openai.RateLimitError) as caught,
        ):
            client.chat.completions.create(**ask())
        assert caught.value.code == "insufficient_quota"
        assert site.ledger.last_outcome(2)["status"] == 429, "the client did not try again"
        assert site.ledger.entries() == []
        assert not provider.calls


def test_window_that_resets_says_when(provider: ScriptedProvider, tmp_path: Path) -> None:
    with _with_budget(provider, tmp_path, {"usd": 0.000000001, "period": "day"}) as site:
        refused = site.chat(ask())
        assert refused.status == 429
        assert 0 < refused.error["retry_after_s"] <= 86_400
        assert refused.headers["x-should-retry"] == "false"


def test_budget_shrinks_the_choice_before_it_refuses(provider: ScriptedProvider, tmp_path: Path) -> None:
    prompt = ask(max_tokens=60)
    with _with_budget(provider, tmp_path, {"usd": 0.0002, "period": "total"}) as site:
        ceilings = {r["candidate"]: round(r["ceiling_usd"] * 1e9) for r in site.route(prompt)["candidates"]}
        assert ceilings["small"] < 200_000 < ceilings["middle"]
        served = site.chat(prompt)
        assert served.headers["x-route-candidate"] == "small"
        site.assert_charged(served, charge("small", *USAGE))


@pytest.mark.parametrize("room", [1, 5])
def test_exactly_as_many_requests_at_once_as_the_budget_covers(
    provider: ScriptedProvider, tmp_path: Path, room: int
) -> None:
    prompt = ask(model="large", max_tokens=50)
    release = threading.Event()
    provider.on("large", wait_then(release, answer()))
    with _with_budget(provider, tmp_path / "probe", {"usd": 1.0}) as probe:
        max_cost = round(probe.route(prompt)["candidates"][0]["ceiling_usd"] * 1e9)
    with (
        _with_budget(provider, tmp_path / "site", {"usd": room * max_cost / 1e9}) as site,
        ThreadPoolExecutor(20) as pool,
    ):
        asked = [pool.submit(site.chat, prompt) for _ in range(20)]
        provider.wait_for_calls(room)
        refused = _finished(asked, 20 - room)
        assert site.usage() == {"limit": room * max_cost, "spent": 0, "held": room * max_cost, "remaining": 0}
        for one in refused:
            assert one.status == 429
            assert one.headers["retry-after"] == "1", "what is held may yet come back"
        release.set()
        statuses = [one.result().status for one in asked]
        assert sorted(statuses) == [200] * room + [429] * (20 - room)
        assert len(provider.calls) == room
        site.ledger.assert_settled()
        assert site.usage()["spent"] == room * charge("large", *USAGE)


def test_two_gateways_on_one_file_share_one_budget(provider: ScriptedProvider, tmp_path: Path) -> None:
    prompt, room = ask(model="large", max_tokens=50), 7
    release = threading.Event()
    provider.on("large", wait_then(release, answer()))
    with _with_budget(provider, tmp_path / "probe", {"usd": 1.0}) as probe:
        max_cost = round(probe.route(prompt)["candidates"][0]["ceiling_usd"] * 1e9)
    budget = {"usd": room * max_cost / 1e9}
    with (
        _with_budget(provider, tmp_path / "site", budget) as one,
        _with_budget(provider, tmp_path / "site", budget) as two,
        ThreadPoolExecutor(24) as pool,
    ):
        asked = [pool.submit(site.chat, prompt) for _ in range(12) for site in (one, two)]
        provider.wait_for_calls(room)
        _finished(asked, 24 - room)
        assert (
            one.usage()
            == two.usage()
            == {"limit": room * max_cost, "spent": 0, "held": room * max_cost, "remaining": 0}
        )
        release.set()
        assert sorted(each.result().status for each in asked) == [200] * room + [429] * (24 - room)
        one.ledger.assert_settled()
        assert one.usage()["spent"] == two.usage()["spent"] == room * charge("large", *USAGE)


def test_tenant_that_takes_the_cheapest_is_served_as_much_as_the_cap_pays(
    provider: ScriptedProvider, tmp_path: Path
) -> None:
    tenant = {"name": "first", "keys": [{"sha256": hash_key(KEY)}], "budget": {"usd": 1}, "on_infeasible": "cheapest"}
    with serving_gateway(settings_for(tmp_path, provider.url, tenants=[tenant]), tmp_path) as site:
        row = site.route(ask())["candidates"][-1]
        cap = round(row["needs_budget_usd"] * 1e9) - 20 * 400  # 20 of its output tokens too few
        served = site.chat(ask(), X_Budget=usd(cap))
        assert (served.status, served.headers["x-route-candidate"]) == (200, "small")
        assert provider.calls[0].json["max_tokens"] == 40
        assert site.ledger.entries()[0].amount <= cap
        assert site.chat(ask(), X_Budget="0.000000001").status == 402, "not even the question can be paid"


def _finished(asked: list[Any], count: int) -> list[Any]:
    """The results of as many as must be done by now, as soon as they are."""
    done: list[Any] = []
    for _ in range(12_000):
        done = [one.result() for one in asked if one.done()]
        if len(done) >= count:
            break
        threading.Event().wait(0.005)
    assert len(done) == count
    return done


def _with_budget(provider: ScriptedProvider, folder: Path, budget: dict[str, Any]) -> Any:
    folder.mkdir(exist_ok=True)
    tenant = {"name": "first", "keys": [{"sha256": hash_key(KEY)}], "budget": budget, "quality_weight": 1.0}
    return serving_gateway(settings_for(folder, provider.url, tenants=[tenant]), folder)
