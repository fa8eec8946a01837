"""The law of caps for any text, price, tokenizer and choice: what is sent cannot bill more than the cap."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.ledger.caps import worst_case
from gateway.billing.price import cost_with_cache
from gateway.billing.text_tokens import TOKENIZERS, shape_of
from gateway.routing.decision import fit_to_hold
from tests.gateway.billing.cases import CAPS, Case, cases

TOKENIZER_NAMES = st.sampled_from(sorted(TOKENIZERS))
TEXT = st.text(max_size=60) | st.text("aA !9é\u0344中😀", max_size=60)


@given(cases(), CAPS, TEXT, TOKENIZER_NAMES, st.booleans(), st.sampled_from(["refuse", "cheapest"]))
def test_the_worst_case_of_every_choice_is_within_the_cap(
    case: Case, cap: int | None, text: str, tokenizer: str, writes: bool, policy: str
) -> None:
    case = _with_text(case, text, tokenizer, writes)
    for row in case.decide(cap=cap, on_infeasible=policy).choices:
        worst = worst_case(row.candidate, case.query, row.output_limit)
        assert worst == row.max_cost
        assert cap is None or worst <= cap


@given(cases(), TEXT, TOKENIZER_NAMES, st.tuples(*[st.floats(0, 1)] * 5))
def test_whatever_a_provider_counts_within_its_limits_costs_no_more_than_the_hold(
    case: Case, text: str, tokenizer: str, shares: tuple[float, ...]
) -> None:
    """Any count up to the ceilings, any part of it cached or written, under any hold between floor and ceiling."""
    case = _with_text(case, text, tokenizer, writes=True)
    held, inputs, outputs, cached, written = shares
    for row in case.decide().choices:
        granted = row.min_budget + int((row.max_cost - row.min_budget) * held)
        limit = fit_to_hold(row, case.query, granted)
        tokens = int(row.input_ceiling * inputs)
        bill = cost_with_cache(
            row.candidate.price,
            tokens,
            int(limit * case.query.choices * outputs),
            cached_tokens=int(tokens * cached),
            written_tokens=int(tokens * written),
        )
        assert bill <= granted


def _with_text(case: Case, text: str, tokenizer: str, writes: bool) -> Case:
    shape = shape_of([text])
    query = case.query._replace(shape=shape, prompt_bytes=shape.most_bytes, writes_cache=writes)
    candidates = tuple(
        replace(
            one,
            tokenizer=TOKENIZERS[tokenizer],
            price=replace(one.price, cache_write_per_million=2 * one.price.input_per_million, tiers=()),
        )
        for one in case.candidates
    )
    return replace(case, query=query, candidates=candidates)
