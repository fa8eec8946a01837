"""Prometheus metrics of finished requests. Label values come from the configuration and fixed lists only.

On the hot path a record is only kept; a batch of records is counted at once, into plain dictionaries. `docs/metrics.md`
lists the metrics; `multiprocess.py` adds up several processes.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from operator import itemgetter
from typing import Any

from gateway.billing.money import NANODOLLARS
from gateway.errors import RequestError
from gateway.pipeline.record import RequestRecord
from gateway.telemetry.error_codes import CODES
from gateway.telemetry.exposition import CONTENT_TYPE, Family, Kind, Labels, Merge, added_up, exposition, family
from gateway.telemetry.histogram import Histogram, durations, sizes

__all__ = ["CODES", "CONTENT_TYPE", "Labels", "Metrics"]

COUNTED_AT_ONCE = 128
LARGEST_TENANTS = 200
"""The most tenants that are shown by name; all others are shown together, as `other`."""
LARGEST_GAUGES = 2_000
"""The most samples of one gauge."""
LARGEST_MODALITIES = 8
OTHER = "other"

COUNTERS: Mapping[str, tuple[str, Labels]] = {
    "loupe_refusals": ("Requests refused or failed", ("tenant", "code")),
    "loupe_soft_exceeded": ("Requests over a soft budget", ("tenant",)),
    "loupe_declines": ("Requests that routing declined", ("reason",)),
    "loupe_failed_attempts": ("Attempts that failed", ("candidate", "reason")),
    "loupe_fallbacks": ("Requests served by this candidate after another had failed", ("candidate",)),
    "loupe_metered_replies": ("Replies without usage, metered by Loupe", ("candidate",)),
    "loupe_hold_exceeded": (
        "Usages that cost more than was reserved; the reservation was charged",
        ("candidate",),
    ),
    "loupe_internal_errors": ("Errors inside Loupe that no request failed of", ("where",)),
}
CHARGED: Sequence[tuple[str, str, int, str]] = (
    ("loupe_spend_usd", "Settled spend in USD", NANODOLLARS, "cost"),
    ("loupe_expected_usd", "What charged requests were expected to cost, in USD", NANODOLLARS, "expected_cost"),
    (
        "loupe_dearest_usd",
        "What charged requests were expected to cost at the dearest candidate that could have served them, in USD",
        NANODOLLARS,
        "dearest_cost",
    ),
    ("loupe_input_tokens", "Input tokens as billed", 1, "input_tokens"),
    ("loupe_output_tokens", "Output tokens as billed", 1, "output_tokens"),
)
"""Sums over charged requests, by tenant and candidate: name, text, unit, and the record's field."""
STAGES: Mapping[str, str | None] = {
    "parse": "parse_s",
    "encode": None,
    "forecast": None,
    "decide": "decide_s",
    "reserve": "reserve_s",
    "first_byte": "first_byte_s",
    "total": "total_s",
}
"""Stages of a request, and the record's field with the stage's duration; None: only some requests have it, see
`staged`.
"""


def _pick(*names: str) -> itemgetter[Any]:
    """Return a getter by position, which takes a third of the time of reading the fields by name."""
    return itemgetter(*map(RequestRecord._fields.index, names))


_WHO = _pick("tenant", "candidate", "outcome")
_SUMS = _pick(*(field for *_, field in CHARGED))
_TIMED = {stage: field for stage, field in STAGES.items() if field is not None}
_TIMES = _pick(*_TIMED.values(), "overhead_s")


