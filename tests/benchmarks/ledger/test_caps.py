"""The check of a million caps: that it finds none, that its caps bind, and that it would find one."""

from __future__ import annotations

import random

import pytest

from benchmarks.ledger.caps import Found, a_candidate, a_query, block, hold_against, report, simulate
from gateway.billing.text_tokens import shape_of
from gateway.routing.decision import Preference, decide


def test_no_decision_can_bill_more_than_its_cap_and_the_caps_bind() -> None:
    found = block(3_000, seed=1)
    assert found.over == []
    assert found.tightest > 0.999
    assert found.counts["served"] > 1_000
    assert found.counts["refused_for_the_cap"] > 500


def test_a_limit_that_is_too_high_would_be_found() -> None:
    drawn, found = random.Random(3), Found()
    query = a_query(drawn, shape_of(["What is shown?"]))._replace(images=(), uses_tools=False)
    one = next(c for c in (a_candidate(drawn, "a") for _ in range(100)) if c.price.output_per_million)
    row = decide(query, (one,), None, Preference(1.0, 10**12), reference_cost=1, is_healthy=lambda _name: True).choices[
        0
    ]
    hold_against(row, query, row.output_limit, row.max_cost, found)
    assert found.over == []
    hold_against(row, query, row.output_limit + 1, row.max_cost - 1, found)
    assert len(found.over) == 1


@pytest.mark.slow
def test_every_decision_is_counted_and_a_seed_draws_the_same_again() -> None:
    first, second = (report(simulate(1_500, seed=5), 5) for _ in range(2))
    assert first == second
    assert first["decisions"] == 1_500 == first["served"] + first["refused"]
    assert first["over_cap"] == 0
