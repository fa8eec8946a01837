"""What dashboards are made of: panels, and the PromQL that they have in common.

A ratio is nothing, not NaN, where there is nothing to divide by: `/ (... > 0)`. Counters are only shown as rates.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["timeseries", "stat", "bargauge", "table", "xychart"]
USD, SHARE, SECONDS, RATE, COUNT = "currencyUSD", "percentunit", "s", "reqps", "short"


@dataclass(frozen=True, slots=True)
class Query:
    """PromQL and what its series are called; of an XY chart, what its axis is called."""

    expr: str
    legend: str


@dataclass(frozen=True, slots=True)
class Panel:
    title: str
    kind: Kind
    unit: str
    queries: tuple[Query, ...]
    text: str = ""
    width: int = 12
    height: int = 8
    axis: str = ""
    stacked: bool = False
    log: bool = False
    min: float | None = None
    max: float | None = None
    decimals: int | None = None
    x_unit: str = USD
    color: str = "palette-classic"
    no_value: str = "–"


@dataclass(frozen=True, slots=True)
class Row:
    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Board:
    """`variables`: name, query, and whether several may be chosen."""

    uid: str
    title: str
    text: str
    variables: tuple[tuple[str, str, bool], ...]
    rows: tuple[Row, ...]


def stat(
    title: str, unit: str, expr: str, text: str, *, decimals: int | None = None, no_value: str = "–", width: int = 4
) -> Panel:
    """One number."""
    query = (Query(expr, title),)
    return Panel(title, "stat", unit, query, text, width=width, height=4, decimals=decimals, no_value=no_value)


def lines(title: str, unit: str, *queries: tuple[str, str], text: str = "", **more: Any) -> Panel:
    """Series over time, each query with its legend."""
    return Panel(title, "timeseries", unit, tuple(Query(*query) for query in queries), text, **more)


def rates(title: str, metric: str, by: str, legend: str = "", *, labels: str = "", **more: Any) -> Panel:
    """How often a counter counts, by one of its labels, which is the legend; by several there is another."""
    return lines(title, RATE, (rate(metric, labels, by=by), legend or f"{{{{{by}}}}}"), min=0, **more)


def rate(metric: str, labels: str = "", *, by: str = "", over: str = "$__rate_interval") -> str:
    """The rate of a counter, summed by some of its labels."""
    return f"sum{_by(by)}(rate({metric}{{{labels}}}[{over}]))"


def increase(metric: str, labels: str = "", *, by: str = "") -> str:
    """What a counter rose by in the time that is shown."""
    return f"sum{_by(by)}(increase({metric}{{{labels}}}[$__range]))"


def mean(metric: str, labels: str = "", *, by: str = "") -> str:
    """The mean of a gauge's series, by some of its labels."""
    return f"avg{_by(by)}({metric}{{{labels}}})"


def ratio(total: str, count: str) -> str:
    """Nothing, not NaN, where there is nothing to divide by."""
    return f"{total} / ({count} > 0)"


def quantile(share: float, metric: str, labels: str = "", *, by: str = "") -> str:
    """A quantile of a histogram, of stretches in which there was anything to measure."""
    buckets = rate(f"{metric}_bucket", labels, by=f"le, {by}" if by else "le")
    counted = rate(f"{metric}_count", labels, by=by)
    return f"histogram_quantile({share}, {buckets}) and {f'on ({by}) ' if by else 'on () '}({counted} > 0)"


TENANT = 'tenant=~"$tenant"'
SERVED = f'{TENANT}, outcome="ok"'
THOUSAND = "1000 * "


def thousand(by: str) -> str:
    """What a thousand served requests cost."""
    spend, requests = rate("loupe_spend_usd_total", TENANT, by=by), rate("loupe_requests_total", SERVED, by=by)
    return THOUSAND + ratio(spend, requests)


def score(by: str = "", counted: Callable[..., str] = rate) -> str:
    """The mean of the scores that were given: `counted` is `rate` or `increase`."""
    total, count = (counted(f"loupe_labelled_score_{part}", TENANT, by=by) for part in ("sum", "count"))
    return ratio(total, count)


def named(expr: str, *labels: str) -> str:
    """With one label `point` that its other labels make up, and no other label."""
    quoted = ", ".join(f'"{label}"' for label in labels)
    return f'avg by (point) (label_join({expr}, "point", " / ", {quoted}))'


def _by(labels: str) -> str:
    return f" by ({labels}) " if labels else ""
