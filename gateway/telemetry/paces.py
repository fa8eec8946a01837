"""The paces of tenants' windows as gauges: this process's view of them, as it was solved last."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from gateway.billing.money import NANODOLLARS
from gateway.billing.window import Budget
from gateway.routing.pacing.settings import Pace
from gateway.telemetry.gauges import window_labels
from gateway.telemetry.metrics import Labels, Metrics

LABELS = ("tenant", "window")


class KnownPace(Protocol):
    """`gateway.routing.pacing.account.KnownPace`: a window's pace, whose window it is (as `window_at` takes it) and
    of which budget.
    """

    @property
    def owner(self) -> str: ...
    @property
    def budget(self) -> Budget: ...
    @property
    def pace(self) -> Pace: ...


class Paces(Protocol):
    """The part of `gateway.routing.pacing.controller.Steering` that is watched."""

    def known_paces(self) -> Iterator[KnownPace]: ...


def watch_paces(paces: Paces, metrics: Metrics, clock: Callable[[], float]) -> None:
    """`clock` gives seconds since the epoch, as the paces have them."""

    def watch(name: str, text: str, value: Callable[[Pace], float | None]) -> None:
        def read() -> Mapping[Labels, float]:
            found = ((window_labels(each.owner, each.budget), value(each.pace)) for each in paces.known_paces())
            return {labels: shown for labels, shown in found if shown is not None}

        metrics.watch_labelled(name, text, LABELS, read)

    watch("loupe_pacing_lambda", "The lambda that a window asks for", lambda pace: pace.lagrangian)
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
