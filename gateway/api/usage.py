"""The data of /v1/usage and /admin/usage: the ledger's windows, their paces, and the spend per candidate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from gateway.billing.money import NANODOLLARS
from gateway.billing.reservation import Balance
from gateway.billing.store import BudgetStore
from gateway.billing.window import Budget, Window
from gateway.errors import InvalidRequest
from gateway.outcomes.spend import SpendReport
from gateway.routing.exploration import exploration_windows
from gateway.routing.pacing.controller import PacingController
from gateway.routing.pacing.settings import PacingStatus, window_name
from gateway.tenants.policy import ExplorationSettings
from gateway.tenants.tenant import Tenant

WINDOWS_AT_ONCE = 500
DAY_S = 86_400.0
MOST_DAYS = 31
HOUR_S = 3_600
Rows = list[dict[str, Any]]


class PacePlace(NamedTuple):
    """A window to show, and the list that its row is added to."""

    rows: Rows
    budget: Budget
    window: Window


@dataclass(frozen=True, slots=True)
class UsageReports:
    """The reports of usage. `clock` gives seconds since the epoch."""

    store: BudgetStore
    spend: SpendReport
    controller: PacingController
    clock: Callable[[], float]

    async def of_tenant(self, tenant: Tenant, since: float | None = None) -> dict[str, Any]:
        """Return windows, candidates and, if the tenant explores, exploration. Amounts in USD. Raises StoreError."""
        now = self.clock()
        since = _checked(since, now)
        paces = await self.controller.paces(tenant)
        windows: Rows = []
        found: dict[str, Any] = {"windows": windows}
        budgets, own = (*tenant.budgets, *tenant.key_budgets), tenant.windows(now)
        places = [PacePlace(windows, *pair) for pair in zip(budgets, own, strict=True)]
        if tenant.exploration is not None:
            found["exploration"], beside = exploration_row(tenant.exploration, places[: len(tenant.budgets)])
            places += beside
        await self.fill(places, paces)
        candidates = (await self.by_candidate(since, tenant.name)).get(tenant.name, [])
        return {**found, "candidates": candidates, "candidates_since": since}

    async def fill(self, places: Sequence[PacePlace], paces: Mapping[str, tuple[PacingStatus, float]]) -> None:
        """Ask the store for the balances, some at a time so that other requests get their turn; add each row to its
        list.
        """
        now = self.clock()
        for start in range(0, len(places), WINDOWS_AT_ONCE):
            some = places[start : start + WINDOWS_AT_ONCE]
            balances = await self.store.balances([place.window for place in some])
            for place, balance in zip(some, balances, strict=True):
                told = paces.get(window_name(place.window)) if _is_hard(place.budget) else None
                place.rows.append(window_row(place.budget, balance, None if told is None else pace_row(*told, now)))

    def known_paces(self) -> dict[str, tuple[PacingStatus, float]]:
        """Return the latest known paces, by window name, of owners that sent requests through this process."""
        return {each.pace.window: (each.pace, each.least) for each in self.controller.known_paces()}

    async def by_candidate(self, since: float | None, tenant: str | None = None) -> dict[str, Rows]:
        """Return, by tenant, what each candidate was paid since `since` (None: a day ago), the most expensive first.

        Raises StoreError.
        """
        rows = await self.spend.by_candidate(_checked(since, self.clock()), tenant)
        found: dict[str, Rows] = {}
        for row in rows:
            shown = {"candidate": row.candidate, "requests": row.requests, "spent_usd": row.cost / NANODOLLARS}
            found.setdefault(row.tenant, []).append(shown)
        return found


def exploration_row(
    settings: ExplorationSettings, places: Sequence[PacePlace]
) -> tuple[dict[str, Any], list[PacePlace]]:
    """Return what to show of a tenant's exploration, and the places of exploration's own windows in it."""
    rows: Rows = []
    hard = [place for place in places if _is_hard(place.budget)]
    beside = exploration_windows([place.window for place in hard], settings.budget_share)
    found = [PacePlace(rows, place.budget, window) for place, window in zip(hard, beside, strict=True)]
    return {"rate": settings.rate, "windows": rows}, found


def since_of(text: str | None) -> float | None:
    """Return the query's `since`, in seconds since the epoch. Raises InvalidRequest."""
    try:
        found = None if text is None else float(text)
    except ValueError:
        found = -1.0
    if found is not None and not 0 <= found < 1e11:
        raise InvalidRequest(f"since: {text!r:.40} is not a time in seconds since the epoch", param="since")
    return found


def _checked(since: float | None, now: float) -> float:
    """Return the beginning of the hour, because spend is summed by the hour; at most MOST_DAYS ago."""
    found = max(now - (DAY_S if since is None else MOST_DAYS * DAY_S), since or 0.0)
    return found // HOUR_S * HOUR_S


def _is_hard(budget: Budget) -> bool:
    return budget.unit == "usd" and not budget.soft


def window_row(budget: Budget, balance: Balance, pacing: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return a window in USD (`limit_usd`, ...) or in its own unit (`limit`, ...), with `pacing` if it is paced."""
    window = balance.window
    mark, unit = ("_usd", NANODOLLARS) if budget.unit == "usd" else ("", 1)
    row = {
        "name": window.key.partition("/")[2],
        "unit": budget.unit,
        "period": budget.period,
        "rolling": budget.rolling,
        "soft": budget.soft,
        "limit" + mark: window.limit / unit,
        "spent" + mark: balance.spent / unit,
        "held" + mark: balance.held / unit,
        "remaining" + mark: max(window.limit - balance.spent - balance.held, 0) / unit,
        "starts_at": window.starts_at,
        "resets_at": window.ends_at,
    }
    return row if pacing is None else {**row, "pacing": pacing}


def pace_row(pace: PacingStatus, least: float, now: float) -> dict[str, Any]:
    """Return this process's pacing of a window: the lambda that it asks for, and whether that
    exceeds the tenant's own.
    """
    left = pace.exhausted_at
    return {
        "lambda": pace.price_weight,
        "binds": pace.price_weight > least,
        "plan_usd": None if pace.plan_to_date is None else pace.plan_to_date / NANODOLLARS,
        "burn_usd_per_hour": pace.burn_per_hour / NANODOLLARS,
        "exhausted_at": left,
        "exhausted_in_seconds": None if left is None else max(left - now, 0.0),
        "saturation": pace.saturated or None,
        "feedback": pace.feedback,
        "expected_requests": round(pace.expected_requests, 1),
        "burst_capped": pace.is_capped,
        "frozen": pace.is_frozen,
    }
