"""Steering: who is steered, when the ledger is read for them, what is kept, and how exploration is drawn."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest

from gateway.billing.reservation import Balance
from gateway.billing.window import Budget, Window
from gateway.errors import StoreError
from gateway.routing.decision import LARGEST_LAMBDA, Decision
from gateway.routing.exploration import Exploration, draw
from gateway.routing.pacing.controller import FORGET_S, SOLVE_IDLE_S, PacingController, PacingView
from gateway.stores.memory import MemoryStore
from gateway.tenants.policy import ExplorationSettings, TenantPacingSettings
from gateway.tenants.tenant import Tenant
from tests.fakes.paces import KeptPaces
from tests.gateway.routing.pacing.test_account import DAY, MIDNIGHT, PRICES, decision

ACME = Tenant("acme", ("cheap", "dear"), 0.8, budgets=(DAY,), key="laptop")
EXPLORING = replace(ACME, exploration=ExplorationSettings(rate=0.5, gamma=2.0, slack=1.0, budget_share=1.0))


class Ledger(MemoryStore):
    """Counts how often it is read, and fails while it is told to."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self.reads = 0
        self.fails = False

    async def balances(self, windows: Sequence[Window]) -> list[Balance]:
        self.reads += 1
        if self.fails:
            raise StoreError("told to fail")
        return await super().balances(windows)


class Clock:
    now = MIDNIGHT

    def __call__(self) -> float:
        return self.now


class Site:
    """Steering with all that it needs. Make it inside a running loop."""

    def __init__(self, kept: KeptPaces | None = None, clock: Clock | None = None) -> None:
        self.clock = clock or Clock()
        self.ledger = Ledger(self.clock)
        self.kept = kept or KeptPaces()
        self.reported: list[str] = []
        self.controller = PacingController(
            self.ledger,
            self.kept,
            clock=self.clock,
            report=lambda where, error: self.reported.append(f"{where}: {error}"),
            uniform=Random(7).random,
        )
        self.controller.follow(PRICES.catalog, PRICES.factors)

    def pacing_view(self, tenant: Tenant = ACME) -> PacingView:
        pacing_view = self.controller.pacing_view(tenant)
        assert pacing_view is not None
        return pacing_view

    async def serve(self, requests: int, tenant: Tenant = ACME, every: float = 60.0) -> None:
        """So many requests, each charged as expected, with the ledger read between them."""
        made = decision()
        for _ in range(requests):
            pacing_view = self.pacing_view(tenant)
            pacing_view.decided(made, 1.0, may_explore=False)
            await self.settled()
            pacing_view.finished(made.choices[0].expected_cost, made.choices[0].expected_cost, is_refused=False)
            self.clock.now += every

    async def settled(self) -> None:
        """Whatever is being read is read."""
        while self.controller._reading:
            await asyncio.gather(*self.controller._reading)


def explored(pacing_view: PacingView, times: int) -> list[tuple[Decision, Exploration]]:
    found = [pacing_view.decided(decision(), 1.0, may_explore=True) for _ in range(times)]
    return [(made, drawn) for made, drawn, _ in found if drawn is not None]


@pytest.mark.parametrize(
    "tenant",
    [
        replace(ACME, budgets=()),
        replace(
            ACME, budgets=(Budget(5), Budget(5, "minute"), Budget(5, "day", soft=True), Budget(5, "day", "tokens"))
        ),
        replace(ACME, pacing=None),
    ],
)
def test_whom_nothing_is_to_steer_for_has_no_course(tenant: Tenant) -> None:
    async def run() -> None:
        site = Site()
        assert site.controller.pacing_view(tenant) is None
        assert await site.controller.paces(tenant) == {}

    asyncio.run(run())


def test_the_ledger_is_read_apart_and_not_for_every_request() -> None:
    async def run() -> None:
        site = Site()
        pacing_view = site.pacing_view()
        for _ in range(50):
            pacing_view.decided(decision(), 1.0, may_explore=False)
            assert site.ledger.reads == 0, "not on the request's path"
        await site.settled()
        assert site.ledger.reads == 1
        pacing_view.decided(decision(), 1.0, may_explore=False)
        await site.settled()
        assert site.ledger.reads == 1, "not again so soon"
        site.clock.now += 2.5
        pacing_view.decided(decision(), 1.0, may_explore=False)
        await site.settled()
        assert site.ledger.reads == 2

    asyncio.run(run())


