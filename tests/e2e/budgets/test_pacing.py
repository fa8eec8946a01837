"""Pacing in the service, over real sockets: days that pass as fast as their requests can be sent."""

from __future__ import annotations

import copy
import math
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from statistics import fmean
from typing import Any

import pytest
import yaml

from gateway.config.secrets import hash_key
from tests.e2e.harness.paced import BEST_COST, DAY_S, HOUR_S, MIDNIGHT, Clock, PacedSite, paced_site, tenant
from tests.e2e.harness.scripted_provider import ScriptedProvider
from tests.e2e.harness.scripts import answer
from tests.e2e.harness.site import KEY, settings_for

EVERY_S = 120.0
ADMIN = "admin-key-of-the-e2e-tests"
PINNED: dict[str, Any] = {"model": "large", "messages": [{"role": "user", "content": "How many?"}], "max_tokens": 20}


def part_of_best(part: float, seconds: float = DAY_S, every: float = EVERY_S) -> float:
    """USD for this part of what all requests would cost at the best candidate."""
    return round(part * seconds / every * BEST_COST / 1e9, 9)


DAY = {"usd": part_of_best(0.4), "period": "day"}


def binding(served: PacedSite) -> dict[str, Any]:
    """The pace of the first window, once lambda stands between its ends."""
    for _ in range(6):
        served.serve(2 * HOUR_S, EVERY_S)
        pacing = served.window()["pacing"]
        if pacing["saturation"] is None and not pacing["burst_capped"]:
            break
    assert pacing["binds"], pacing
    return dict(pacing)


@pytest.mark.slow
def test_a_days_spend_follows_the_plan_and_ends_without_a_cliff(tmp_path: Path, provider: ScriptedProvider) -> None:
    with paced_site(tmp_path, provider, tenant(DAY)) as served:
        limit = DAY["usd"]
        for _ in range(23):
            served.serve(HOUR_S, EVERY_S)
            window = served.window()
            pacing = window["pacing"]
            assert pacing["plan_usd"] == pytest.approx(limit * (served.clock.now - MIDNIGHT) / DAY_S, rel=0.01)
            assert abs(window["spent_usd"] - pacing["plan_usd"]) < 0.08 * limit
            assert pacing["binds"]
            assert pacing["lambda"] > 0.25, "that of the tenant's own weight, 0.8"
        served.serve(HOUR_S - EVERY_S, EVERY_S)
        assert 0.97 * limit < served.window()["spent_usd"] <= limit
        assert {reply.status for _, reply in served.answers} == {200}
        early, late = (served.share_of("large", MIDNIGHT + at, MIDNIGHT + at + 6 * HOUR_S) for at in (6e4 / 3, 6.2e4))
        assert late > early / 2 > 0, "the best candidate serves the hard questions to the end"


@pytest.mark.slow
def test_what_the_same_money_brings_without_pacing_is_less(tmp_path: Path, provider: ScriptedProvider) -> None:
    qualities, statuses = {}, {}
    for pacing in (True, False):
        folder = tmp_path / str(pacing)
        folder.mkdir()
        with paced_site(folder, provider, tenant(DAY, pacing=pacing)) as served:
            served.serve(DAY_S - EVERY_S, EVERY_S)
            qualities[pacing] = fmean(float(a.headers.get("x-route-quality", 0)) for _, a in served.answers)
            statuses[pacing] = [reply.status for _, reply in served.answers]
    assert set(statuses[True]) == {200}
    assert statuses[False].count(429) > 0.3 * len(statuses[False]), "the cliff"
    assert qualities[True] > qualities[False] + 0.1


def test_the_pace_is_told_in_usage_in_metrics_and_in_the_reason(tmp_path: Path, provider: ScriptedProvider) -> None:
    with paced_site(tmp_path, provider, tenant({"usd": 50.0}, DAY)) as served:
        assert served.ask().headers["x-route-reason"] == "routed"
        served.serve(4 * HOUR_S, EVERY_S)
        total, day = served.site.call("GET", "/v1/usage").json["windows"]
        assert "pacing" not in total, "it has no end to pace towards"
        pacing = day["pacing"]
        assert pacing["binds"]
        assert 0 < pacing["burn_usd_per_hour"] < 30 * BEST_COST / 1e9
        assert pacing["expected_requests"] == pytest.approx(20 * 30, rel=0.1)
        assert pacing["saturation"] is None
        assert (pacing["exhausted_at"] is None) == (pacing["exhausted_in_seconds"] is None)
        assert 0.5 < pacing["feedback"] < 2
        metric = served.site.metric
        told = {
            "lambda": pacing["lambda"],
            "plan_usd": pacing["plan_usd"],
            "spent_usd": day["spent_usd"],
            "burn_usd_per_hour": pacing["burn_usd_per_hour"],
            "feedback": pacing["feedback"],
            "exhausted_in_seconds": pacing["exhausted_in_seconds"] or 0.0,
        }
        found = {name: metric(f"loupe_pacing_{name}", tenant="acme", window="day") for name in told}
        assert found == pytest.approx(told)
        reason = served.ask().headers["x-route-reason"]
        label = re.fullmatch(r"routed;pace=([\d.]+)@acme/day(:burst)?", reason)
        assert label is not None, reason
        assert float(label[1]) == pytest.approx(pacing["lambda"], rel=0.001)
        dry = served.site.route({**PINNED, "model": "auto"})
        assert dry["lambda"] == pytest.approx(pacing["lambda"], rel=0.1)


