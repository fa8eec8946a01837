"""Gauges of the budgets of tenants and keys: read regularly in small parts, never at the time of a scrape."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import islice

from gateway.billing.money import NANODOLLARS
from gateway.billing.reservation import Balance
from gateway.billing.window import Budget, Window, window_at
from gateway.pipeline.calibration import DRIFTS_OUTSIDE, Calibration, Drift
from gateway.routing.pacing.account import KnownPace
from gateway.routing.pacing.settings import PacingStatus
from gateway.telemetry.exposition import Labels
from gateway.telemetry.metrics import LARGEST_GAUGES, LARGEST_TENANTS, Metrics
from gateway.tenants.registry import TenantRegistry
from gateway.tenants.tenant import key_owner

_log = logging.getLogger("loupe")
LAG_EVERY_S = 0.1
PACE_LABELS = ("tenant", "window")

EVERY_S = 5.0
AT_ONCE = 16
"""Windows in one query, because the embedded store answers it on the event loop."""
LARGEST_KEYS = 200
"""The most keys whose own budgets are shown; keys without budgets do not count."""
LABELS = ("tenant", "window", "unit", "enforced")


class BudgetGauges:
    """The gauges of each tenant's windows, and of keys' own windows.

    `balances` asks the ledger; `report` is called when that fails.
    """

    def __init__(
        self,
        metrics: Metrics,
        registry: Callable[[], TenantRegistry],
        balances: Callable[[Sequence[Window]], Awaitable[list[Balance]]],
        *,
        report: Callable[[str, BaseException], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._registry = registry
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
            except Exception as error:  # any error with the store: the gauges keep their values
                self._report("budgets", error)
            await asyncio.sleep(every_s)

    async def refresh(self) -> None:
        """Read the balances. Raises what the store raises."""
        now = self._clock()
        windows = (
            (_labels(owner, budget), window_at(owner, budget, now))
            for owner, budgets in _owners(self._registry(), now)
            for budget in budgets
        )
        asked = list(islice(windows, LARGEST_GAUGES))
        found: dict[Labels, tuple[float, float, float]] = {}
        for start in range(0, len(asked), AT_ONCE):
            part = asked[start : start + AT_ONCE]
            balances = await self._balances([window for _, window in part])
            for (labels, window), balance in zip(part, balances, strict=True):
                unit = NANODOLLARS if window.unit == "usd" else 1
                standing = (window.limit / unit, balance.spent / unit, balance.held / unit)
                found[labels] = min(standing, found.get(labels, standing))  # of several limits the tightest
        self._standings = found

    def _reader(self, of: Callable[[float, float, float], float]) -> Callable[[], Mapping[Labels, float]]:
        return lambda: {labels: of(*standing) for labels, standing in self._standings.items()}


def _owners(registry: TenantRegistry, now: float) -> Iterator[tuple[str, Sequence[Budget]]]:
    """Yield the owners, as `window_at` takes them, whose budgets are shown: the first ones, tenants before keys."""
    tenants = dict(islice(registry.tenants.items(), LARGEST_TENANTS))
    yield from ((name, terms.budgets) for name, terms in tenants.items())
    keys = (key for key in registry.keys.values() if key.budgets and key.tenant in tenants and key.stands(now))
    shown = {key_owner(key.tenant, key.name): key.budgets for key in islice(keys, LARGEST_KEYS)}
    yield from shown.items()  # a key and its successor share their windows


def _labels(owner: str, budget: Budget) -> Labels:
    return (*window_labels(owner, budget), budget.unit, "soft" if budget.soft else "hard")


def window_labels(owner: str, budget: Budget) -> tuple[str, str]:
    """Return tenant and window of a budget of `owner`, as `window_at` takes it: `acme`, `rolling_day`.

    The window of a key's own budget has the key's name in front: `key/laptop/rolling_day`.
    """
    tenant, _, key = owner.partition("/")
    name = window_name(budget)
    return tenant, f"{key}/{name}" if key else name


def window_name(budget: Budget) -> str:
    """Return a budget's window as a label: `month`, `rolling_day`, `day@Europe/Berlin`."""
    name = f"rolling_{budget.period}" if budget.rolling else budget.period
    return name if budget.zone == "UTC" else f"{name}@{budget.zone}"


def watched_calibration(candidates: Iterable[str], metrics: Metrics) -> Calibration:
    """Return a calibration that has learned nothing yet, with its metrics registered."""
    calibration = Calibration(candidates, _say)
    for name, text, of in (
        ("loupe_estimate_ratio", "Billed cost over estimated, of about the last 100 forecast replies", "cost"),
        ("loupe_estimate_input_ratio", "Billed input tokens over estimated", "input"),
        ("loupe_estimate_output_ratio", "Billed output tokens over forecast", "output"),
    ):
        metrics.watch_each(name, text, partial(calibration.ratios, of))
    least, most = DRIFTS_OUTSIDE
    metrics.watch_each("loupe_estimate_drift", f"1: the ratio has left {least} to {most}", calibration.drifting)
    return calibration


def _say(drift: Drift) -> None:
    if drift.began:
        what = "its bills have drifted from what is estimated: check its prices, image_tokens and tokenizer"
        _log.warning("%s: billed %.2f times the estimate; %s", drift.candidate, drift.ratio, what)
    else:
        _log.warning("%s: billed %.2f times the estimate again; the drift is over", drift.candidate, drift.ratio)


async def watch_lag(
    note: Callable[[float], None], every_s: float = LAG_EVERY_S, clock: Callable[[], float] | None = None
) -> None:
    """Measure for ever how many seconds later than `every_s` the event loop wakes this task, and note each result.

    `clock` defaults to the loop's own clock.
    """
    clock = clock or asyncio.get_running_loop().time
    while True:
        due = clock() + every_s
        await asyncio.sleep(every_s)
        note(max(clock() - due, 0.0))


def watch_paces(known_paces: Callable[[], Iterable[KnownPace]], metrics: Metrics, clock: Callable[[], float]) -> None:
    """Register the metrics of paces. `clock` gives seconds since the epoch, like the paces' times."""

    def watch(name: str, text: str, value: Callable[[PacingStatus], float | None]) -> None:
        def read() -> Mapping[Labels, float]:
            found = ((window_labels(each.owner, each.budget), value(each.pace)) for each in known_paces())
            return {labels: shown for labels, shown in found if shown is not None}

        metrics.watch_labelled(name, text, PACE_LABELS, read)

    watch("loupe_pacing_lambda", "The lambda that a window asks for", lambda pace: pace.price_weight)
    watch(
        "loupe_pacing_plan_usd", "What was meant to be spent of a window by now", lambda pace: _usd(pace.plan_to_date)
    )
    watch("loupe_pacing_spent_usd", "What was spent of a window", lambda pace: _usd(pace.spent))
    watch("loupe_pacing_burn_usd_per_hour", "Spend of about the last hour", lambda pace: _usd(pace.burn_per_hour))
    watch("loupe_pacing_feedback", "Planned over actual spend: below 1, requests cost more", lambda pace: pace.feedback)
    watch(
        "loupe_pacing_exhausted_in_seconds",
        "Until a window's money is gone at this burn, where that is before its end",
        lambda pace: None if pace.exhausted_at is None else max(pace.exhausted_at - clock(), 0.0),
    )


def _usd(nanodollars: float | None) -> float | None:
    return None if nanodollars is None else nanodollars / NANODOLLARS
