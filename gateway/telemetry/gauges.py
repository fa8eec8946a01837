"""Where budgets of tenants and keys stand, as gauges: looked up now and then in small parts, never when metrics are
asked for.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from itertools import islice

from gateway.billing.money import NANODOLLARS
from gateway.billing.reservation import Balance
from gateway.billing.window import Budget, Window, window_at
from gateway.telemetry.exposition import Labels
from gateway.telemetry.metrics import LARGEST_GAUGES, LARGEST_TENANTS, Metrics
from gateway.tenants.registry import Roster
from gateway.tenants.tenant import key_owner

EVERY_S = 5.0
AT_ONCE = 16
"""Windows in one question: the embedded store answers it on the event loop."""
LARGEST_KEYS = 200
"""Keys whose own budgets are shown; of those that have none there may be any number."""
LABELS = ("tenant", "window", "unit", "enforced")


class BudgetGauges:
    """Of each tenant's windows, and of those that keys have of their own. `balances` asks the ledger; `report` is told
    when that fails.
    """

    def __init__(
        self,
        metrics: Metrics,
        roster: Callable[[], Roster],
        balances: Callable[[Sequence[Window]], Awaitable[list[Balance]]],
        *,
        report: Callable[[str, BaseException], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._roster = roster
        self._balances = balances
        self._report = report
        self._clock = clock
        self._standings: dict[Labels, tuple[float, float, float]] = {}
        for name, text, of in (
            ("limit", "What a budget window allows, in its unit", lambda limit, _, __: limit),
            ("spent", "What has been spent of a budget window, in its unit", lambda _, spent, __: spent),
            ("held", "What requests under way hold of a budget window, in its unit", lambda _, __, held: held),
            (
                "remaining",
                "What is left of a budget window, in its unit",
                lambda limit, spent, held: max(limit - spent - held, 0.0),
            ),
        ):
            metrics.watch_labelled(f"loupe_budget_{name}", text, LABELS, self._reader(of))

    async def refresh_for_ever(self, every_s: float = EVERY_S) -> None:
        while True:
            try:
                await self.refresh()
            except Exception as error:  # whatever is wrong with the store: the gauges stay as they were
                self._report("budgets", error)
            await asyncio.sleep(every_s)

    async def refresh(self) -> None:
        """Raises what the store raises."""
        now = self._clock()
        windows = (
            (_labels(owner, budget), window_at(owner, budget, now))
            for owner, budgets in _owners(self._roster(), now)
            for budget in budgets
        )
        asked = list(islice(windows, LARGEST_GAUGES))
        found: dict[Labels, tuple[float, float, float]] = {}
        for start in range(0, len(asked), AT_ONCE):
            part = asked[start : start + AT_ONCE]
            balances = await self._balances([window for _, window in part])
            for (labels, window), balance in zip(part, balances, strict=True):
                unit = NANODOLLARS if window.unit == "usd" else 1
                found[labels] = (window.limit / unit, balance.spent / unit, balance.held / unit)
        self._standings = found

    def _reader(self, of: Callable[[float, float, float], float]) -> Callable[[], Mapping[Labels, float]]:
        return lambda: {labels: of(*standing) for labels, standing in self._standings.items()}


def _owners(roster: Roster, now: float) -> Iterator[tuple[str, Sequence[Budget]]]:
    """Whose budgets are shown, as `window_at` takes it: those that came first, tenants before keys."""
    tenants = dict(islice(roster.tenants.items(), LARGEST_TENANTS))
    yield from ((name, terms.budgets) for name, terms in tenants.items())
    keys = (key for key in roster.keys.values() if key.budgets and key.tenant in tenants and key.stands(now))
    shown = {key_owner(key.tenant, key.name): key.budgets for key in islice(keys, LARGEST_KEYS)}
    yield from shown.items()  # a key and the one that took its place share their windows


def _labels(owner: str, budget: Budget) -> Labels:
    return (*window_labels(owner, budget), budget.unit, "soft" if budget.soft else "hard")


def window_labels(owner: str, budget: Budget) -> tuple[str, str]:
    """Tenant and window of a budget of `owner`, as `window_at` takes it: `acme`, `rolling_day`. The window of a key's
    own budget has its name before it: `key/laptop/rolling_day`.
    """
    tenant, _, key = owner.partition("/")
    name = window_name(budget)
    return tenant, f"{key}/{name}" if key else name


def window_name(budget: Budget) -> str:
    """A budget's window as a label: `month`, `rolling_day`, `day@Europe/Berlin`."""
    name = f"rolling_{budget.period}" if budget.rolling else budget.period
    return name if budget.zone == "UTC" else f"{name}@{budget.zone}"
