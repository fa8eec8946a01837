"""Everything around the main route: keys, models, usage, health, metrics, the dry run."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.e2e.harness.scripted_provider import ScriptedProvider
from tests.e2e.harness.site import KEY, OTHER_KEY, Site

HELLO: dict[str, Any] = {"model": "auto", "messages": [{"role": "user", "content": "How many?"}], "max_tokens": 50}


STRANGERS = (None, "", "Bearer", "Bearer ", "Basic c2s6", "Bearer sk-not-known", KEY, f"Token {KEY}", f"Bearer {KEY}x")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/route", "/v1/models", "/v1/usage"])
def test_whoever_has_no_known_key_is_told_401(shared_site: Site, path: str) -> None:
    method = "POST" if path in ("/v1/chat/completions", "/v1/route") else "GET"
    for authorization in STRANGERS:
        headers = {} if authorization is None else {"Authorization": authorization}
        answer = shared_site.call(method, path, HELLO if method == "POST" else None, key=None, headers=headers)
        assert answer.status == 401, authorization
        assert answer.error["code"] == "invalid_api_key"
        assert "sk-" not in answer.error["message"]


def test_official_client_understands_the_refusals(site: Site, provider: ScriptedProvider) -> None:
    with site.client(key="sk-wrong") as stranger, pytest.raises(openai.AuthenticationError):
        stranger.chat.completions.create(**HELLO)
    with site.client() as client:
        with pytest.raises(openai.NotFoundError) as unknown:
            client.chat.completions.create(**{**HELLO, "model": "gpt-none"})
        assert unknown.value.code == "model_not_found"
        assert unknown.value.param == "model"
        with pytest.raises(openai.BadRequestError) as empty:
            client.chat.completions.create(model="auto", messages=[])
        assert empty.value.param == "messages"
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("gpt-none")
    assert not provider.calls
    site.ledger.assert_settled()


def test_models_are_the_candidates_and_the_names_that_route(shared_site: Site) -> None:
    with shared_site.client() as client:
        found = {model.id: model.owned_by for model in client.models.list()}
        assert found == {"auto": "loupe", "large": "candidate", "middle": "candidate", "small": "candidate"}
        assert client.models.retrieve("small").id == "small"


def test_health_and_readiness(shared_site: Site) -> None:
    assert shared_site.call("GET", "/healthz", key=None).json == {"status": "ok"}
    ready = shared_site.call("GET", "/readyz", key=None)
    assert (ready.status, ready.json) == (200, {"status": "ready"})


def test_unknown_paths_and_methods_answer_in_openais_shape(shared_site: Site) -> None:
    assert shared_site.call("GET", "/v1/nothing").error["type"] == "invalid_request_error"
    for method, path in (("GET", "/v1/chat/completions"), ("DELETE", "/v1/models"), ("PUT", "/v1/route")):
        answer = shared_site.call(method, path)
        assert answer.status in (404, 405), (method, path)
        assert answer.error


def test_metrics_parse_and_count_what_was_served(site: Site) -> None:
    served = site.chat(HELLO)
    site.chat({**HELLO, "model": "no-such"})
    site.ledger.last_outcome(2)
    who = {"tenant": "first", "candidate": "large"}
    assert site.metric("loupe_requests_total", **who, outcome="ok") == 1
    assert site.metric("loupe_spend_usd_total", **who) == pytest.approx(float(served.headers["x-route-cost"]))
    assert site.metric("loupe_output_tokens_total", **who) == 8
    assert site.metric("loupe_refusals_total", tenant="first", code="model_not_found") == 1


def test_usage_is_each_tenants_own(site: Site) -> None:
    assert site.usage() == {"limit": 100 * 10**9, "spent": 0, "held": 0, "remaining": 100 * 10**9}
    site.chat(HELLO, key=OTHER_KEY)
    spent = 21 * 3_000 + 8 * 15_000  # 21 and 8 tokens of `large` at 3 and 15 USD per million
    assert site.usage(OTHER_KEY)["spent"] == spent
    assert site.usage()["spent"] == 0
    window = site.call("GET", "/v1/usage", key=OTHER_KEY).json["windows"][0]
    assert window["period"] == "day"
    assert window["resets_at"] > 0


def test_dry_run_shows_the_table_and_spends_nothing(site: Site, provider: ScriptedProvider) -> None:
    table = site.route(HELLO)
    assert table["chosen"] == "large"
    assert [row["candidate"] for row in table["candidates"]] == ["large", "middle", "small"]
    assert [row["rank"] for row in table["candidates"]] == [1, 2, 3]
    for row in table["candidates"]:
        assert row["feasible"] is True
        assert 0 < row["expected_cost_usd"] <= row["ceiling_usd"]
        assert row["output_limit"] == 50
    assert table["next_better"] is None  # there is none better than the best
    assert not provider.calls
    assert site.ledger.entries() == []
    assert site.usage()["spent"] == site.usage()["held"] == 0


def test_dry_run_tells_what_the_next_better_answer_costs(shared_site: Site) -> None:
    cheap = shared_site.route(HELLO)["candidates"][-1]["needs_budget_usd"]
    table = shared_site.route(HELLO, X_Budget=f"{cheap:.9f}")
    assert table["chosen"] == "small"
    assert [row["reason"] for row in table["candidates"]] == ["feasible", "over_cap", "over_cap"]
    better = table["next_better"]
    assert better["candidate"] == "middle"
    assert better["quality_gain"] == pytest.approx(0.3)
    raised = shared_site.route(HELLO, X_Budget=f"{better['needs_budget_usd']:.9f}")
    assert raised["chosen"] == "middle"


def test_dry_run_says_when_nothing_fits(shared_site: Site) -> None:
    table = shared_site.route(HELLO, X_Budget="0.000000001")
    assert table["chosen"] is None
    assert {row["reason"] for row in table["candidates"]} == {"over_cap"}
    assert table["cheapest_feasible_usd"] == min(row["needs_budget_usd"] for row in table["candidates"])