@pytest.mark.slow
def test_a_restart_goes_on_with_what_was_learned(tmp_path: Path, provider: ScriptedProvider) -> None:
    clock = Clock()
    with paced_site(tmp_path, provider, tenant(DAY), clock=clock) as served:
        served.serve(12 * HOUR_S, EVERY_S)
        before = served.window()["pacing"]
    with paced_site(tmp_path, provider, tenant(DAY), clock=clock) as served:
        assert "pacing" in served.window(), "it is read when it is asked for"
        after = served.window()["pacing"]
        assert after["lambda"] == pytest.approx(before["lambda"], rel=0.2)
        assert after["expected_requests"] == pytest.approx(before["expected_requests"], rel=0.1)
        assert after["feedback"] == pytest.approx(before["feedback"], rel=0.05)
        assert "pace=" in served.ask().headers["x-route-reason"]


@pytest.mark.slow
def test_a_broken_state_starts_afresh_and_is_said_once(tmp_path: Path, provider: ScriptedProvider) -> None:
    with paced_site(tmp_path, provider, tenant(DAY)) as served:
        binding(served)
    with closing(sqlite3.connect(tmp_path / "loupe-spend.sqlite")) as db, db:
        assert db.execute("UPDATE paces SET state = '{\"format\": 1}'").rowcount == 1
    with paced_site(tmp_path, provider, tenant(DAY)) as served:
        assert not served.window()["pacing"]["binds"]
        assert binding(served)
        assert len([line for line in served.site.log if "is broken, it starts again" in line]) == 1