def test_keys_of_one_tenant_share_its_pace_and_have_their_own() -> None:
    async def run() -> None:
        site = Site()
        poor = replace(ACME, key="poor", key_budgets=(Budget(10**7, "day"),))
        await site.serve(60, poor)
        laptop, own = site.pacing_view(), site.pacing_view(poor)
        assert own.accounts[0] is laptop.accounts[0]
        assert own.price_weight(None)[0] == own.accounts[1].price_weight > laptop.price_weight(None)[0], (
            "the tighter one counts"
        )
        assert "@acme/key/poor/day" in own.price_weight(None)[2]
        assert set(await site.controller.paces(poor)) == {"acme/day", "acme/key/poor/day"}

    asyncio.run(run())


def test_a_request_never_pays_less_heed_to_price_than_it_asks_for() -> None:
    async def run() -> None:
        site = Site()
        for own in (0.0, 0.3, 0.8, 1.0):
            pacing_view = site.pacing_view(replace(ACME, name=f"t{own}", quality_weight=own))
            for named, least in ((None, own), (0.0, 0.0), (0.4, 0.4), (1.0, 1.0)):
                price_weight, _, label = pacing_view.price_weight(named)
                asked = LARGEST_LAMBDA if least == 0 else (1 - least) / least
                assert (price_weight, label) == (pytest.approx(asked), ""), (own, named)

    asyncio.run(run())


def test_new_terms_keep_what_was_learned_and_a_table_made_anew_changes_nothing() -> None:
    async def run() -> None:
        site = Site()
        await site.serve(60)
        before = site.pacing_view()
        assert site.pacing_view(replace(ACME, expires_at=5.0, candidates=("dear",))) is before
        after = site.pacing_view(
            replace(ACME, budgets=(Budget(10**12, "day"),), pacing=TenantPacingSettings(burst=0.5))
        )
        assert after.accounts == before.accounts
        site.clock.now += 10
        [(pace, _)] = (await site.controller.paces(after.tenant)).values()
        assert (pace.limit, pace.saturated) == (10**12, "ample")
        assert pace.expected_requests > 100
        assert site.controller.pacing_view(replace(ACME, pacing=None)) is None

    asyncio.run(run())


def test_a_ledger_that_does_not_answer_leaves_the_pace_as_it_is() -> None:
    async def run() -> None:
        site = Site()
        await site.serve(60)
        pace = site.pacing_view().price_weight(None)
        site.ledger.fails, reads = True, site.ledger.reads
        for _ in range(100):
            site.pacing_view().decided(decision(), 1.0, may_explore=False)
            await site.settled()
        assert site.ledger.reads == reads + 1, "it is left alone for a while"
        assert site.reported == ["pacing: told to fail"]
        assert site.pacing_view().price_weight(None) == pace
        site.ledger.fails = False
        site.clock.now += 5
        await site.serve(1)
        assert site.ledger.reads == reads + 2

    asyncio.run(run())


def test_what_was_learned_is_kept_and_found_again() -> None:
    async def run() -> None:
        clock, kept = Clock(), KeptPaces()
        site = Site(kept, clock)
        await site.serve(60)
        await site.controller.close()
        assert set(kept.rows) == {"acme"}
        again = Site(kept, clock)
        assert again.pacing_view().price_weight(None)[0] == pytest.approx(0.25)
        await again.serve(1)
        assert again.pacing_view().price_weight(None)[0] == pytest.approx(
            site.pacing_view().price_weight(None)[0], rel=0.1
        )

    asyncio.run(run())


