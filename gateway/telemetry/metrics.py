"""Prometheus metrics of finished requests. Label values come from the configuration and fixed lists only.

Counted in plain dictionaries on the hot path; the exposition is built when it is asked for.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from gateway.core.money import NANODOLLARS
from gateway.core.record import RequestRecord
from gateway.errors import RequestError

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
LATENCY_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
Labels = tuple[str, ...]

COUNTERS: Mapping[str, tuple[str, Labels]] = {
    "loupe_requests": ("Finished requests", ("tenant", "candidate", "outcome")),
    "loupe_refusals": ("Requests refused or failed", ("tenant", "code")),
    "loupe_spend_usd": ("Settled spend in USD", ("tenant", "candidate")),
    "loupe_input_tokens": ("Input tokens as billed", ("tenant", "candidate")),
    "loupe_output_tokens": ("Output tokens as billed", ("tenant", "candidate")),
    "loupe_soft_exceeded": ("Requests over a soft budget", ("tenant",)),
    "loupe_declines": ("Requests that routing declined", ("reason",)),
    "loupe_failed_attempts": ("Attempts that failed", ("candidate", "reason")),
    "loupe_metered_replies": ("Replies without usage, metered by Loupe", ("candidate",)),
    "loupe_hold_exceeded": ("Bills over their hold", ("candidate",)),
    "loupe_internal_errors": ("Errors inside Loupe that no request failed of", ("where",)),
}
HISTOGRAMS: Mapping[str, str] = {
    "loupe_request_seconds": "From first byte in to last byte out",
    "loupe_overhead_seconds": "Time that Loupe itself added",
    "loupe_encode_seconds": "Encode and forecast, where they were not cached",
    "loupe_first_byte_seconds": "From first byte in to the provider's first byte",
}
CODES = frozenset(
    {
        "body_too_large",
        "broke_off",
        "budget_infeasible",
        "error_event",
        "idle_timeout",
        "image_timeout",
        "image_too_large",
        "image_type_unsupported",
        "image_unreachable",
        "image_url_forbidden",
        "insufficient_quota",
        "internal_error",
        "invalid_api_key",
        "expired_api_key",
        "invalid_budget",
        "invalid_image",
        "invalid_image_url",
        "invalid_json",
        "invalid_quality_weight",
        "invalid_request_error",
        "missing_required_parameter",
        "model_not_found",
        "no_capable_candidate",
        "provider_failed",
        "provider_rate_limited",
        "rate_limit_exceeded",
        "store_unavailable",
        "too_many_images",
        "total_timeout",
    }
)
"""Codes that may be label values; what a provider makes up is counted as `provider_refused`."""


class Histogram:
    """Counts per bucket and their sum."""

    __slots__ = ("counts", "sum")

    def __init__(self) -> None:
        self.counts = [0] * (len(LATENCY_BUCKETS) + 1)
        self.sum = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(LATENCY_BUCKETS, seconds)] += 1
        self.sum += seconds


class Metrics(Collector):
    """Implements `Observer` and `RefusalObserver`."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[Labels, float]] = {name: defaultdict(float) for name in COUNTERS}
        self._histograms = {name: Histogram() for name in HISTOGRAMS}
        self._gauges: dict[str, tuple[str, Callable[[], float]]] = {}
        self._gauges_each: dict[str, tuple[str, Labels, Callable[[], Mapping[Labels, float]]]] = {}
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def watch(self, name: str, text: str, read: Callable[[], float]) -> None:
        """A gauge (or a total kept elsewhere) that is read when metrics are asked for."""
        self._gauges[name] = (text, read)

    def watch_each(self, name: str, text: str, read: Callable[[], Mapping[str, float]]) -> None:
        """As `watch`, a gauge for each candidate."""
        self._gauges_each[name] = (text, ("candidate",), lambda: {(each,): value for each, value in read().items()})

    def watch_labelled(self, name: str, text: str, labels: Labels, read: Callable[[], Mapping[Labels, float]]) -> None:
        """As `watch`, a gauge for each row of label values."""
        self._gauges_each[name] = (text, labels, read)

    def observe(self, record: RequestRecord) -> None:
        counts, candidate = self._counts, record.candidate or "none"
        who = (record.tenant, candidate)
        counts["loupe_requests"][(record.tenant, candidate, record.outcome)] += 1
        if record.cost:
            counts["loupe_spend_usd"][who] += record.cost
            counts["loupe_input_tokens"][who] += record.input_tokens
            counts["loupe_output_tokens"][who] += record.output_tokens
        if record.exceeded:
            counts["loupe_soft_exceeded"][(record.tenant,)] += 1
        if record.error_code is not None:
            counts["loupe_refusals"][(record.tenant, _known(record.error_code))] += 1
        if record.reason.startswith("declined:"):
            reason = record.reason.partition(";")[0].removeprefix("declined:")
            counts["loupe_declines"][(reason,)] += 1
        for attempt in record.attempts:
            if attempt.failure is not None:
                counts["loupe_failed_attempts"][(attempt.candidate, attempt.failure)] += 1
        if record.metered:
            counts["loupe_metered_replies"][(candidate,)] += 1
        if record.cost > record.held and len(record.attempts) == 1:
            counts["loupe_hold_exceeded"][(candidate,)] += 1
        histograms = self._histograms
        histograms["loupe_request_seconds"].observe(record.total_s)
        histograms["loupe_overhead_seconds"].observe(record.overhead_s)
        if record.encode_s:
            histograms["loupe_encode_seconds"].observe(record.encode_s)
        if record.first_byte_s is not None:
            histograms["loupe_first_byte_seconds"].observe(record.first_byte_s)

    def refused_early(self, error: RequestError) -> None:
        self._counts["loupe_refusals"][("none", _known(error.code or error.type))] += 1

    def internal_error(self, where: str) -> None:
        self._counts["loupe_internal_errors"][(where,)] += 1

    def render(self) -> bytes:
        """The exposition text."""
        return generate_latest(self._registry)

    def collect(self) -> Iterable[Metric]:
        for name, (text, labels) in COUNTERS.items():
            unit = NANODOLLARS if name == "loupe_spend_usd" else 1
            counter = CounterMetricFamily(name, text, labels=labels)
            for values, count in self._counts[name].items():
                counter.add_metric(values, count / unit)
            yield counter
        for name, text in HISTOGRAMS.items():
            histogram = self._histograms[name]
            yield HistogramMetricFamily(name, text, _cumulative(histogram.counts), histogram.sum)
        for name, (text, read) in self._gauges.items():
            yield GaugeMetricFamily(name, text, read())
        for name, (text, labels, read_each) in self._gauges_each.items():
            gauge = GaugeMetricFamily(name, text, labels=labels)
            for values, value in read_each().items():
                gauge.add_metric(values, value)
            yield gauge


def _cumulative(counts: Sequence[int]) -> list[tuple[str, float]]:
    total, buckets = 0, []
    for bound, count in zip((*map(str, map(float, LATENCY_BUCKETS)), "+Inf"), counts, strict=True):
        total += count
        buckets.append((bound, float(total)))
    return buckets


def _known(code: str) -> str:
    return code if code in CODES else "provider_refused"
