"""The metrics as plain values: families of samples, added up over processes and written out as text."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
Labels = tuple[str, ...]
Kind = Literal["counter", "gauge", "histogram", "summary"]
Merge = Literal["sum", "max", "mean", "last"]
"""How a gauge of several processes is merged: `last` takes the value of the process that published last."""
Values = tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Family:
    """All samples of one metric name.

    Attributes:
        name: without the `_total` that counters get.
        samples: values of the labels -> [value]; for a histogram, its counts per bucket and then the sum; for a
            summary, count and sum.
        bounds: upper bounds of a histogram's buckets, without the last (+Inf).
    """

    name: str
    kind: Kind
    text: str
    labels: Labels
    samples: tuple[tuple[Labels, Values], ...]
    merge: Merge = "sum"
    bounds: Values = ()


def family(
    name: str, kind: Kind, text: str, labels: Sequence[str], samples: Mapping[Labels, float], merge: Merge = "sum"
) -> Family:
    """Return a family of counters or gauges."""
    return Family(name, kind, text, tuple(labels), tuple((key, (value,)) for key, value in samples.items()), merge)


def added_up(snapshots: Iterable[Sequence[Family]]) -> list[Family]:
    """Add up the families of several processes, in the order in which the processes published them."""
    shapes: dict[str, Family] = {}
    found: dict[str, dict[Labels, list[Values]]] = {}
    for families in snapshots:
        for each in families:
            shapes.setdefault(each.name, each)
            samples = found.setdefault(each.name, defaultdict(list))
            for labels, values in each.samples:
                samples[labels].append(values)
    return [
        replace(shape, samples=tuple((key, _REDUCE[shape.merge](values)) for key, values in found[name].items()))
        for name, shape in shapes.items()
    ]


def exposition(families: Iterable[Family]) -> bytes:
    """Return the text that Prometheus reads."""
    registry = CollectorRegistry()
    registry.register(_ReadyMetrics([_metric(each) for each in families]))
    return generate_latest(registry)


def _sum(values: Sequence[Values]) -> Values:
    return values[0] if len(values) == 1 else tuple(map(sum, zip(*values, strict=True)))


def _mean(values: Sequence[Values]) -> Values:
    return tuple(each / len(values) for each in _sum(values))


def _max(values: Sequence[Values]) -> Values:
    return max(values)


def _last(values: Sequence[Values]) -> Values:
    return values[-1]


_REDUCE: Mapping[Merge, Callable[[Sequence[Values]], Values]] = {
    "sum": _sum,
    "max": _max,
    "mean": _mean,
    "last": _last,
}


class _ReadyMetrics(Collector):
    """A collector that returns metrics that were made beforehand."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def _metric(each: Family) -> Metric:
    if each.kind == "histogram":
        histogram = HistogramMetricFamily(each.name, each.text, labels=each.labels)
        for labels, (*counts, total) in each.samples:
            histogram.add_metric(labels, _cumulative(each.bounds, counts), total)
        return histogram
    if each.kind == "summary":
        summary = SummaryMetricFamily(each.name, each.text, labels=each.labels)
        for labels, (count, total) in each.samples:
            summary.add_metric(labels, int(count), total)
        return summary
    kind = CounterMetricFamily if each.kind == "counter" else GaugeMetricFamily
    metric = kind(each.name, each.text, labels=each.labels)
    for labels, (value,) in each.samples:
        metric.add_metric(labels, value)
    return metric


def _cumulative(bounds: Sequence[float], counts: Sequence[float]) -> list[tuple[str, float]]:
    total, buckets = 0.0, []
    for bound, count in zip((*map(str, map(float, bounds)), "+Inf"), counts, strict=True):
        total += count
        buckets.append((bound, total))
    return buckets
