"""Budget gauges: what the ledger says, by tenant or key and window; when it is silent, what it said last."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace

from gateway.billing.reservation import Balance, Reservation
from gateway.billing.window import Budget, Window, window_at
from gateway.stores.memory import MemoryStore
from gateway.telemetry.gauges import AT_ONCE, LARGEST_KEYS, BudgetGauges, window_labels, window_name
from gateway.telemetry.metrics import LARGEST_GAUGES, LARGEST_TENANTS, Metrics
from gateway.tenants.registry import ApiKey, TenantRegistry, TenantSettings
from gateway.tenants.tenant import key_owner

from .test_metrics import read, value

NOW = 1_700_000_000.0
BUDGETS = (Budget(5_000_000_000, "day"), Budget(600, "minute", "requests"), Budget(1_000_000_000, "month", soft=True))
LAPTOP = ApiKey("k1", "acme", "laptop", "aa", NOW - 60, budgets=(Budget(2_000_000_000, "day", rolling=True),))


class Asked:
    """A ledger in which nothing was spent; it remembers how many windows each question was about."""

    def __init__(self) -> None:
        self.counts: list[int] = []

    async def balances(self, windows: Sequence[Window]) -> list[Balance]:
        self.counts.append(len(windows))
        return [Balance(window, 0, 0) for window in windows]


def gauges(
    metrics: Metrics, store: MemoryStore | Asked, tenants: Sequence[TenantSettings], *keys: ApiKey
) -> BudgetGauges:
    registry = TenantRegistry({terms.name: terms for terms in tenants}, {key.id: key for key in keys})
    return BudgetGauges(metrics, lambda: registry, store.balances, report=lambda *_: None, clock=lambda: NOW)


def limits(metrics: Metrics) -> dict[str, float]:
    """By tenant and window."""
    found = ((dict(labels), each) for (name, labels), each in read(metrics).items() if name == "loupe_budget_limit")
    return {f"{labels['tenant']} {labels['window']}": limit for labels, limit in found}


def test_windows_are_shown_in_their_unit() -> None:
    async def scenario() -> None:
        metrics, store = Metrics(), MemoryStore(lambda: NOW)
        found = gauges(metrics, store, [TenantSettings("acme", BUDGETS)])
        windows = _windows(BUDGETS)
        await store.reserve(Reservation("acme/1", windows, 2_000_000_000, 0, 60))
        await store.settle("acme/1", 1_500_000_000)
        await store.reserve(Reservation("acme/2", windows, 1_000_000_000, 0, 60))
        await found.refresh()
        day = {"tenant": "acme", "window": "day", "unit": "usd", "enforced": "hard"}
        kinds = ("limit", "spent", "held", "remaining")
        assert [value(metrics, f"loupe_budget_{kind}", **day) for kind in kinds] == [5.0, 1.5, 1.0, 2.5]
        minute = {"tenant": "acme", "window": "minute", "unit": "requests", "enforced": "hard"}
        assert [value(metrics, f"loupe_budget_{kind}", **minute) for kind in kinds] == [600, 1, 1, 598]
        month = {"tenant": "acme", "window": "month", "unit": "usd", "enforced": "soft"}
        assert value(metrics, "loupe_budget_remaining", **month) == 0  # over it, which is allowed

    asyncio.run(scenario())


def test_the_ledger_is_asked_in_small_parts_and_for_no_more_tenants_than_are_shown() -> None:
    async def scenario() -> None:
        metrics, asked = Metrics(), Asked()
        tenants = [TenantSettings(f"t{n}", BUDGETS) for n in range(LARGEST_TENANTS + 100)]
        await gauges(metrics, asked, tenants).refresh()
        assert max(asked.counts) == AT_ONCE
        assert sum(asked.counts) == LARGEST_TENANTS * len(BUDGETS)
        assert sum(name == "loupe_budget_limit" for name, _ in read(metrics)) == LARGEST_TENANTS * len(BUDGETS)

    asyncio.run(scenario())


def test_a_keys_own_windows_are_shown_beside_its_tenants() -> None:
    async def scenario() -> None:
        metrics, store = Metrics(), MemoryStore(lambda: NOW)
        (budget,) = LAPTOP.budgets
        own = window_at(key_owner("acme", "laptop"), budget, NOW)
        await store.reserve(Reservation("acme/1", (*_windows(BUDGETS), own), 2_000_000_000, 0, 60))
        await store.settle("acme/1", 1_500_000_000)
        await gauges(metrics, store, [TenantSettings("acme", BUDGETS)], LAPTOP).refresh()
        laptop = {"tenant": "acme", "window": "key/laptop/rolling_day", "unit": "usd", "enforced": "hard"}
        kinds = ("limit", "spent", "held", "remaining")
        assert [value(metrics, f"loupe_budget_{kind}", **laptop) for kind in kinds] == [2.0, 1.5, 0, 0.5]
        assert set(limits(metrics)) == {"acme day", "acme minute", "acme month", "acme key/laptop/rolling_day"}

    asyncio.run(scenario())


def test_only_keys_that_stand_are_shown_and_a_rotated_one_as_its_successor() -> None:
    async def scenario() -> None:
        metrics = Metrics()
        keys = (
            LAPTOP,
            replace(LAPTOP, id="k2", budgets=(Budget(3_000_000_000, "day", rolling=True),)),
            replace(LAPTOP, id="k3", name="ended", expires_at=NOW),
            replace(LAPTOP, id="k4", name="revoked", revoked_at=NOW - 1),
            replace(LAPTOP, id="k5", name="free", budgets=()),
            replace(LAPTOP, id="k6", tenant="gone"),
        )
        await gauges(metrics, Asked(), [TenantSettings("acme")], *keys).refresh()
        assert limits(metrics) == {"acme key/laptop/rolling_day": 3.0}

    asyncio.run(scenario())


def test_keys_are_bounded_and_never_keep_a_tenant_out() -> None:
    async def scenario() -> None:
        metrics, asked = Metrics(), Asked()
        tenants = [TenantSettings(f"t{n}", BUDGETS) for n in range(LARGEST_TENANTS + 1)]
        keys = [replace(LAPTOP, id=f"k{n}", tenant="t0", name=f"n{n}") for n in range(10 * LARGEST_KEYS)]
        hidden = replace(LAPTOP, id="hidden", tenant=tenants[-1].name)
        await gauges(metrics, asked, tenants, hidden, *keys).refresh()
        shown = limits(metrics)
        assert len(shown) == sum(asked.counts) == LARGEST_TENANTS * len(BUDGETS) + LARGEST_KEYS
        assert "t0 key/n0/rolling_day" in shown

    asyncio.run(scenario())


def test_no_window_is_asked_for_that_no_gauge_has_room_for() -> None:
    async def scenario() -> None:
        metrics, asked = Metrics(), Asked()
        budgets = tuple(Budget(each + 1) for each in range(2 * LARGEST_GAUGES))
        await gauges(metrics, asked, [TenantSettings("acme", budgets)]).refresh()
        assert sum(asked.counts) == LARGEST_GAUGES

    asyncio.run(scenario())


def test_a_ledger_that_is_out_of_order_is_reported_and_asked_again() -> None:
    async def scenario() -> None:
        faults: list[str] = []
        answers = asyncio.Event()

        async def balances(windows: Sequence[Window]) -> list[Balance]:
            if not faults:
                raise OSError("gone")
            answers.set()
            return [Balance(window, 0, 0) for window in windows]

        found = BudgetGauges(
            Metrics(),
            lambda: TenantRegistry({"acme": TenantSettings("acme", BUDGETS)}),
            balances,
            report=lambda where, _: faults.append(where),
        )
        task = asyncio.ensure_future(found.refresh_for_ever(every_s=0.001))
        await asyncio.wait_for(answers.wait(), 60)
        task.cancel()
        assert faults == ["budgets"]

    asyncio.run(scenario())


def test_windows_have_names() -> None:
    assert window_name(Budget(1, "day")) == "day"
    assert window_name(Budget(1, "day", rolling=True)) == "rolling_day"
    assert window_name(Budget(1, "week", zone="Europe/Berlin")) == "week@Europe/Berlin"
    assert window_labels("acme", Budget(1, "day", rolling=True)) == ("acme", "rolling_day")
    assert window_labels("acme/key/a/b", Budget(1, "day", zone="Asia/Tokyo")) == ("acme", "key/a/b/day@Asia/Tokyo")


def _windows(budgets: Sequence[Budget]) -> tuple[Window, ...]:
    return tuple(window_at("acme", budget, NOW) for budget in budgets)
