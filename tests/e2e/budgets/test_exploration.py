"""Exploration in the service, over real sockets: off unless asked for, within its own ledger and within every cap."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gateway.routing.exploration import draw, inverse_gap_weights
from tests.e2e.harness.paced import BEST_COST, HOUR_S, paced_site, tenant
from tests.e2e.harness.scripted_provider import ScriptedProvider
from tests.e2e.harness.scripts import answer, refuse
from tests.e2e.harness.site import charge

DAY = {"usd": 5.0, "period": "day"}
WIDE = {"rate": 0.5, "gamma": 0.0, "slack": 1.0, "budget_share": 1.0}
"""Half of all requests explore, all others alike."""
ASK: dict[str, Any] = {"model": "auto", "messages": [{"role": "user", "content": "question 7"}], "max_tokens": 20}


def test_nothing_explores_that_was_not_told_to(tmp_path: Path, provider: ScriptedProvider) -> None:
    with paced_site(tmp_path, provider, tenant(DAY)) as served:
        for _ in range(60):
            served.ask("question 7")
        assert len({reply.headers["x-route-candidate"] for _, reply in served.answers}) == 1
        assert {row["propensity"] for row in served.site.ledger.all_outcomes(60)} == {1.0}
        assert "exploration" not in served.site.call("GET", "/v1/usage").json
        assert not [key for key in served.site.ledger.windows() if "exploration" in key]


@pytest.mark.slow
def test_candidates_are_drawn_as_often_as_their_propensities_say(tmp_path: Path, provider: ScriptedProvider) -> None:
    with paced_site(tmp_path, provider, tenant(DAY, exploration={**WIDE, "gamma": 5.0})) as served:
        served.ask("question 7")
        served.site.call("GET", "/v1/usage")
        table = served.site.route(ASK)["candidates"]
        count = 1_500
        for _ in range(count):
            served.ask("question 7")
        rows = served.site.ledger.all_outcomes(count + 1)[1:]
        scores = [row["score"] for row in table]
        weights = inverse_gap_weights(scores, 5.0, 0.5)
        expected = dict(zip([row["candidate"] for row in table], weights, strict=True))
        logged = {row["candidate"]: row["propensity"] for row in rows}
        assert logged == pytest.approx(expected, rel=0.2), "estimates are calibrated meanwhile: they move a little"
        drawn = Counter(row["candidate"] for row in rows)
        chi_square = 0.0
        for name in expected:  # of what each row says by itself
            mean = sum(row["propensity"] for row in rows if row["candidate"] == name) / drawn[name]
            chi_square += (drawn[name] - count * mean) ** 2 / (count * mean)
        assert chi_square < 20, f"{drawn} of {count}: p < 0.00005"


def test_every_draw_can_be_drawn_again_from_its_decision(tmp_path: Path, provider: ScriptedProvider) -> None:
    with paced_site(tmp_path, provider, tenant(DAY, exploration={**WIDE, "gamma": 2.0})) as served:
        for number in range(60):
            served.ask(f"question {number}")
        drawn = 0
        for row in served.site.ledger.all_outcomes(60):
            decision = served.site.call("GET", f"/v1/decisions/{row['request_id']}").json
            if decision["decided"] != "drawn":
                continue
            drawn += 1
            rows = [each for each in decision["candidates"] if each["propensity"]]
            rows.sort(key=lambda each: (each["candidate"] != decision["best"], -each["score"]))
            weights = [each["propensity"] for each in rows]
            assert sum(weights) == pytest.approx(1.0, abs=1e-9)
            again = rows[draw(weights, decision["uniform"])]
            assert again["candidate"] == decision["first_choice"] == decision["candidate"]
            assert again["propensity"] == decision["propensity"]
            assert ("explored" in decision["reason"]) == (decision["candidate"] != decision["best"])
        assert drawn >= 58, "the ledger was read after the first"


@pytest.mark.slow
def test_what_explores_counts_in_its_own_window_too(
    tmp_path: Path, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOUPE_ADMIN_KEY", "admin-key-of-the-e2e-tests")
    with paced_site(
        tmp_path, provider, tenant(DAY, {"usd": 9.0, "period": "hour", "soft": True}, exploration=WIDE)
    ) as s:
        for _ in range(100):
            s.ask("question 7")
        rows = s.site.ledger.all_outcomes(100)
        best = s.site.route(ASK)["chosen"]
        usage = s.site.call("GET", "/v1/usage").json
        [window] = usage["exploration"]["windows"]
        assert (window["name"], window["limit_usd"]) == ("exploration/day/2026-01-05T00:00", 5.0)
        assert all(("explored" in row["reason"]) == (row["candidate"] != best) for row in rows)
        explored = sum(row["cost_nanousd"] for row in rows if row["candidate"] != best)
        assert explored > 0
        assert window["spent_usd"] == pytest.approx(explored / 1e9)
        assert window["held_usd"] == 0
        [row] = s.site.call("GET", "/admin/usage?tenant=acme", key="admin-key-of-the-e2e-tests").json["data"]
        assert row["exploration"] == usage["exploration"]
        day = usage["windows"][0]
        assert day["spent_usd"] == pytest.approx(sum(row["cost_nanousd"] for row in rows) / 1e9)
        left = s.ask("question 7").headers["x-budget-remaining"]
        assert float(left) > 4.9, "of the budget, not of exploration's"


@pytest.mark.slow
def test_64_clients_of_two_processes_never_exceed_explorations_window(
    tmp_path: Path, provider: ScriptedProvider
) -> None:
    """Each process believes that what it last read is left for it alone: the holds are what counts."""
    limit = 20 * BEST_COST
    terms = {**WIDE, "budget_share": limit / 5e9}
    stop, over = threading.Event(), []
    with paced_site(tmp_path, provider, tenant(DAY, exploration=terms), processes=2) as served:
        for site in served.sites:  # the ledger was read once
            assert site.chat(ASK).status == 200
            site.call("GET", "/v1/usage")

        def watch() -> None:
            while not stop.wait(0.005):
                for key, (spent, held) in served.site.ledger.windows().items():
                    if "exploration" in key and spent + held > limit:
                        over.append((spent, held))

        def client(number: int) -> list[int]:
            return [served.sites[number % 2].chat(ASK).status for _ in range(6)]

        watching = threading.Thread(target=watch)
        watching.start()
        with ThreadPoolExecutor(64) as pool:
            statuses = [status for found in pool.map(client, range(64)) for status in found]
        stop.set()
        watching.join()
        assert set(statuses) == {200}, "who may not explore is served by the best"
        assert not over
        rows = served.site.ledger.all_outcomes(386)
        served.site.ledger.windows()
        spent, held = served.site.ledger.windows()["acme/exploration/day/2026-01-05T00:00"]
        best = served.site.route(ASK)["chosen"]
        assert held == 0
        assert limit / 4 < spent <= limit
        assert spent == sum(row["cost_nanousd"] for row in rows if row["candidate"] != best)
        assert all(0 < row["propensity"] < 1 for row in rows if row["candidate"] != best)


@pytest.mark.slow
def test_who_may_not_explore_after_all_is_served_by_the_best_and_has_no_propensity(
    tmp_path: Path, provider: ScriptedProvider
) -> None:
    for name in ("large", "middle", "small"):
        provider.on(name, answer(usage=(100, 20)))  # about what is held
    share = {**WIDE, "rate": 1.0, "budget_share": 3 * charge("large", 100, 20) / 5e9}
    with paced_site(tmp_path, provider, tenant(DAY, exploration=share), processes=2) as served:
        first, second = served.sites
        for site in served.sites:  # both read that all of the share is left, and the clock stands still
            assert site.chat(ASK).status == 200
            site.call("GET", "/v1/usage")
        best = first.route(ASK)["chosen"]
        taken = [first.chat(ASK).headers["x-route-candidate"] for _ in range(40)]
        assert {*taken} > {best}
        late = [second.chat(ASK) for _ in range(40)]
        assert {reply.status for reply in late} == {200}
        rows = {row["request_id"]: row for row in served.site.ledger.all_outcomes(82)}
        strayed = [row for row in map(rows.get, (reply.headers["x-request-id"] for reply in late)) if row]
        strayed = [row for row in strayed if not row["propensity"]]
        assert strayed
        assert {row["candidate"] for row in strayed} == {best}
        assert {row["attempts"] != [] and row["attempts"][0][1] for row in strayed} == {None}, "nothing has failed"


@pytest.mark.slow
def test_a_cap_holds_whoever_is_drawn(tmp_path: Path, provider: ScriptedProvider) -> None:
    with paced_site(tmp_path, provider, tenant(DAY, exploration={**WIDE, "rate": 1.0})) as served:
        for _ in range(120):
            served.ask("question 7", X_Budget="0.0002")
        rows = served.site.ledger.all_outcomes(120)
        assert len({row["candidate"] for row in rows}) == 2, "the dear one does not fit the cap, the others are drawn"
        assert all(row["held_nanousd"] <= row["cap_nanousd"] == 200_000 for row in rows)
        assert all(row["cost_nanousd"] <= 200_000 for row in rows)


def test_who_serves_in_anothers_place_has_no_propensity(tmp_path: Path, provider: ScriptedProvider) -> None:
    provider.on("middle", refuse(500))
    with paced_site(tmp_path, provider, tenant(DAY, exploration={**WIDE, "rate": 1.0})) as served:
        for _ in range(60):
            served.ask("question 7")
            served.clock.now += 1
        rows = served.site.ledger.all_outcomes(60)
        strayed = [row for row in rows if len(row["attempts"]) > 1]
        assert strayed
        assert not any(row["propensity"] for row in strayed)
        assert all(row["propensity"] for row in rows if len(row["attempts"]) == 1)


def test_pinned_requests_and_dry_runs_do_not_explore(tmp_path: Path, provider: ScriptedProvider) -> None:
    with paced_site(tmp_path, provider, tenant(DAY, exploration={**WIDE, "rate": 1.0})) as served:
        served.ask("question 7")
        assert len({served.site.route(ASK)["chosen"] for _ in range(30)}) == 1
        for _ in range(20):
            assert served.site.chat({**ASK, "model": "small"}).headers["x-route-candidate"] == "small"


@pytest.mark.slow
def test_a_spent_share_ends_exploration_and_the_next_period_begins_it_anew(
    tmp_path: Path, provider: ScriptedProvider
) -> None:
    provider.on("large", answer(usage=(21, 20)))
    share = 6 * BEST_COST / 5e9
    terms = {**WIDE, "rate": 1.0, "budget_share": share}
    with paced_site(tmp_path, provider, tenant({"usd": 5.0, "period": "hour"}, exploration=terms)) as served:

        def served_by(count: int) -> Counter[str]:
            before = len(served.answers)
            for _ in range(count):
                served.ask("question 7")
                served.clock.now += 3
                served.site.call("GET", "/v1/usage")  # the ledger is read before the next
            return Counter(reply.headers["x-route-candidate"] for _, reply in served.answers[before:])

        best = served.site.route(ASK)["chosen"]
        served_by(150)
        assert set(served_by(30)) <= {best, "small"}, "the share is too little for the others"
        served.clock.now += HOUR_S
        served.site.call("GET", "/v1/usage")
        assert len(served_by(30)) > 1
