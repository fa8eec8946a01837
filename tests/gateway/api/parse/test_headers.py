"""The headers that steer a decision: what is read, and that everything else is refused by name and value."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.api.parse.headers import budget_cap, candidate_names, quality_weight
from gateway.errors import InvalidRequest, RequestError


def test_nothing_asked_is_nothing_set() -> None:
    assert (budget_cap({}), quality_weight({}), candidate_names({})) == (None, None, None)


@pytest.mark.parametrize(
    ("text", "cap"), [(b"0.002", 2_000_000), (b" 1 ", 10**9), (b"0", 0), (b"1e-9", 1), (b"0.0000000019", 1)]
)
def test_budget_is_an_amount_in_usd(text: bytes, cap: int) -> None:
    assert budget_cap({b"x-budget": text}) == cap


@pytest.mark.parametrize(
    "text", [b"", b"free", b"nan", b"inf", b"-1", b"1e400", b"0x1", b"\xff", b"$5", b"1,5", b"9" * 99]
)
def test_budget_that_is_no_amount_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidRequest, match=r"^X-Budget: ") as refusal:
        budget_cap({b"x-budget": text})
    assert (refusal.value.status, refusal.value.param, refusal.value.code) == (400, "X-Budget", "invalid_budget")
    assert repr(text.decode("latin-1")[:40]) in refusal.value.message


@pytest.mark.parametrize(("text", "weight"), [(b"0", 0.0), (b"1", 1.0), (b" .25 ", 0.25), (b"1e-3", 0.001)])
def test_quality_weight_is_from_nothing_to_one(text: bytes, weight: float) -> None:
    assert quality_weight({b"x-quality-weight": text}) == weight


@pytest.mark.parametrize("text", [b"", b"-0.1", b"1.1", b"nan", b"inf", b"half", b"0,5"])
def test_other_quality_weights_are_refused(text: bytes) -> None:
    with pytest.raises(InvalidRequest, match=r"^X-Quality-Weight: ") as refusal:
        quality_weight({b"x-quality-weight": text})
    assert (refusal.value.param, refusal.value.code) == ("X-Quality-Weight", "invalid_quality_weight")


def test_candidates_are_names_between_commas() -> None:
    assert candidate_names({b"x-candidates": b" a, b/c:1 ,,d "}) == ("a", "b/c:1", "d")


@pytest.mark.parametrize("text", [b"", b" , ,", b" "])
def test_a_list_of_no_candidates_is_refused(text: bytes) -> None:
    with pytest.raises(InvalidRequest, match=r"^X-Candidates: "):
        candidate_names({b"x-candidates": text})


@given(st.sampled_from([b"x-budget", b"x-quality-weight", b"x-candidates"]), st.binary(max_size=60))
def test_no_bytes_break_the_reading(name: bytes, text: bytes) -> None:
    for read in (budget_cap, quality_weight, candidate_names):
        try:
            read({name: text})
        except RequestError as error:
            error.message.encode()
