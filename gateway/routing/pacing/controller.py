"""The pacing of all tenants' requests: the lambda of each request, and whether it explores.

The controller stays when the configuration changes. The request path only does arithmetic; separate tasks read the
ledger and solve lambda.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from gateway.billing.store import BudgetStore, PaceStates
from gateway.billing.window import Window
from gateway.errors import StoreError
from gateway.routing.catalog import Catalog
from gateway.routing.decision import Decision, price_weight_of
from gateway.routing.exploration import Exploration, exploration_windows, explore
from gateway.routing.pacing.account import AccountSettings, KnownPace, PacingAccount, Prices
from gateway.routing.pacing.settings import PacingStatus, paced_budgets, pacing_settings, request_scale, scaled
from gateway.tenants.policy import PACED
from gateway.tenants.tenant import Tenant, key_owner

LOOK_S = 10.0
SOLVE_IDLE_S = 60.0
"""A tenant that sends nothing is still solved this often (seconds), for observers of its pace."""
KEEP_S = 30.0
FORGET_S = 3_600.0
"""After this many seconds without a request, an account is dropped from memory and kept only in the store."""
_log = logging.getLogger("loupe")


@dataclass(frozen=True, slots=True)
class PacingView:
    """The pacing of one tenant's requests under one of its keys.

    `accounts` are the accounts: the tenant's, and the key's own if it has one. `ask` starts reading the ledger for an
    account.
    """

    tenant: Tenant
    accounts: tuple[PacingAccount, ...]
    ask: Callable[[PacingAccount], None]
    clock: Callable[[], float]
    uniform: Callable[[], float]

    def price_weight(self, named: float | None) -> tuple[float, float, str]:
        """Return a request's lambda, the scale by which it multiplies the paced lambda, and the label while pacing
        raises lambda.

        `named` is the quality weight that the request asks for.
        """
        own = self.tenant.quality_weight
        account = self.accounts[0]
        for other in self.accounts[1:]:
            if other.price_weight > account.price_weight:
                account = other
        if named is None and own > 0:
            return max(account.price_weight, price_weight_of(own)), 1.0, account.label
        scale = request_scale(named, own)
        asked = price_weight_of(own if named is None else named)
        paced = scaled(account.price_weight, scale)
        return (paced, scale, account.label) if paced > asked else (asked, scale, "")

    def decided(
        self, decision: Decision, scale: float, *, may_explore: bool
    ) -> tuple[Decision, Exploration | None, tuple[Window, ...]]:
        """Count the request, and let it explore if its tenant explores.

        Returns the resulting decision, the draw, and the windows that the request counts towards besides its tenant's.
        """
        now = self.clock()
        for account in self.accounts:
            account.decided(now, decision, scale)
            if account.is_due(now):
                self.ask(account)
        settings = self.tenant.exploration
        if settings is None or not may_explore:
            return decision, None, ()
        account = self.accounts[0]
        explored, drawn = explore(decision, settings, account.allowance, self.uniform())
        if drawn is None or not drawn.explores:
            return explored, drawn, ()
        if account.terms.explored:  # an estimate until the ledger is read again; the reservation decides
            account.allowance -= explored.choices[0].max_cost
        own = self.tenant.windows(now)[: len(self.tenant.budgets)]
        return explored, drawn, exploration_windows(own, settings.budget_share)

    def finished(self, expected_cost: int, charge: int, *, is_refused: bool) -> None:
        """Note that a counted request has ended; see `Pacer.finished`."""
        for account in self.accounts:
            account.finished(expected_cost, charge, is_refused=is_refused)


@dataclass(frozen=True, slots=True)
class _KnownWindow:
    tenant: Tenant
    pacing_view: PacingView | None


class PacingController:
    """The pacing of all tenants; one instance per process.

    `processes` processes spend from the same budgets. `report` takes errors that must not make a request fail. Call
    `follow` before the first request.
    """

    def __init__(
        self,
        store: BudgetStore,
        states: PaceStates,
        *,
        clock: Callable[[], float],
        report: Callable[[str, BaseException], None],
        processes: int = 1,
        uniform: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._states = states
        self._clock = clock
        self._report = report
        self._processes = processes
        self._uniform = uniform
        self._prices = Prices(Catalog(()), {})
        self._known: dict[tuple[str, str], _KnownWindow] = {}
        self._accounts: dict[str, PacingAccount] = {}
        self._reading: set[asyncio.Task[None]] = set()

    def follow(self, catalog: Catalog, factors: Mapping[str, float]) -> None:
        """Use these candidates and prices from now on. Learned costs are recomputed, one account at a time."""
        self._prices = Prices(catalog, factors)
        self._begin(self._reprice_all())

    def pacing_view(self, tenant: Tenant) -> PacingView | None:
        """Return the pacing of a tenant's requests; None for a tenant that is neither paced nor explores."""
        known = self._known.get((tenant.name, tenant.key))
        if known is None or known.tenant is not tenant:
            known = self._meet(tenant, known)
        return known.pacing_view

    async def paces(self, tenant: Tenant) -> dict[str, tuple[PacingStatus, float]]:
        """Return the pace of each of the tenant's paced windows, by name, with the least lambda.

        Reads the ledger again if that is due.
        """
        pacing_view = self.pacing_view(tenant)
        if pacing_view is None:
            return {}
        for account in pacing_view.accounts:
            if account.is_asked:
                await asyncio.gather(*self._reading)
            elif account.is_due(self._clock()):
                await self._read(account)
        return {
            each.pace.window: (each.pace, each.least)
            for account in pacing_view.accounts
            for each in account.known_paces()
        }

    def known_paces(self) -> Iterator[KnownPace]:
        """Yield the latest paces of all accounts that this process knows."""
        for account in self._accounts.values():
            yield from account.known_paces()

    async def keep_for_ever(self) -> None:
        """Solve for idle accounts and save what was learned, for ever."""
        looks = 0
        while True:
            await asyncio.sleep(LOOK_S)
            looks += 1
            try:
                await self.look()
                if looks % round(KEEP_S / LOOK_S) == 0:
                    await self.keep()
            except Exception as error:  # any error: without this task, what was learned would be lost
                self._report("pacing", error)

    async def look(self) -> None:
        """Solve accounts that were not solved for a while; drop accounts that are long idle, once they are saved."""
        now = self._clock()
        for owner, account in list(self._accounts.items()):
            if now - account.used_at > FORGET_S and not account.is_asked:
                await self._keep(owner, account)
                if now - account.used_at > FORGET_S:
                    self._forget(owner, account)
            elif now - account.solved_at > SOLVE_IDLE_S and account.is_due(now):
                await self._read(account)

    async def keep(self) -> None:
        """Save what has changed, one account at a time."""
        for owner, account in list(self._accounts.items()):
            await self._keep(owner, account)

    async def close(self) -> None:
        """Finish the reads in progress and save what was learned."""
        while self._reading:
            await asyncio.gather(*self._reading, return_exceptions=True)
        await self.keep()

    def _meet(self, tenant: Tenant, before: _KnownWindow | None) -> _KnownWindow:
        """Return the entry of a tenant that is new here or was read again; its terms may have changed."""
        if before is not None and _alike(before.tenant, tenant):
            pacing_view = before.pacing_view
        else:
            accounts = tuple(self._account(terms) for terms in _terms_of(tenant, self._processes))
            pacing_view = PacingView(tenant, accounts, self._ask, self._clock, self._uniform) if accounts else None
        known = self._known[tenant.name, tenant.key] = _KnownWindow(tenant, pacing_view)
        return known

    def _account(self, terms: AccountSettings) -> PacingAccount:
        account = self._accounts.get(terms.owner)
        if account is None:
            account = self._accounts[terms.owner] = PacingAccount(terms, self._prices)
            account.used_at = self._clock()
        elif account.terms != terms:
            account.take_terms(terms)
        return account

    def _ask(self, account: PacingAccount) -> None:
        account.is_asked = True
        self._begin(self._read(account))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._reading.add(task)
        task.add_done_callback(self._reading.discard)

    async def _read(self, account: PacingAccount) -> None:
        """Read the balances of the account's windows, and solve. Without an answer the pace stays as it is."""
        account.is_asked = True
        try:
            if not account.is_read:
                await self._restore(account)
            now = self._clock()
            balances = await self._store.balances(account.windows(now))
            account.reprice(self._prices)
            account.solve(now, balances)
        except StoreError as error:
            account.failed_at = self._clock()
            self._report("pacing", error)
        except Exception as error:  # an error of ours: budgets are kept without pacing, too
            account.failed_at = self._clock()
            self._report("pacing", error)
        finally:
            account.is_asked = False

    async def _restore(self, account: PacingAccount) -> None:
        text = await asyncio.to_thread(self._states.read, account.terms.owner)
        account.is_read = True
        if text is None:
            return
        try:
            account.restore(text)
        except ValueError as error:
            _log.warning("pacing: the saved state of %s is broken, it starts again: %s", account.terms.owner, error)

    async def _keep(self, owner: str, account: PacingAccount) -> None:
        if not account.is_changed:
            return
        state = account.written()
        try:
            await asyncio.to_thread(lambda: self._states.write({owner: json.dumps(state)}))
        except StoreError as error:
            account.is_changed = True
            self._report("pacing", error)

    def _forget(self, owner: str, account: PacingAccount) -> None:
        self._accounts.pop(owner, None)
        stale = [
            who for who, known in self._known.items() if known.pacing_view and account in known.pacing_view.accounts
        ]
        for who in stale:
            del self._known[who]

    async def _reprice_all(self) -> None:
        for account in list(self._accounts.values()):
            account.reprice(self._prices)
            await asyncio.sleep(0)


def _terms_of(tenant: Tenant, processes: int) -> Iterator[AccountSettings]:
    """Yield the accounts' settings, the tenant's first. A tenant that explores always has an account."""
    pacing, exploration = tenant.pacing, tenant.exploration
    settings = pacing_settings(pacing or PACED, tenant.quality_weight, processes)
    paced, own = (paced_budgets(b) if pacing else () for b in (tenant.budgets, tenant.key_budgets))
    if exploration is not None:
        hard = tuple(budget for budget in tenant.budgets if budget.unit == "usd" and not budget.soft)
        yield AccountSettings(tenant.name, settings, paced, hard, exploration.budget_share)
    elif paced:
        yield AccountSettings(tenant.name, settings, paced)
    if own:
        yield AccountSettings(key_owner(tenant.name, tenant.key), settings, own)


def _alike(one: Tenant, other: Tenant) -> bool:
    """Return whether two versions of a tenant are steered alike; they may differ in everything else."""
    return (
        one.quality_weight == other.quality_weight
        and one.budgets == other.budgets
        and one.key_budgets == other.key_budgets
        and one.pacing == other.pacing
        and one.exploration == other.exploration
    )