def test_a_state_that_can_not_be_written_is_written_later() -> None:
    async def run() -> None:
        site = Site()
        await site.serve(10)
        site.kept.fails = True
        await site.controller.keep()
        assert site.reported == ["pacing: told to fail"]
        site.kept.fails = False
        await site.controller.keep()
        assert set(site.kept.rows) == {"acme"}
        site.kept.rows.clear()
        await site.controller.keep()
        assert not site.kept.rows, "there is nothing new in it"

    asyncio.run(run())


def test_who_is_idle_is_looked_at_and_then_let_go_of() -> None:
    async def run() -> None:
        site = Site()
        await site.serve(60)
        reads = site.ledger.reads
        site.clock.now += SOLVE_IDLE_S + 1
        await site.controller.look()
        assert site.ledger.reads == reads + 1
        account = site.pacing_view().accounts[0]
        site.clock.now += FORGET_S
        await site.controller.look()
        assert list(site.controller.known_paces()) == []
        assert site.kept.rows
        await site.serve(1)
        assert site.pacing_view().accounts[0] is not account
        assert site.pacing_view().price_weight(None)[0] > 0.25, "the store had it"

    asyncio.run(run())


@pytest.mark.slow
def test_draws_match_their_propensities_and_can_be_drawn_again() -> None:
    """Chi-square with one degree of freedom: 10.8 at p = 0.001."""

    async def run() -> None:
        site = Site()
        pacing_view = site.pacing_view(EXPLORING)
        pacing_view.accounts[0].allowance = 10**15
        found = explored(pacing_view, 4_000)
        assert len(found) == 4_000
        for made, drawn in found:
            weights = [weight for _, weight in drawn.propensities]
            assert sum(weights) == pytest.approx(1.0, abs=1e-12)
            names = [name for name, _ in drawn.propensities]
            assert names[draw(weights, drawn.uniform)] == drawn.candidate == made.choices[0].candidate.name
            assert made.propensity == dict(drawn.propensities)[drawn.candidate]
            assert sorted(row.candidate.name for row in made.choices) == ["cheap", "dear"]
        [propensities] = {drawn.propensities for _, drawn in found}
        counts = Counter(drawn.candidate for _, drawn in found)
        chi_square = sum((counts[name] - 4_000 * p) ** 2 / (4_000 * p) for name, p in propensities)
        assert 0 < propensities[1][1] < 0.5
        assert chi_square < 10.8, counts

    asyncio.run(run())


def test_what_explores_is_taken_from_the_allowance_until_the_ledger_is_read() -> None:
    async def run() -> None:
        site = Site()
        pacing_view = site.pacing_view(EXPLORING)
        cheap = next(row for row in decision().choices if row.candidate.name == "cheap")
        assert explored(pacing_view, 20) == [], "nothing is known of the ledger yet"
        pacing_view.accounts[0].allowance = 3 * cheap.max_cost
        rows = explored(pacing_view, 200)
        assert sum(drawn.explores for _, drawn in rows) == 3
        assert 3 * cheap.max_cost > pacing_view.accounts[0].allowance >= 0
        await site.settled()
        assert pacing_view.accounts[0].allowance == DAY.limit

    asyncio.run(run())


def test_what_explores_counts_in_windows_of_the_budgets_of_its_tenant() -> None:
    async def run() -> None:
        site = Site()
        tenant = replace(EXPLORING, key_budgets=(Budget(5, "day"),))
        pacing_view = site.pacing_view(tenant)
        pacing_view.accounts[0].allowance = 10**15
        for _ in range(50):
            _, drawn, windows = pacing_view.decided(decision(), 1.0, may_explore=True)
            assert drawn is not None
            keys = [window.key for window in windows]
            assert keys == (["acme/exploration/day/2026-01-05T00:00"] if drawn.explores else [])

    asyncio.run(run())


def test_who_may_not_explore_is_left_as_decided() -> None:
    async def run() -> None:
        site = Site()
        made = decision()
        for tenant, may_explore in ((ACME, True), (EXPLORING, False)):
            pacing_view = site.pacing_view(tenant)
            pacing_view.accounts[0].allowance = 10**15
            for _ in range(20):
                assert pacing_view.decided(made, 1.0, may_explore=may_explore) == (made, None, ())

    asyncio.run(run())