class Metrics:
    """Implements `Observer` and `RefusalObserver`."""

    def __init__(self) -> None:
        self._pending: list[RequestRecord] = []
        self._requests: Counter[tuple[str, str | None, str]] = Counter()
        self._charged: dict[tuple[str, str | None], list[int]] = defaultdict(lambda: [0] * len(CHARGED))
        self._counts: dict[str, Counter[Labels]] = {name: Counter() for name in COUNTERS}
        self._stages = {stage: Histogram() for stage in STAGES}
        self._overhead, self._lag = Histogram(), Histogram()
        self._lambdas: dict[Labels, float] = {}
        self._scores: dict[Labels, tuple[int, float]] = {}
        self._scoring = threading.Lock()
        self._modalities: set[str] = set()
        self._tenants: dict[str, None] = {}
        self._watched: dict[str, Callable[[], Family]] = {}

    def observe(self, record: RequestRecord) -> None:
        self._pending.append(record)
        if len(self._pending) >= COUNTED_AT_ONCE:
            self._count()

    def refused_early(self, error: RequestError) -> None:
        self._counts["loupe_refusals"][("none", _known(error.code or error.type))] += 1

    def internal_error(self, where: str) -> None:
        self._counts["loupe_internal_errors"][(where,)] += 1

    def labelled(self, tenant: str, candidate: str, modality: str, score: float) -> None:
        """Count the score, from 0 to 1, of an answer of this candidate. May be called in any thread."""
        if modality not in self._modalities:
            if len(self._modalities) == LARGEST_MODALITIES:
                modality = OTHER
            else:
                self._modalities.add(modality)
        with self._scoring:
            count, total = self._scores.get((tenant, candidate, modality), (0, 0.0))
            self._scores[(tenant, candidate, modality)] = count + 1, total + score

    def staged(self, stage: str, seconds: float) -> None:
        """Note the duration of a stage that only some requests have: one of `STAGES`."""
        self._stages[stage].observe(seconds)

    def lagged(self, seconds: float) -> None:
        """Note how much later than requested the event loop came back.

        Called often, so that no record, which may keep images in memory, is kept for long.
        """
        self._lag.observe(seconds)
        self._count()

    def watch(
        self, name: str, text: str, read: Callable[[], float], *, total: bool = False, merge: Merge = "sum"
    ) -> None:
        """Register a gauge, or a `total` that is counted elsewhere; `read` is called at each scrape."""
        kind: Kind = "counter" if total else "gauge"
        self._watched[name] = lambda: family(name, kind, text, (), {(): read()}, merge)

    def watch_each(
        self, name: str, text: str, read: Callable[[], Mapping[str, float]], *, merge: Merge = "mean"
    ) -> None:
        """Register a gauge for each candidate, like `watch`."""
        self.watch_labelled(
            name, text, ("candidate",), lambda: {(each,): value for each, value in read().items()}, merge=merge
        )

    def watch_labelled(
        self,
        name: str,
        text: str,
        labels: Sequence[str],
        read: Callable[[], Mapping[tuple[str, ...], float]],
        *,
        merge: Merge = "last",
    ) -> None:
        """Register a gauge for each combination of labels, like `watch`; only the first `LARGEST_GAUGES`."""
        self._watched[name] = lambda: family(
            name, "gauge", text, labels, dict(islice(read().items(), LARGEST_GAUGES)), merge
        )

    def watch_info(self, name: str, text: str, read: Callable[[], Mapping[str, str]]) -> None:
        """Register `<name>_info`: labels that are read at each scrape, with the value 1."""

        def info() -> Family:
            labels = read()
            return family(f"{name}_info", "gauge", text, tuple(labels), {tuple(labels.values()): 1.0}, "last")

        self._watched[name] = info

    def watch_sizes(
        self, name: str, text: str, bounds: tuple[float, ...], read: Callable[[], Mapping[int, int]]
    ) -> None:
        """Register a histogram of sizes that are counted elsewhere."""
        self._watched[name] = lambda: sizes(name, text, bounds, read())

    def continue_from(self, families: Iterable[Family]) -> None:
        """Show the tenants that an earlier process showed by name, so that their counts continue."""
        for each in families:
            if "tenant" in each.labels and each.kind != "gauge":
                place = each.labels.index("tenant")
                self._tenants.update(dict.fromkeys(labels[place] for labels, _ in each.samples))

    def snapshot(self) -> list[Family]:
        """Return the current values of all families."""
        self._count()
        counted = [self._bounded(each) for each in (*self._counters(), *self._measured())]
        return [*counted, *(read() for read in self._watched.values())]

    def render(self) -> bytes:
        """Return the exposition text of this process alone."""
        return exposition(self.snapshot())

    def _counters(self) -> Iterator[Family]:
        requests: dict[Labels, float] = {
            (tenant, _named(who), how): count for (tenant, who, how), count in self._requests.items()
        }
        yield family("loupe_requests", "counter", "Finished requests", ("tenant", "candidate", "outcome"), requests)
        for place, (name, text, unit, _) in enumerate(CHARGED):
            charged: dict[Labels, float] = {
                (tenant, _named(who)): sums[place] / unit for (tenant, who), sums in self._charged.items()
            }
            yield family(name, "counter", text, ("tenant", "candidate"), charged)
        for name, (text, labels) in COUNTERS.items():
            yield family(
                name, "counter", text, labels, dict(self._counts[name])
            )  # a copy, because other threads count errors too

    def _measured(self) -> Iterator[Family]:
        scores = tuple((key, (float(count), total)) for key, (count, total) in dict(self._scores).items())
        labels = ("tenant", "candidate", "modality")
        yield Family("loupe_labelled_score", "summary", "Scores that answers were given, 0 to 1", labels, scores)
        text = "What a reference cost weighed against quality in the last routed request: lambda"
        yield family("loupe_lambda", "gauge", text, ("tenant",), self._lambdas, "mean")
        stages: dict[Labels, Histogram] = {(stage,): self._stages[stage] for stage in STAGES}
        yield durations("loupe_stage_seconds", "How long the stages of a request took", ("stage",), stages)
        yield durations("loupe_overhead_seconds", "Time that Loupe itself added", (), {(): self._overhead})
        yield durations("loupe_event_loop_lag_seconds", "How late the event loop came back", (), {(): self._lag})

    def _bounded(self, each: Family) -> Family:
        """Return the family with at most LARGEST_TENANTS tenants, and all others as one; gauges of
        others are dropped.
        """
        if "tenant" not in each.labels:
            return each
        place = each.labels.index("tenant")
        kept, rest = [], []
        for labels, values in each.samples:
            if self._shows(labels[place]):
                kept.append((labels, values))
            elif each.kind != "gauge":
                rest.append(replace(each, samples=(((*labels[:place], OTHER, *labels[place + 1 :]), values),)))
        bounded = replace(each, samples=tuple(kept))
        return added_up([[bounded], *([one] for one in rest)])[0] if rest else bounded

    def _shows(self, tenant: str) -> bool:
        if tenant not in self._tenants:
            if len(self._tenants) >= LARGEST_TENANTS:
                return False
            self._tenants[tenant] = None
        return True

    def _count(self) -> None:
        """Count the records that have gathered."""
        batch, self._pending = self._pending, []
        if not batch:
            return
        self._requests.update(map(_WHO, batch))
        for record in batch:
            cost = record.cost
            if cost:
                sums = self._charged[(record.tenant, record.candidate)]
                for place, amount in enumerate(_SUMS(record)):
                    sums[place] += amount
            routed = record.reason.startswith("routed")  # pacing or fallbacks may follow in the reason
            if routed and (price_weight := record.price_weight) is not None:
                self._lambdas[(record.tenant,)] = price_weight
            is_plain = routed and record.error_code is None and not record.metered and not record.exceeded
            if not is_plain or len(record.attempts) > 1 or record.exceeds_hold:
                self._unusual(record)
        histograms = (*map(self._stages.__getitem__, _TIMED), self._overhead)
        for histogram, seconds in zip(histograms, zip(*map(_TIMES, batch), strict=True), strict=True):
            histogram.observe_all(list(filter(None, seconds)))  # without requests that did not get that far

    def _unusual(self, record: RequestRecord) -> None:
        counts, candidate = self._counts, _named(record.candidate)
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
        if len(record.attempts) > 1 and record.attempts[-1].failure is None:
            counts["loupe_fallbacks"][(candidate,)] += 1
        if record.metered:
            counts["loupe_metered_replies"][(candidate,)] += 1
        if record.exceeds_hold:
            counts["loupe_hold_exceeded"][(candidate,)] += 1


def _named(candidate: str | None) -> str:
    return candidate or "none"


def _known(code: str) -> str:
    return code if code in CODES else "provider_refused"
