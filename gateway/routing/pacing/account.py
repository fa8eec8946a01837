"""The money of one tenant, or of one key with its own budgets, as pacing and exploration see it.

A pacing account learns from every request, and sometimes receives its windows' balances from the ledger.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from gateway.billing.price import cost
from gateway.billing.reservation import Balance
from gateway.billing.window import Budget, Window, window_at
from gateway.routing.catalog import Catalog
from gateway.routing.decision import Decision
from gateway.routing.exploration import exploration_windows
from gateway.routing.pacing.cost_curve import options_of
from gateway.routing.pacing.pacer import Pacer
from gateway.routing.pacing.settings import PacingSettings, PacingStatus, standing_of

RETRY_S = 2.0
STATE_FORMAT = 1
UNLIMITED = 10**18
"""Nanodollars that exploration may spend if there is no budget to take a share of."""


@dataclass(frozen=True, slots=True)
class AccountSettings:
    """The budgets that a pacing account covers, and how.

    Attributes:
        owner: the owner of its windows, as `window_at` takes it.
        paced: budgets that are paced.
        explored: budgets of which exploration has a share, `budget_share`.
    """

    owner: str
    settings: PacingSettings
    paced: tuple[Budget, ...]
    explored: tuple[Budget, ...] = ()
    budget_share: float = 0.0


@dataclass(frozen=True, slots=True)
class Prices:
    """Candidates' costs under the configuration in service, and the factors of recent bills over estimates."""

    catalog: Catalog
    factors: Mapping[str, float]

    def expected(self, name: str, input_tokens: int, output_tokens: int) -> int | None:
        """Return the expected nanodollars; None when the candidate is no longer on offer."""
        candidate = self.catalog.get(name)
        if candidate is None:
            return None
        return math.ceil(cost(candidate.price, input_tokens, output_tokens) * self.factors.get(name, 1.0))


class KnownPace(NamedTuple):
    """The pace of a window of `budget`. `owner` is as `window_at` takes it; `least` is the owner's least lambda."""

    owner: str
    budget: Budget
    pace: PacingStatus
    least: float


class PacingAccount:
    """The pacing of one owner in one process."""

    def __init__(self, terms: AccountSettings, prices: Prices) -> None:
        self.terms = terms
        self.label = ""
        """The text for `X-Route-Reason` while pacing raises lambda, else empty."""
        self.allowance = 0 if terms.explored else UNLIMITED
        """The last known rest of exploration's windows, in nanodollars."""
        self.is_read = False
        """True once the saved state was looked up."""
        self.is_asked = False
        """True while a task reads the ledger for this account."""
        self.is_changed = False
        """True when there is something new to save."""
        self.used_at = self.solved_at = self.failed_at = -math.inf
        self._prices = prices
        self._solved: tuple[Budget, ...] = ()
        self._pacer = Pacer(terms.settings, prices.catalog.reference_cost)

    @property
    def price_weight(self) -> float:
        """The paced lambda, never below the tenant's own."""
        return max(self._pacer.price_weight, self.terms.settings.least)

    @property
    def paces(self) -> tuple[PacingStatus, ...]:
        return self._pacer.paces

    def known_paces(self) -> Iterator[KnownPace]:
        """Return the latest known paces of the windows that have a plan."""
        found = zip(self._solved, self.paces, strict=False)  # a new pacer has no paces
        least = self.terms.settings.least
        return (KnownPace(self.terms.owner, *each, least) for each in found if each[1].plan_to_date is not None)

    def decided(self, now: float, decision: Decision, scale: float) -> None:
        """Note that a request was decided on. Cheap: the costs of its options are read only for a
        few of many requests.
        """
        self.used_at = now
        if self.terms.paced:
            self._pacer.decided(now, options_of(decision), scale)

    def finished(self, expected_cost: int, charge: int, *, is_refused: bool) -> None:
        self._pacer.finished(expected_cost, charge, is_refused=is_refused)

    def is_due(self, now: float) -> bool:
        """Return whether to read the ledger."""
        if self.is_asked or abs(now - self.failed_at) < RETRY_S:
            return False
        return self._pacer.is_due(now)

    def windows(self, now: float) -> tuple[Window, ...]:
        """Return the windows to read: the paced ones, then exploration's."""
        terms = self.terms
        beside = exploration_windows([window_at(terms.owner, b, now) for b in terms.explored], terms.budget_share)
        return (*(window_at(terms.owner, budget, now) for budget in terms.paced), *beside)

    def solve(self, now: float, balances: Sequence[Balance]) -> None:
        """Solve the pace from the balances of `windows(now)`."""
        paced = self.terms.paced
        self._pacer.solve(
            now,
            [
                standing_of(budget, balance.window, balance.spent, balance.held, now)
                for budget, balance in zip(paced, balances, strict=False)
            ],
        )
        beside = balances[len(paced) :]
        if beside:
            left = min(balance.window.limit - balance.spent - balance.held for balance in beside)
            self.allowance = max(left, 0)
        tightest = self._pacer.tightest
        binds = tightest is not None and self._pacer.price_weight > self.terms.settings.least
        self.label = tightest.label if tightest is not None and binds else ""
        self.solved_at, self._solved = now, paced
        self.is_changed = True

    def reprice(self, prices: Prices) -> None:
        """Take the prices of a new configuration: recompute with them what recent requests could have cost."""
        if prices is not self._prices:
            self._prices = prices
            self._pacer.reprice(prices.expected, prices.catalog.reference_cost)

    def take_terms(self, terms: AccountSettings) -> None:
        """Take the tenant's changed terms; what was learned is kept."""
        if terms.settings != self.terms.settings:
            state = self._pacer.state()
            self._pacer = Pacer(terms.settings, self._prices.catalog.reference_cost)
            self._pacer.restore(state)
        if not terms.explored:
            self.allowance = UNLIMITED
        elif (terms.explored, terms.budget_share) != (self.terms.explored, self.terms.budget_share):
            self.allowance = 0
        self.terms = terms

    def written(self) -> dict[str, Any]:
        """Return the state to persist, for JSON. Marks it as saved."""
        self.is_changed = False
        return {
            "format": STATE_FORMAT,
            "processes": self.terms.settings.processes,
            "reference_cost": self._prices.catalog.reference_cost,
            "pacer": self._pacer.state(),
        }

    def restore(self, text: str) -> None:
        """Continue from the JSON of a `written` state, at the current prices. Raises ValueError for anything else.

        With another number of processes each process sees another share of the traffic: only that part is learned
        again.
        """
        try:
            kept = json.loads(text)
            if kept["format"] != STATE_FORMAT:
                raise ValueError(f"format {kept['format']!r}; this version reads {STATE_FORMAT}")
            state, reference_cost = kept["pacer"], int(kept["reference_cost"])
            settings = self.terms.settings
            pacer = Pacer(settings, reference_cost)
            if kept["processes"] != settings.processes:
                fresh = pacer.state()
                state = {**state, "arrivals": fresh["arrivals"], "watches": {}}
            pacer.restore(state)
            pacer.reprice(self._prices.expected, self._prices.catalog.reference_cost)
        except (LookupError, TypeError, AttributeError, OverflowError, RecursionError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error
        self._pacer = pacer
