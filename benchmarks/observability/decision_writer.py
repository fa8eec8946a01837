"""The decision log's writer alone: a record's cost on the event loop and on the writer's thread, for new queries."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gateway.billing.image_tokens import flat
from gateway.billing.price import Price
from gateway.outcomes.log.writer import LARGEST_QUEUE, DecisionLog
from gateway.pipeline.record import Attempt, RequestRecord, Versions
from gateway.routing.catalog import Candidate
from gateway.routing.circuit_breaker import always_well
from gateway.routing.decision import CandidateForecast, Preference, decide
from gateway.routing.query import Query
from models.base import ImageSource, Views

CANDIDATES = 8
VIEWS = {"text": 384, "image": 384, "image_features": 1280}
"""The views of the bundled encoder."""


@dataclass(frozen=True, slots=True)
class Written:
    """The results of the writer.

    Attributes:
        observe_us: a record's time on the event loop.
        cpu_us: a record's processor time in total.
        per_second: records per second that reached the file.
    """

    records: int
    observe_us: float
    cpu_us: float
    per_second: float
    bytes_each: float
    lost: int


class _Encodings:
    """An encoder that has views ready for every query."""

    digest = "e" * 64

    def __init__(self) -> None:
        draw = np.random.default_rng(1)
        self._views = {name: draw.normal(size=(1, size)).astype(np.float32) for name, size in VIEWS.items()}

    def peek(self, text: str, images: Sequence[ImageSource]) -> Views | None:  # noqa: ARG002
        return self._views


def time_writer(records: int, folder: Path) -> Written:
    """Observe and write a number of records, in batches of half the largest queue."""
    path = folder / "written-decisions.sqlite"
    log = DecisionLog(path, _Encodings())
    log.open()
    took = used = observing = 0.0
    for start in range(0, records, LARGEST_QUEUE // 2):
        some = [_record(number) for number in range(start, min(start + LARGEST_QUEUE // 2, records))]
        began, cpu, since = time.perf_counter(), time.process_time(), time.thread_time()
        for one in some:
            log.observe(one)
        observing += time.thread_time() - since
        while log.queued:
            time.sleep(0.001)
        took, used = took + time.perf_counter() - began, used + time.process_time() - cpu
    log.close()
    size = path.stat().st_size / records
    return Written(records, observing / records * 1e6, used / records * 1e6, records / took, size, log.lost)


def _record(number: int) -> RequestRecord:
    query = Query(f"question {number}: " + "how many of these are there? " * 30, 900, 2)
    decision = decide(query, _OFFERS, _FORECASTS, Preference(0.25), reference_cost=10**7, is_healthy=always_well)
    best = decision.choices[0]
    return RequestRecord(
        request_id=f"req_{number:024x}",
        started_at=1_700_000_000.0 + number / 500,
        tenant="bench",
        candidate=best.candidate.name,
        reason="routed",
        outcome="ok",
        status=200,
        error_code=None,
        streamed=False,
        images=0,
        prompt_bytes=query.prompt_bytes,
        input_tokens=210,
        output_tokens=20,
        metered=False,
        expected_cost=best.expected_cost,
        held=best.max_cost,
        cost=12_345,
        forecast_quality=0.75,
        propensity=1.0,
        price_weight=0.25,
        cap=10**9,
        attempts=(Attempt(best.candidate.name, None, 12_345),),
        dropped=(),
        router_digest="r" * 64,
        encode_s=0.004,
        first_byte_s=0.2,
        total_s=0.5,
        overhead_s=0.001,
        prices="set",
        estimated_cost=12_000,
        estimated_input_tokens=200,
        estimated_output_tokens=25,
        remaining=10**12,
        finish_reason="stop",
        versions=Versions("e" * 64, "p" * 64, "c" * 64),
        decision=decision,
        query=query,
    )


_OFFERS = tuple(
    Candidate(f"candidate-{n}", "pool", f"model-{n}", Price(10**8 * (n + 1), 4 * 10**8 * (n + 1)), flat(100), f"c{n}")
    for n in range(CANDIDATES)
)
_FORECASTS = {
    f"c{n}": CandidateForecast(0.5 + n / 17, 0.0523 + n / 100, 40.5 * (n + 1), 91.25 * (n + 1))
    for n in range(CANDIDATES)
}
