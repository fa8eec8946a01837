"""Gauges that compare routed requests with the same requests not routed."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Mapping

from gateway.outcomes.comparison import (
    ALL,
    EVERY_S,
    FIRST_S,
    MOST_ROWS,
    MOST_TENANTS,
    WINDOW_S,
    Comparison,
    LabelledRows,
    Point,
    compare,
)
from gateway.telemetry.metrics import Metrics


class ComparisonGauges:
    """The comparison of the last day, for all tenants together and for the tenants with the most labels.

    `report` is called when the rows cannot be read.
    """

    def __init__(
        self,
        metrics: Metrics,
        rows: LabelledRows,
        *,
        report: Callable[[str, BaseException], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._rows = rows
        self._report = report
        self._clock = clock
        self._found: Mapping[str, Comparison] = {}
        self._watch(metrics)

    async def refresh_for_ever(self, every_s: float = EVERY_S) -> None:
        while True:
            try:
                self._found = await asyncio.to_thread(self._compare)
            except Exception as error:  # any error with the rows: the gauges keep their values
                self._report("comparison", error)
            await asyncio.sleep(every_s if self._found else min(FIRST_S, every_s))

    def _compare(self) -> dict[str, Comparison]:
        rows = self._rows.labelled_rows(self._clock() - WINDOW_S, MOST_ROWS)
        tenants = [name for name, _ in Counter(row.tenant for row in rows).most_common(MOST_TENANTS)]
        parts = {ALL: rows, **{name: [row for row in rows if row.tenant == name] for name in tenants}}
        found = {name: compare(part) for name, part in parts.items()}
        return {name: each for name, each in found.items() if each is not None}

    def _watch(self, metrics: Metrics) -> None:
        for name, text, points in (
            ("policy", "{} of a labelled request: routed, and by one candidate alone", _policies),
            ("single", "{} of a labelled request if this candidate alone served", lambda found: found.singles),
        ):
            label = "policy" if name == "policy" else "candidate"
            for metric, what, of in (
                ("score", "Mean score", lambda point: point.score),
                ("cost_usd", "Mean cost in USD", lambda point: point.cost_usd),
            ):
                read = self._reader(points, of)
                metrics.watch_labelled(f"loupe_{name}_{metric}", text.format(what), ("tenant", label), read)
        for name, text, each in (
            ("nauc", "Area under the frontier of the router's forecasts, 0 to 1", lambda found: found.nauc),
            ("peak_score", "P_s: the highest mean score on the frontier", lambda found: found.peak_score),
            (
                "qnc",
                "Lowest cost that reaches the best single's score, over that single's cost",
                lambda found: found.qnc,
            ),
            ("labelled_rows", "Labelled requests that were compared", lambda found: float(found.rows)),
            ("explored_rows", "Those of them whose candidate was drawn", lambda found: float(found.explored)),
        ):
            metrics.watch_labelled(f"loupe_comparison_{name}", text, ("tenant",), self._number_reader(each))

    def _reader(
        self, points: Callable[[Comparison], Mapping[str, Point]], of: Callable[[Point], float]
    ) -> Callable[[], Mapping[tuple[str, ...], float]]:
        return lambda: {
            (tenant, name): of(point) for tenant, found in self._found.items() for name, point in points(found).items()
        }

    def _number_reader(self, of: Callable[[Comparison], float | None]) -> Callable[[], Mapping[tuple[str, ...], float]]:
        def read() -> Mapping[tuple[str, ...], float]:
            values = {(tenant,): of(found) for tenant, found in self._found.items()}
            return {labels: value for labels, value in values.items() if value is not None}

        return read


def _policies(found: Comparison) -> Mapping[str, Point]:
    return {
        "routed": found.routed,
        "best_single": found.singles[found.best],
        "cheapest": found.singles[found.cheapest],
        "dearest": found.singles[found.dearest],
    }