@pytest.mark.slow
def test_a_reload_keeps_the_pace_and_reckons_by_the_new_prices(
    tmp_path: Path, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOUPE_ADMIN_KEY", ADMIN)
    path = tmp_path / "gateway.yaml"
    raw = settings_for(tmp_path, provider.url, tenants=[tenant(DAY)])
    raw["store"]["reservation_ttl_s"] = 3_600
    path.write_text(yaml.safe_dump(raw))
    with paced_site(tmp_path, provider, tenant(DAY), config=path) as served:
        before = binding(served)
        dearer = copy.deepcopy(raw)
        for candidate in dearer["candidates"]:  # in both prices and reference cost: the trade is another
            candidate["input_usd_per_mtok"] *= 2
            candidate["output_usd_per_mtok"] *= 2
        path.write_text(yaml.safe_dump(dearer))
        assert served.site.call("POST", "/admin/reload", key=ADMIN).status == 200
        served.clock.now += 10
        after = served.window()["pacing"]
        assert after["expected_requests"] == pytest.approx(before["expected_requests"], rel=0.05)
        assert after["lambda"] > 1.1 * before["lambda"], "all is twice as dear, and the money the same"
        served.serve(4 * HOUR_S, EVERY_S)
        window = served.window()
        assert abs(window["spent_usd"] - window["pacing"]["plan_usd"]) < 0.08 * DAY["usd"]


@pytest.mark.slow
def test_four_processes_share_the_day(tmp_path: Path, provider: ScriptedProvider) -> None:
    with paced_site(tmp_path, provider, tenant(DAY), processes=4) as served:
        for _ in range(6):
            served.serve(HOUR_S * 23 / 6, EVERY_S)
            window = served.window()
            assert abs(window["spent_usd"] - window["pacing"]["plan_usd"]) < 0.1 * DAY["usd"]
        paces = [site.call("GET", "/v1/usage").json["windows"][0]["pacing"] for site in served.sites]
        assert all(pace["binds"] for pace in paces)
        assert all(pace["feedback"] == pytest.approx(1, rel=0.3) for pace in paces)
        assert {reply.status for _, reply in served.answers} == {200}


@pytest.mark.slow
@pytest.mark.parametrize(
    "terms", [tenant(DAY, pacing=False), tenant({"usd": DAY["usd"]}), tenant({**DAY, "soft": True})]
)
def test_whom_nothing_is_to_pace_for_is_left_alone(
    tmp_path: Path, provider: ScriptedProvider, terms: dict[str, Any]
) -> None:
    with paced_site(tmp_path, provider, terms) as served:
        served.serve(3 * HOUR_S, EVERY_S)
        assert "pacing" not in served.window()
        assert {reply.headers["x-route-reason"] for _, reply in served.answers} == {"routed"}
        assert served.site.route({**PINNED, "model": "auto"})["lambda"] == pytest.approx(0.25)
        assert b"loupe_pacing_lambda{" not in served.site.call("GET", "/metrics", key=None).body


def test_while_money_is_ample_all_is_as_without_pacing(tmp_path: Path, provider: ScriptedProvider) -> None:
    with paced_site(tmp_path, provider, tenant({"usd": 5.0, "period": "day"})) as served:
        served.serve(3 * HOUR_S, EVERY_S)
        pacing = served.window()["pacing"]
        assert (pacing["lambda"], pacing["binds"], pacing["saturation"]) == (pytest.approx(0.25), False, "ample")
        assert {reply.headers["x-route-reason"] for _, reply in served.answers} == {"routed"}
        asked = served.ask(X_Quality_Weight="0.5").headers["x-route-reason"]
        assert asked == "routed"
        assert price_weight_at(served, X_Quality_Weight="0.5") == 1.0, "just as for a tenant that is not paced"


def price_weight_at(served: PacedSite, **headers: str) -> float:
    return float(served.site.route({**PINNED, "model": "auto"}, **headers)["lambda"])


def test_a_quality_weight_scales_the_paced_lambda(tmp_path: Path, provider: ScriptedProvider) -> None:
    with paced_site(tmp_path, provider, tenant(DAY)) as served:
        binding(served)
        paced = price_weight_at(served)
        assert price_weight_at(served, X_Quality_Weight="0.8") == pytest.approx(paced), "its tenant's own"
        assert price_weight_at(served, X_Quality_Weight="0.5") == pytest.approx(4 * paced)
        assert price_weight_at(served, X_Quality_Weight="0.9") == pytest.approx(paced * 4 / 9)
        best = served.ask(X_Quality_Weight="1")
        assert (best.headers["x-route-candidate"], best.headers["x-route-reason"]) == ("large", "routed")
        assert served.ask(X_Quality_Weight="0").headers["x-route-candidate"] == "small"


@pytest.mark.slow
def test_a_burst_does_not_run_away_with_the_money(tmp_path: Path, provider: ScriptedProvider) -> None:
    with paced_site(tmp_path, provider, tenant({**DAY}, pacing={"plan": "even", "burst": 0.02})) as served:
        served.serve(4 * HOUR_S, EVERY_S)
        served.serve(HOUR_S, EVERY_S / 20)
        window = served.window()
        assert window["pacing"]["burst_capped"]
        assert window["spent_usd"] < window["pacing"]["plan_usd"] + (0.02 + 0.03) * DAY["usd"]
        assert served.ask().headers["x-route-reason"].endswith(":burst")
        assert {reply.status for _, reply in served.answers} == {200}


@pytest.mark.slow
def test_nothing_is_learned_from_what_is_refused(tmp_path: Path, provider: ScriptedProvider) -> None:
    with paced_site(tmp_path, provider, tenant({"usd": part_of_best(0.4) / 10, "period": "day"})) as served:
        feedback = binding(served)["feedback"]
        for name in ("large", "middle", "small"):  # somebody in a hurry takes the rest
            while served.site.chat({**PINNED, "model": name}).status == 200:
                pass
        while served.ask().status == 200:
            pass
        served.clock.now += EVERY_S
        before = served.window()["pacing"]
        for _ in range(20):
            assert served.ask().status == 429
            served.clock.now += EVERY_S
            assert served.window()["pacing"]["frozen"]
        after = served.window()["pacing"]
        assert after["feedback"] == before["feedback"] == pytest.approx(feedback, rel=0.5)
        assert after["saturation"] == "short"
        assert after["exhausted_in_seconds"] <= DAY_S


@pytest.mark.slow
def test_hours_of_want_leave_nothing_to_unwind(
    tmp_path: Path, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOUPE_ADMIN_KEY", ADMIN)
    short_of_money, path = tenant({"usd": part_of_best(0.02), "period": "day"}), tmp_path / "gateway.yaml"
    raw = settings_for(tmp_path, provider.url, tenants=[short_of_money])
    raw["store"]["reservation_ttl_s"] = 3_600
    path.write_text(yaml.safe_dump(raw))
    with paced_site(tmp_path, provider, short_of_money, config=path) as served:
        served.serve(8 * HOUR_S, EVERY_S)
        short = served.window()["pacing"]
        assert short["saturation"] == "short"
        assert math.isfinite(short["lambda"])
        raw["tenants"] = [tenant({"usd": 50.0, "period": "day"})]
        path.write_text(yaml.safe_dump(raw))
        assert served.site.call("POST", "/admin/reload", key=ADMIN).status == 200
        served.clock.now += 10
        ample = served.window()["pacing"]
        assert (ample["lambda"], ample["binds"]) == (pytest.approx(0.25), False)


@pytest.mark.slow
def test_a_key_with_a_budget_of_its_own_has_a_pace_of_its_own(tmp_path: Path, provider: ScriptedProvider) -> None:
    keys = [{"sha256": hash_key(KEY), "name": "poor", "budgets": [DAY]}]
    with paced_site(tmp_path, provider, tenant({"usd": 50.0, "period": "week"}, keys=keys)) as served:
        served.serve(3 * HOUR_S, EVERY_S)
        week, day = (served.window(place)["pacing"] for place in (0, 1))
        assert not week["binds"]
        assert day["binds"]
        assert "@acme/key/poor/day" in served.ask().headers["x-route-reason"]
        assert served.site.metric("loupe_pacing_lambda", tenant="acme", window="key/poor/day") > 0.25
        budget = {"tenant": "acme", "window": "key/poor/day", "unit": "usd", "enforced": "hard"}
        assert served.site.metric("loupe_budget_limit", **budget) == pytest.approx(DAY["usd"])


@pytest.mark.slow
def test_a_rolling_window_is_paced_at_its_limit_over_its_length(tmp_path: Path, provider: ScriptedProvider) -> None:
    budget = {"usd": part_of_best(0.4, HOUR_S, 10), "period": "hour", "rolling": True}
    with paced_site(tmp_path, provider, tenant(budget)) as served:
        served.serve(HOUR_S, 10)
        for _ in range(6):
            served.serve(HOUR_S / 2, 10)
            assert served.window()["spent_usd"] > 0.75 * budget["usd"]
        assert served.window()["pacing"]["binds"]
        spent = served.site.metric("loupe_pacing_spent_usd", tenant="acme", window="rolling_hour")
        assert spent == pytest.approx(served.window()["spent_usd"])
        late = [reply.status for at, reply in served.answers if at > MIDNIGHT + 2 * HOUR_S]
        assert late.count(200) > 0.97 * len(late)


@pytest.mark.slow
def test_prices_that_were_forecast_wrong_are_made_up_for(tmp_path: Path, provider: ScriptedProvider) -> None:
    for name in ("large", "middle", "small"):
        provider.on(name, answer(usage=(40, 18)))
    with paced_site(tmp_path, provider, tenant(DAY)) as served:
        for _ in range(6):
            served.serve(HOUR_S * 23 / 6, EVERY_S)
            window = served.window()
            assert abs(window["spent_usd"] - window["pacing"]["plan_usd"]) < 0.1 * DAY["usd"]
        assert {reply.status for _, reply in served.answers} == {200}


@pytest.mark.slow
def test_usage_says_what_was_spent_on_whom(
    tmp_path: Path, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOUPE_ADMIN_KEY", ADMIN)
    with paced_site(tmp_path, provider, tenant(DAY)) as served:
        served.serve(2 * HOUR_S, EVERY_S)
        served.site.ledger.all_outcomes(60)
        usage = served.site.call("GET", "/v1/usage").json
        [window] = usage["windows"]
        by_candidate = {row["candidate"]: row for row in usage["candidates"]}
        costs = sorted((row["spent_usd"] for row in usage["candidates"]), reverse=True)
        assert [row["spent_usd"] for row in usage["candidates"]] == costs
        assert sum(costs) == pytest.approx(window["spent_usd"])
        assert by_candidate["large"]["spent_usd"] == pytest.approx(by_candidate["large"]["requests"] * BEST_COST / 1e9)
        assert (window["held_usd"], window["resets_at"]) == (0, MIDNIGHT + DAY_S)
        assert window["remaining_usd"] == pytest.approx(DAY["usd"] - window["spent_usd"])
        later = served.site.call("GET", f"/v1/usage?since={served.clock.now - HOUR_S / 2}").json
        assert later["candidates_since"] == served.clock.now - HOUR_S, "spend is summed by the hour"
        assert sum(row["requests"] for row in later["candidates"]) == 30
        odd = served.site.call("GET", "/v1/usage?since=yesterday")
        assert (odd.status, odd.error["param"]) == (400, "since")
        [row] = served.site.call("GET", "/admin/usage?tenant=acme", key=ADMIN).json["data"]
        assert row["candidates"] == usage["candidates"]
        assert row["windows"] == [window]
