"""Steering that does what a test says, and keeps what it was told."""

from __future__ import annotations

from gateway.billing.window import Window
from gateway.routing.decision import Decision
from gateway.routing.exploration import Exploration
from gateway.tenants.tenant import Tenant


class FakeCourse:
    """Stands in for `gateway.routing.pacing.controller.PacingView`: each request pays `paced`, times the `scale` it is
    told.

    `finishes` holds (expected cost, charge, whether refused for money) of every request that ended.
    """

    def __init__(self, paced: float, scale: float = 1.0) -> None:
        self._paced = paced
        self._scale = scale
        self.named: list[float | None] = []
        self.scales: list[float] = []
        self.finishes: list[tuple[int, int, bool]] = []

    def price_weight(self, named: float | None) -> tuple[float, float, str]:
        self.named.append(named)
        return self._paced, self._scale, "pace=0.5@acme/day"

    def decided(
        self, decision: Decision, scale: float, *, may_explore: bool
    ) -> tuple[Decision, Exploration | None, tuple[Window, ...]]:
        self.scales.append(scale)
        return decision, None, ()

    def finished(self, expected_cost: int, charge: int, *, is_refused: bool) -> None:
        self.finishes.append((expected_cost, charge, is_refused))


class FakeSteering:
    """Stands in for `gateway.routing.pacing.controller.PacingController`: every tenant has the same course, or none."""

    def __init__(self, pacing_view: FakeCourse | None = None) -> None:
        self._pacing_view = pacing_view

    def pacing_view(self, tenant: Tenant) -> FakeCourse | None:
        return self._pacing_view
