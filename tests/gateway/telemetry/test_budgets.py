"""Budget gauges: what the ledger says, by tenant and window; when it is silent, what it said last."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gateway.core.budget import Budget, Window, window_at
from gateway.core.hold import Balance, Hold
from gateway.core.roster import TenantTerms
from gateway.stores.memory import MemoryStore
from gateway.telemetry.budgets import AT_ONCE, BudgetGauges, window_labels, window_name
from gateway.telemetry.metrics import LARGEST_TENANTS, Metrics

from .test_metrics import read, value

NOW = 1_700_000_000.0
BUDGETS = (Budget(5_000_000_000, "day"), Budget(600, "minute", "requests"), Budget(1_000_000_000, "month", soft=True))


def gauges(metrics: Metrics, store: MemoryStore, tenants: dict[str, TenantTerms]) -> BudgetGauges:
    return BudgetGauges(metrics, lambda: tenants, store.balances, report=lambda *_: None, clock=lambda: NOW)


def test_windows_are_shown_in_their_unit() -> None:
    async def scenario() -> None:
        metrics, store = Metrics(), MemoryStore(lambda: NOW)
        found = gauges(metrics, store, {"acme": TenantTerms("acme", BUDGETS)})
        windows = _windows(BUDGETS)
        await store.reserve(Hold("acme/1", windows, 2_000_000_000, 0, 60))
        await store.settle("acme/1", 1_500_000_000)
        await store.reserve(Hold("acme/2", windows, 1_000_000_000, 0, 60))
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
        metrics, asked = Metrics(), []
        tenants = {f"t{n}": TenantTerms(f"t{n}", BUDGETS) for n in range(LARGEST_TENANTS + 100)}

        async def balances(windows: Sequence[Window]) -> list[Balance]:
            asked.append(len(windows))
            return [Balance(window, 0, 0) for window in windows]

        await BudgetGauges(metrics, lambda: tenants, balances, report=lambda *_: None, clock=lambda: NOW).refresh()
        assert max(asked) == AT_ONCE
        assert sum(asked) == LARGEST_TENANTS * len(BUDGETS)
        assert sum(name == "loupe_budget_limit" for name, _ in read(metrics)) == LARGEST_TENANTS * len(BUDGETS)

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
            lambda: {"acme": TenantTerms("acme", BUDGETS)},
            balances,
            report=lambda where, _: faults.append(where),
        )
        task = asyncio.ensure_future(found.refresh_for_ever(every_s=0.001))
        await asyncio.wait_for(answers.wait(), 10)
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
