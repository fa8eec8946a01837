"""All that a decision is made of, drawn at random."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from hypothesis import strategies as st

from gateway.billing.price import Price, Tier
from gateway.routing.catalog import Candidate, Catalog
from gateway.routing.decision import CandidateForecast, Decision, Preference, decide
from gateway.routing.query import Query, QueryImage
from tests.gateway.billing.makers import candidate

PLAIN_PRICES = st.builds(Price, st.integers(0, 20_000_000_000), st.integers(0, 80_000_000_000))


def _with_a_tier(price: Price, above: int, dearer: int) -> Price:
    more = Price(price.input_per_million * dearer, price.output_per_million * dearer)
    return replace(price, tiers=(Tier(above, more),))


PRICES = (
    PLAIN_PRICES
    | st.just(Price(0, 0))
    | st.builds(_with_a_tier, PLAIN_PRICES, st.integers(0, 6_000), st.integers(1, 3))
)
IMAGE = QueryImage(100, 100, "auto", b"")


@dataclass(frozen=True)
class Case:
    """All that a decision is made of."""

    query: Query
    candidates: tuple[Candidate, ...]
    forecasts: dict[str, CandidateForecast] | None
    reference_cost: int
    unhealthy: frozenset[str]

    def decide(self, **preference: Any) -> Decision:
        return decide(
            self.query,
            self.candidates,
            self.forecasts,
            Preference(**{"price_weight": 0.25, **preference}),
            reference_cost=self.reference_cost,
            is_healthy=lambda name: name not in self.unhealthy,
        )


@st.composite
def forecasts_of(draw: st.DrawFn, names: Sequence[str]) -> dict[str, CandidateForecast] | None:
    if draw(st.integers(0, 5)) == 0:
        return None
    found = {}
    for name in names:
        tokens = draw(st.floats(0, 5_000))
        found[name] = CandidateForecast(draw(st.floats(0, 1)), 0.1, tokens, tokens * draw(st.floats(1, 3)))
    return found


@st.composite
def cases(draw: st.DrawFn) -> Case:
    names = "abcdef"[: draw(st.integers(1, 6))]
    candidates = tuple(
        candidate(
            name,
            draw(PRICES),
            context_tokens=draw(st.sampled_from([300, 4_000, 128_000])),
            max_output_tokens=draw(st.sampled_from([16, 1_000, 4_096])),
            sees_images=draw(st.booleans()),
            calls_tools=draw(st.booleans()),
        )
        for name in names
    )
    query = Query(
        text="",
        prompt_bytes=draw(st.integers(0, 5_000)),
        messages=draw(st.integers(1, 5)),
        images=(IMAGE,) * draw(st.sampled_from([0, 0, 1, 3])),
        choices=draw(st.sampled_from([1, 1, 2, 7])),
        max_output_tokens=draw(st.none() | st.integers(1, 6_000)),
        uses_tools=draw(st.booleans()),
    )
    unhealthy = draw(st.frozensets(st.sampled_from(names), max_size=2))
    return Case(query, candidates, draw(forecasts_of(names)), Catalog(candidates).reference_cost, unhealthy)


CAPS = st.none() | st.integers(0, 3_000_000_000) | st.integers(0, 2_000_000)
