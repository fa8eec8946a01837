"""Prometheus metrics of finished requests. Label values come from the configuration and fixed lists only."""

from __future__ import annotations

from functools import lru_cache

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from gateway.core.money import NANODOLLARS
from gateway.core.record import RequestRecord
from gateway.errors import RequestError

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_LATENCIES = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Implements `Observer`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(name, text, labels, registry=self.registry)

        def histogram(name: str, text: str) -> Histogram:
            return Histogram(name, text, buckets=_LATENCIES, registry=self.registry)

        who = ("tenant", "candidate")
        self._requests = counter("loupe_requests_total", "Finished requests", *who, "outcome")
        self._refusals = counter("loupe_refusals_total", "Requests refused or failed", "tenant", "code")
        self._spend = counter("loupe_spend_usd_total", "Settled spend in USD", *who)
        self._input = counter("loupe_input_tokens_total", "Input tokens as billed", *who)
        self._output = counter("loupe_output_tokens_total", "Output tokens as billed", *who)
        self._declines = counter("loupe_declines_total", "Requests that routing declined", "reason")
        self._attempts = counter("loupe_failed_attempts_total", "Attempts that failed", "candidate", "reason")
        self._metered = counter("loupe_metered_replies_total", "Replies without usage, metered by Loupe", "candidate")
        self._exceeded = counter("loupe_hold_exceeded_total", "Bills over their hold", "candidate")
        self._total = histogram("loupe_request_seconds", "From first byte in to last byte out")
        self._overhead = histogram("loupe_overhead_seconds", "Time that Loupe itself added")
        self._encode = histogram("loupe_encode_seconds", "Encode and forecast, where they were not cached")
        self._first_byte = histogram("loupe_first_byte_seconds", "From first byte in to the provider's first byte")
        self._internal = counter(
            "loupe_internal_errors_total", "Errors inside Loupe that no request failed of", "where"
        )
        self._of_candidate = lru_cache(4096)(self._children)
        self._of_outcome = lru_cache(4096)(self._requests.labels)

    def observe(self, record: RequestRecord) -> None:
        candidate = record.candidate or "none"
        spend, tokens_in, tokens_out = self._of_candidate(record.tenant, candidate)
        self._of_outcome(record.tenant, candidate, record.outcome).inc()
        if record.cost:
            spend.inc(record.cost / NANODOLLARS)
            tokens_in.inc(record.input_tokens)
            tokens_out.inc(record.output_tokens)
        if record.error_code is not None:
            self._refusals.labels(record.tenant, _known_code(record.error_code)).inc()
        if record.reason.startswith("declined:"):
            self._declines.labels(record.reason.partition(";")[0].removeprefix("declined:")).inc()
        for attempt in record.attempts:
            if attempt.failure is not None:
                self._attempts.labels(attempt.candidate, attempt.failure).inc()
        if record.metered:
            self._metered.labels(candidate).inc()
        if record.cost > record.held and len(record.attempts) == 1:
            self._exceeded.labels(candidate).inc()
        self._total.observe(record.total_s)
        self._overhead.observe(record.overhead_s)
        if record.encode_s:
            self._encode.observe(record.encode_s)
        if record.first_byte_s is not None:
            self._first_byte.observe(record.first_byte_s)

    def refused_early(self, error: RequestError) -> None:
        self._refusals.labels("none", _known_code(error.code or error.type)).inc()

    def internal_error(self, where: str) -> None:
        self._internal.labels(where).inc()

    def render(self) -> bytes:
        """The exposition text."""
        return generate_latest(self.registry)

    def _children(self, tenant: str, candidate: str) -> tuple[Counter, Counter, Counter]:
        return tuple(c.labels(tenant, candidate) for c in (self._spend, self._input, self._output))  # type: ignore[return-value]


def _known_code(code: str) -> str:
    """Codes that a provider made up must not make up label values."""
    return code if code in _CODES else "provider_refused"


_CODES = frozenset(
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
        "invalid_budget",
        "invalid_image",
        "invalid_json",
        "invalid_request_error",
        "missing_required_parameter",
        "model_not_found",
        "no_capable_candidate",
        "provider_failed",
        "provider_rate_limited",
        "store_unavailable",
        "too_many_images",
    }
)
